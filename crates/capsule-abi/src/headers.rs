//! Header names and the two shapes that headers have in documents: the `Headers` *string* of a request and the `Headers`
//! object of every other document.
//!
//! In memory headers are pairs in the order they came; a name may occur more than once.

use std::borrow::Cow;

use crate::DocumentError;
use crate::json::{self, Level};
use crate::reader::Reader;

/// One header: name and value. Borrows from the document where it can.
pub type Header<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The canonical Title-Case form of a name: `content-type` becomes `Content-Type`.
#[must_use]
pub fn canonical(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|letter| {
            let letter = if start { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
            start = letter == '-';
            letter
        })
        .collect()
}

/// The value of the first header with this name, whatever its case.
#[must_use]
pub fn get<'h>(headers: &'h [Header<'_>], name: &str) -> Option<&'h str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
}

/// Whether HTTP allows this as a header name: a token, RFC 9110 section 5.6.2.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token)
}

/// Whether HTTP allows this as a header value: no control characters but the tab, RFC 9110 section 5.5.
#[must_use]
pub fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
}

/// Bytes of a token, RFC 9110 section 5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Headers of a document at most: more than anybody sends, and few enough to be held.
const MAX_HEADERS: usize = 10_000;
/// Characters of a name or value that an error shows.
const SHOWN: usize = 80;

/// Checks all pairs; the error names the first one that HTTP does not allow.
pub(crate) fn check(headers: &[Header<'_>]) -> Result<(), DocumentError> {
    for (name, value) in headers {
        if !is_name(name) {
            return Err(DocumentError::new(format!("{} is not a header name that HTTP allows", shown(name))));
        }
        if !is_value(value) {
            let (name, value) = (name.get(..SHOWN).unwrap_or(name), shown(value));
            return Err(DocumentError::new(format!("header `{name}` has a value that HTTP does not allow: {value}")));
        }
    }
    Ok(())
}

/// A text in quotes, cut when it is long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The `Headers` string of a request: `"Name":"value"` pairs joined by `,`, names in canonical form, values with the same name
/// joined by `, ` (`Cookie`: `; `). Braces around it make it a JSON object. Equal names must follow each other; bytes that are
/// not UTF-8 become U+FFFD.
#[must_use]
pub fn to_text<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut out = Vec::new();
    write_pairs(&mut out, headers.into_iter(), Level::Once);
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads the `Headers` string of a request. An empty string is no header.
///
/// # Errors
/// When the text with braces around it is not a JSON object of texts.
pub fn parse_text(text: &str) -> Result<Vec<(String, String)>, DocumentError> {
    let object = format!("{{{text}}}");
    let mut headers = Vec::new();
    Reader::new("`Headers`", object.as_bytes())?.document(|reader, name| {
        headers.push((name.into_owned(), reader.string()?.into_owned()));
        Ok(())
    })?;
    Ok(headers)
}

/// Reads a `Headers` object: each value a text, a list of texts, or null. Null instead of the object is no header.
pub(crate) fn read_object<'a>(reader: &mut Reader<'a>) -> Result<Vec<Header<'a>>, DocumentError> {
    if reader.null()? {
        return Ok(Vec::new());
    }
    let mut headers = Vec::with_capacity(4);
    let mut push = |name, value| {
        if headers.len() == MAX_HEADERS {
            return Err(DocumentError::new(format!("the document has more than {MAX_HEADERS} headers")));
        }
        headers.push((name, value));
        Ok(())
    };
    reader.object(|reader, name| match reader.peek() {
        Some(b'[') => reader.list(|reader| push(name.clone(), reader.string()?)),
        _ => match reader.text()? {
            Some(value) => push(name, value),
            None => Ok(()),
        },
    })?;
    Ok(headers)
}

/// Writes the pairs of the `Headers` string, as plain text or inside a JSON string.
pub(crate) fn write_pairs<'a>(out: &mut Vec<u8>, headers: impl Iterator<Item = (&'a str, &'a [u8])>, level: Level) {
    let quote: &[u8] = if level == Level::Twice { b"\\\"" } else { b"\"" };
    let mut last: Option<&str> = None;
    for (name, value) in headers {
        if last.is_some_and(|last| last.eq_ignore_ascii_case(name)) {
            out.extend_from_slice(if name.eq_ignore_ascii_case("cookie") { b"; " } else { b", " });
        } else {
            if last.is_some() {
                out.extend_from_slice(quote);
                out.push(b',');
            }
            out.extend_from_slice(quote);
            write_canonical(out, name, level);
            out.extend_from_slice(quote);
            out.push(b':');
            out.extend_from_slice(quote);
            last = Some(name);
        }
        json::write_text(out, value, level);
    }
    if last.is_some() {
        out.extend_from_slice(quote);
    }
}

