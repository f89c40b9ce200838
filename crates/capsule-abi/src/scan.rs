//! Where the parts of a JSON text end, as RFC 8259 has it. Nothing is decoded and nothing allocated, except for documents that
//! are nested more than 64 deep; there is no recursion.

/// What was expected; where, is where the scanner stands.
type Result<T> = std::result::Result<T, &'static str>;

/// A place in a JSON text.
pub(crate) struct Scanner<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
    /// White space was passed since this was last set to false.
    pub(crate) spaced: bool,
}

impl Scanner<'_> {
    /// The byte here.
    #[inline]
    pub(crate) fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes white space, and answers the byte behind it.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => {
                    self.at += 1;
                    self.spaced = true;
                }
                other => return other,
            }
        }
    }

    /// Passes white space and `byte`, or answers that something else is there.
    #[inline]
    pub(crate) fn pass(&mut self, byte: u8) -> bool {
        let there = self.next() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Passes a string; true when it has escapes.
    pub(crate) fn string(&mut self) -> Result<bool> {
        if !self.pass(b'"') {
            return Err("a text");
        }
        let mut escaped = false;
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                Some(_) => return Err("a text without control characters"),
                None => return Err("the end of a text"),
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match self.bytes.get(self.at + 2..self.at + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                _ => return Err("four hexadecimal digits behind `\\u`"),
            },
            Some(_) => return Err("a valid escape"),
            None => return Err("the end of a text"),
        }
        Ok(())
    }

    /// Passes a value.
    pub(crate) fn value(&mut self) -> Result<()> {
        let mut open = Brackets::default();
        loop {
            match self.next() {
                Some(b'"') => drop(self.string()?),
                Some(b'{') => {
                    self.at += 1;
                    if !self.pass(b'}') {
                        open.push(true);
                        self.key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if !self.pass(b']') {
                        open.push(false);
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended here, and with it perhaps those around it.
            loop {
                let Some(object) = open.last() else { return Ok(()) };
                match (self.next(), object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        open.pop();
                        self.at += 1;
                    }
                    _ => return Err("`,` or the end of it"),
                }
            }
        }
    }

    /// Passes a key and its colon.
    fn key(&mut self) -> Result<()> {
        self.string()?;
        if self.pass(b':') { Ok(()) } else { Err("`:`") }
    }

    /// Passes a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<()> {
        let rest = &self.bytes[self.at..];
        for word in ["true", "false", "null"] {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.number()
    }

    /// Passes a number (RFC 8259 section 6).
    fn number(&mut self) -> Result<()> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => {
                self.at = start;
                return Err("a value");
            }
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err("a digit") } else { Ok(()) }
    }
}

/// Whether `text` is one JSON value with nothing but white space around it.
pub(crate) fn is_valid(text: &str) -> bool {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, spaced: false };
    scanner.value().is_ok() && scanner.next().is_none()
}

/// A byte in each place of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// How many bytes in front may stand in a JSON string as they are: no quote, no backslash, no control character.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let mut words = bytes.chunks_exact(8);
    let mut at = 0;
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("a chunk has eight bytes"));
        let (quote, backslash) = (word ^ each(b'"'), word ^ each(b'\\'));
        // The highest bit of each byte that is zero after the exclusive or, or below 0x20. A borrow can only spoil bytes
        // above the first one that is found.
        let found = (quote.wrapping_sub(each(1)) & !quote)
            | (backslash.wrapping_sub(each(1)) & !backslash)
            | (word.wrapping_sub(each(0x20)) & !word);
        let found = found & each(0x80);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + words.remainder().iter().take_while(|byte| **byte >= 0x20 && **byte != b'"' && **byte != b'\\').count()
}

/// The brackets that are open: a bit for each, set for an object. The first 64 need no allocation.
#[derive(Default)]
struct Brackets {
    word: u64,
    depth: usize,
    /// Words that are full.
    full: Vec<u64>,
}

impl Brackets {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth % 64 == 0 {
            self.full.push(self.word);
        }
        self.word = self.word << 1 | u64::from(object);
        self.depth += 1;
    }

    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.word & 1 == 1)
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.word >>= 1;
        if self.depth > 0 && self.depth % 64 == 0 {
            self.word = self.full.pop().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn library(text: &str) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }

    #[test]
    fn what_is_json_and_what_is_not() {
        for text in [
            "",
            " ",
            "0",
            "-0",
            "01",
            "-",
            "1.",
            "1.5",
            ".5",
            "1e",
            "1e+",
            "1e+3",
            "1E-0",
            "1.0e5x",
            "tru",
            "true",
            "nul",
            "null",
            "nullx",
            "\"",
            "\"\\\"",
            "\"\\u12\"",
            "\"\\u12zz\"",
            "\"\\u00e9\"",
            "\"\\x\"",
            "\"\t\"",
            "\"\u{7f}\"",
            "[",
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2]",
            "[[],[{}]]",
            "{",
            "{}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1}",
            "{a:1}",
            "{\"a\":[1}",
            "[1}",
            "{]",
            "]",
            "[]]",
            "{ \"a\" : [ 1 , { } ] }",
            "1 2",
            "+1",
            "Infinity",
            "0x1",
            "\u{feff}1",
        ] {
            assert_eq!(is_valid(text), library(text), "{text:?}");
        }
    }

    #[test]
    fn depth_has_no_limit() {
        for depth in [63, 64, 65, 127, 128, 129, 192, 100_000] {
            let mixed: String = (0..depth).map(|at| if at % 3 == 0 { "{\"a\":" } else { "[" }).collect();
            let end: String = (0..depth).rev().map(|at| if at % 3 == 0 { "}" } else { "]" }).collect();
            assert!(is_valid(&format!("{mixed}1{end}")), "{depth}");
            let swapped: String = (0..depth).rev().map(|at| if at % 3 == 1 { "}" } else { "]" }).collect();
            assert!(!is_valid(&format!("{mixed}1{swapped}")), "{depth}");
        }
    }

    #[test]
    fn plain_bytes_end_at_the_first_special_one() {
        for at in 0..40 {
            for special in [b'"', b'\\', 0, 0x1f] {
                let mut bytes = vec![b'\xff'; 40];
                bytes[at] = special;
                assert_eq!(plain(&bytes), at);
                bytes[at] = b' ';
                assert_eq!(plain(&bytes), 40);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_scan_without_panic(bytes: Vec<u8>) {
            let mut scanner = Scanner { bytes: &bytes, at: 0, spaced: false };
            let _ = scanner.value();
            prop_assert!(scanner.at <= bytes.len());
        }

        #[test]
        fn it_agrees_with_serde_json(text in r#"[\[\]{}",:\\ \n0-9eE.+\-truefalsn]{0,12}"#) {
            prop_assert_eq!(is_valid(&text), library(&text), "{:?}", text);
        }

        #[test]
        fn it_accepts_what_serde_json_writes(name: String, text: String, float: f64, number: i64) {
            let value = serde_json::json!({ name: [text, float, number, { "deep": [null, true, false, {}, []] }] });
            prop_assert!(is_valid(&serde_json::to_string_pretty(&value).unwrap()));
            prop_assert!(is_valid(&value.to_string()));
        }
    }
}
