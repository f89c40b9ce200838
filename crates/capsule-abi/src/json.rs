//! JSON text, written without an intermediate value: strings escaped straight into a buffer, raw text made compact.

use std::borrow::Cow;

use crate::scan;

/// What follows the backslash for each byte; 0 is a byte that needs none, `u` a control character written as `\u00XX`.
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// U+FFFD, which stands for every byte that is not UTF-8.
const REPLACEMENT: &str = "\u{fffd}";

/// How deep inside JSON strings a text is written.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Level {
    /// Inside one string.
    Once,
    /// Inside a string that is itself the text of a JSON string: the `Headers` field of a request.
    Twice,
}

/// Writes `text` as a JSON string with its quotes.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text, Level::Once);
    out.push(b'"');
}

/// Writes bytes as a JSON string with its quotes; see [`write_text`].
pub(crate) fn write_lossy_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    write_text(out, bytes, Level::Once);
    out.push(b'"');
}

/// Writes the inside of a JSON string. Each byte that is not UTF-8 becomes one U+FFFD, as Go's JSON encoder does it.
pub(crate) fn write_text(out: &mut Vec<u8>, bytes: &[u8], level: Level) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_escaped(out, text, level),
        Err(_) => write_lossy(out, bytes, level),
    }
}

#[cold]
fn write_lossy(out: &mut Vec<u8>, bytes: &[u8], level: Level) {
    for chunk in bytes.utf8_chunks() {
        write_escaped(out, chunk.valid(), level);
        for _ in chunk.invalid() {
            out.extend_from_slice(REPLACEMENT.as_bytes());
        }
    }
}

/// Writes the inside of a JSON string: runs without special bytes are copied whole.
#[inline]
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &str, level: Level) {
    let plain = scan::plain(text.as_bytes());
    out.extend_from_slice(&text.as_bytes()[..plain]);
    if plain < text.len() {
        write_escapes(out, &text.as_bytes()[plain..], level);
    }
}

/// Goes on at the first special byte.
fn write_escapes(out: &mut Vec<u8>, mut rest: &[u8], level: Level) {
    while let Some((&special, after)) = rest.split_first() {
        write_escape(out, special, level);
        let plain = scan::plain(after);
        out.extend_from_slice(&after[..plain]);
        rest = &after[plain..];
    }
}

/// Writes the escape sequence of one special byte.
fn write_escape(out: &mut Vec<u8>, byte: u8, level: Level) {
    let letter = ESCAPE[byte as usize];
    match level {
        Level::Once => out.extend_from_slice(&[b'\\', letter]),
        // The inner escape `\"` is text in the outer string: its backslash and, if special, its letter are escaped again.
        Level::Twice if ESCAPE[letter as usize] != 0 => out.extend_from_slice(&[b'\\', b'\\', b'\\', letter]),
        Level::Twice => out.extend_from_slice(&[b'\\', b'\\', letter]),
    }
    if letter == b'u' {
        out.extend_from_slice(&[b'0', b'0', HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]);
    }
}

/// Removes white space outside strings from JSON that is known to be valid; all else stays as written.
pub(crate) fn compact(raw: &str) -> Cow<'_, str> {
    let mut text = String::new();
    // The end of what was copied, or of the white space behind it.
    let mut from = 0;
    let mut in_string = false;
    let mut bytes = raw.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            // White space is ASCII, so both ends are character boundaries.
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                text.push_str(&raw[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if from == 0 {
        return Cow::Borrowed(raw);
    }
    text.push_str(&raw[from..]);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lossy(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_lossy_string(&mut out, bytes);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_invalid_byte_becomes_one_replacement() {
        assert_eq!(lossy(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(lossy(b"\xe2\x82"), "\u{fffd}\u{fffd}");
        assert_eq!(lossy("🌍\"\\\u{1}\n".as_bytes()), "🌍\"\\\u{1}\n");
    }

    #[test]
    fn compact_keeps_strings_numbers_and_order() {
        assert_eq!(
            compact("{ \"b c\" : [ 1.50 ,\n1e3 ], \"a\\\" \\\\\" : \" \" }"),
            "{\"b c\":[1.50,1e3],\"a\\\" \\\\\":\" \"}"
        );
        assert!(matches!(compact("{\"a b\":1}"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn a_text_survives_one_level(text: String) {
            prop_assert_eq!(lossy(text.as_bytes()), text);
        }

        #[test]
        fn a_text_survives_two_levels(text: String) {
            let mut out = b"\"\\\"".to_vec();
            write_text(&mut out, text.as_bytes(), Level::Twice);
            out.extend_from_slice(b"\\\"\"");
            let inner: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&inner).unwrap(), text);
        }

        #[test]
        fn compact_is_what_serde_json_writes(text: String, number: i64) {
            let value = serde_json::json!({ "k": [text, number, null], "empty": {} });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty), serde_json::to_string(&value).unwrap());
        }
    }
}