/// Writes `[["Name","value"],...]`: every header for itself, in order.
pub(crate) fn write_list<'a>(out: &mut Vec<u8>, headers: impl Iterator<Item = (&'a str, &'a [u8])>) {
    out.push(b'[');
    for (index, (name, value)) in headers.enumerate() {
        out.extend_from_slice(if index == 0 { b"[\"" } else { b",[\"" });
        write_canonical(out, name, Level::Once);
        out.extend_from_slice(b"\",\"");
        json::write_text(out, value, Level::Once);
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
}

/// Writes `{"Name":"value",...}`; a name that occurs more than once has an array, in the place of its first value. With
/// `always_lists` every value is an array, and names are canonical (the outbound response).
pub(crate) fn write_object<'a>(
    out: &mut Vec<u8>,
    headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
    always_lists: bool,
) {
    let level = Level::Once;
    out.push(b'{');
    let mut first = true;
    for (index, (name, value)) in headers.clone().enumerate() {
        let same = |other: &(&str, &[u8])| other.0.eq_ignore_ascii_case(name);
        if headers.clone().take(index).any(|other| same(&other)) {
            continue;
        }
        let mut more = headers.clone().skip(index + 1).filter(same).peekable();
        let list = always_lists || more.peek().is_some();
        out.extend_from_slice(if first { b"\"" } else { b",\"" });
        first = false;
        if always_lists {
            write_canonical(out, name, level);
        } else {
            json::write_text(out, name.as_bytes(), level);
        }
        out.extend_from_slice(if list { b"\":[" } else { b"\":" });
        json::write_lossy_string(out, value);
        for (_, value) in more {
            out.push(b',');
            json::write_lossy_string(out, value);
        }
        if list {
            out.push(b']');
        }
    }
    out.push(b'}');
}

/// Writes a name in canonical form. Only a name that is no token needs escapes.
fn write_canonical(out: &mut Vec<u8>, name: &str, level: Level) {
    if !name.bytes().all(is_token) {
        return json::write_text(out, canonical(name).as_bytes(), level);
    }
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    let mut first = true;
    for byte in &mut out[start..] {
        *byte = if first { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        first = *byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs<'a>(headers: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
        headers.iter().map(|(name, value)| (*name, value.as_bytes()))
    }

    #[test]
    fn names_are_title_case() {
        for (name, expected) in [
            ("content-type", "Content-Type"),
            ("X-GITLAB-TOKEN", "X-Gitlab-Token"),
            ("te", "Te"),
            ("", ""),
            ("é-é", "é-é"),
        ] {
            assert_eq!(canonical(name), expected);
        }
    }

    #[test]
    fn text_is_what_the_reference_writes_and_repeats_are_joined() {
        let text = to_text(pairs(&[
            ("content-type", "text/plain"),
            ("accept", "a"),
            ("Accept", "b"),
            ("cookie", "x=1"),
            ("cookie", "y=2"),
        ]));
        assert_eq!(text, r#""Content-Type":"text/plain","Accept":"a, b","Cookie":"x=1; y=2""#);
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        let text = to_text(pairs(&[("sec-ch-ua", r#""Chromium";v="1", \"#)]));
        assert_eq!(text, r#""Sec-Ch-Ua":"\"Chromium\";v=\"1\", \\""#);
        assert_eq!(parse_text(&text).unwrap(), [("Sec-Ch-Ua".to_owned(), r#""Chromium";v="1", \"#.to_owned())]);
    }

    #[test]
    fn what_http_does_not_allow_is_refused() {
        for (name, value, allowed) in [
            ("X-A", "b\tc é", true),
            ("X A", "b", false),
            ("", "b", false),
            ("X-A", "b\r\nSet-Cookie: x", false),
            ("X-A", "\0", false),
        ] {
            assert_eq!(check(&[(name.into(), value.into())]).is_ok(), allowed, "{name:?}: {value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic(text: String) {
            let _ = parse_text(&text);
        }

        #[test]
        fn text_survives_the_round_trip(values: Vec<String>) {
            let headers: Vec<(String, String)> =
                values.into_iter().enumerate().map(|(index, value)| (format!("X-{index}"), value)).collect();
            let text = to_text(headers.iter().map(|(name, value)| (&**name, value.as_bytes())));
            prop_assert_eq!(parse_text(&text).unwrap(), headers);
        }
    }
}
