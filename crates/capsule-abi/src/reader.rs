//! A small reader for the documents that a runner writes and a module reads.
//!
//! Modules are downloaded, compiled and kept: this reader adds a few kilobytes to one, where serde_json with derived types adds
//! 80. It reads into borrowed text, has no recursion, and does not check parts of a document that nobody asked for beyond their
//! brackets and strings. What modules write is read by serde_json, which checks everything.

use std::borrow::Cow;

use crate::DocumentError;

/// Reads one document from front to back.
pub(crate) struct Reader<'a> {
    /// For errors: which document this is.
    what: &'static str,
    text: &'a str,
    at: usize,
}

type Result<T> = std::result::Result<T, DocumentError>;

impl<'a> Reader<'a> {
    /// A reader of `document`; `what` (as "request") is for its errors.
    pub(crate) fn new(what: &'static str, document: &'a [u8]) -> Result<Reader<'a>> {
        match std::str::from_utf8(document) {
            Ok(text) => Ok(Reader { what, text, at: 0 }),
            Err(error) => Err(Reader { what, text: "", at: error.valid_up_to() }.wrong("text in UTF-8")),
        }
    }

    /// Reads the whole document, an object: `field` gets each key and must read its value.
    pub(crate) fn document(mut self, field: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.object(field)?;
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("the end")),
        }
    }

    /// Reads an object.
    pub(crate) fn object(&mut self, mut field: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.items(b'{', b'}', |reader| {
            let key = reader.string()?;
            reader.expect(b':', "`:`")?;
            field(reader, &key)
        })
    }

    /// Reads a list: `item` must read one value.
    pub(crate) fn list(&mut self, item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.items(b'[', b']', item)
    }

    /// Reads a text, or null as `None`.
    pub(crate) fn text(&mut self) -> Result<Option<Cow<'a, str>>> {
        if self.peek() == Some(b'n') { self.literal("null").map(|()| None) } else { self.string().map(Some) }
    }

    /// Reads a text.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        let raw = self.raw_string()?;
        if !raw.contains('\\') {
            return Ok(Cow::Borrowed(raw));
        }
        unescape(raw).map(Cow::Owned).ok_or_else(|| self.wrong("a valid escape"))
    }

    /// Reads a number from 0 to 65535.
    pub(crate) fn number(&mut self) -> Result<u16> {
        self.peek();
        let rest = &self.text[self.at..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[..digits].parse().map_err(|_| self.wrong("a number from 0 to 65535"))?;
        self.at += digits;
        Ok(number)
    }

    /// What begins here: the first byte of the next value.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Reads any value and returns its text.
    pub(crate) fn raw(&mut self) -> Result<&'a str> {
        let Some(_) = self.peek() else { return Err(self.wrong("a value")) };
        let start = self.at;
        let mut depth = 0u32;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.raw_string()?),
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }

    /// Reads a number, `true`, `false` or `null`, without a look at its letters' order.
    fn scalar(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        match rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count() {
            0 => Err(self.wrong("a value")),
            length => {
                self.at += length;
                Ok(())
            }
        }
    }

    /// Reads what is between two brackets, item by item.
    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(open, if open == b'{' { "an object" } else { "a list" })?;
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.wrong("`,` or the end of it")),
            }
        }
    }

    /// Reads a text with its escapes, without its quotes.
    fn raw_string(&mut self) -> Result<&'a str> {
        self.expect(b'"', "a text")?;
        let start = self.at;
        let mut escaped = false;
        for (index, byte) in self.text.as_bytes()[start..].iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = start + index + 1;
                    return Ok(&self.text[start..start + index]);
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        Err(self.wrong("the end of a text"))
    }

    fn literal(&mut self, word: &'static str) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong(word));
        }
        self.at += word.len();
        Ok(())
    }

    fn expect(&mut self, byte: u8, name: &str) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.wrong(name));
        }
        self.at += 1;
        Ok(())
    }

    fn wrong(&self, expected: &str) -> DocumentError {
        DocumentError::new(format!("the {} document is not valid: expected {expected} at byte {}", self.what, self.at))
    }
}

/// Undoes the escapes of a text. Half of a surrogate pair becomes U+FFFD; an unknown escape is `None`.
fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let letter = *rest.as_bytes().get(at + 1)?;
        rest = rest.get(at + 2..)?;
        text.push(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = hex(rest)?;
                rest = &rest[4..];
                let second = rest.strip_prefix("\\u").and_then(hex).filter(|low| (0xdc00..0xe000).contains(low));
                match second {
                    Some(second) if (0xd800..0xdc00).contains(&first) => {
                        rest = &rest[6..];
                        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))?
                    }
                    _ => char::from_u32(first).unwrap_or('\u{fffd}'),
                }
            }
            _ => return None,
        });
    }
    text.push_str(rest);
    Some(text)
}

/// The four hex digits in front.
fn hex(text: &str) -> Option<u32> {
    let digits = text.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values of an object as raw text.
    fn fields(document: &[u8]) -> Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        Reader::new("test", document)?.document(|reader, key| {
            fields.push((key.to_owned(), reader.raw()?.to_owned()));
            Ok(())
        })?;
        Ok(fields)
    }

    fn text(raw: &str) -> Result<Option<String>> {
        let mut reader = Reader::new("test", raw.as_bytes())?;
        Ok(reader.text()?.map(Cow::into_owned))
    }

    #[test]
    fn values_are_cut_at_their_ends() {
        let read = fields(br#" { "a" : [ {"b":"]}\""} , -1.5e+3 ] , "c":null, "d" : "x" } "#).unwrap();
        let expected = [("a", "[ {\"b\":\"]}\\\"\"} , -1.5e+3 ]"), ("c", "null"), ("d", "\"x\"")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn errors_say_what_and_where() {
        for (document, expected) in [
            ("", "an object at byte 0"),
            ("{\"a\"1}", "`:` at byte 4"),
            ("{\"a\":}", "a value at byte 5"),
            ("{\"a\":1", "`,` or the end of it at byte 6"),
            ("{\"a", "the end of a text at byte 3"),
            ("{} x", "the end at byte 3"),
            ("{\"\\x\":1}", "a valid escape at byte 5"),
        ] {
            let error = fields(document.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("the test document is not valid: expected {expected}"), "{document}");
        }
        assert!(
            Reader::new("test", b"{\"\xff").err().unwrap().to_string().ends_with("expected text in UTF-8 at byte 2")
        );
    }

    #[test]
    fn escapes() {
        for (raw, expected) in [
            (r#""\u00e9\n\/\"\\""#, "é\n/\"\\"),
            (r#""\ud83d\udc2f""#, "🐯"),
            (r#""\ud83d\ud83d\udc2f""#, "\u{fffd}🐯"),
            (r#""\udc2f\u0041""#, "\u{fffd}A"),
        ] {
            assert_eq!(text(raw).unwrap().as_deref(), Some(expected));
        }
        for raw in [r#""\u12""#, r#""\u+123""#, r#""\uéé""#, r#""\é""#] {
            assert!(text(raw).is_err(), "{raw}");
        }
        assert_eq!(text("null").unwrap(), None);
    }

    #[test]
    fn numbers() {
        for (raw, expected) in [("0", Some(0)), ("65535", Some(65535)), ("65536", None), ("-1", None), ("", None)] {
            assert_eq!(Reader::new("test", raw.as_bytes()).unwrap().number().ok(), expected);
        }
    }

    #[test]
    fn depth_has_no_limit() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(fields(deep.as_bytes()).unwrap()[0].1.len(), 200_000);
        assert!(fields("{\"a\":[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_read_without_panic(bytes: Vec<u8>, text: String) {
            let _ = fields(&bytes);
            let _ = super::unescape(&text);
            let _ = fields(format!("{{\"a\":{text}}}").as_bytes());
            let _ = fields(format!("{{\"{text}\":\"{text}\"}}").as_bytes());
        }

        #[test]
        fn it_reads_what_serde_json_writes(name: String, value: String, number: i64) {
            let value = serde_json::json!({ name: value, "n": [number, null, { "deep": value }] });
            let document = serde_json::to_string_pretty(&value).unwrap();
            for (key, raw) in fields(document.as_bytes()).unwrap() {
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&raw).unwrap(), &value[&key]);
                if let Some(expected) = value[&key].as_str() {
                    let read = text(&raw).unwrap();
                    prop_assert_eq!(read.as_deref(), Some(expected));
                }
            }
        }
    }
}
