//! A small reader for the documents that pass between a runner and a module, on both sides.
//!
//! Modules are downloaded, compiled and kept, and a runner reads a document for every call: this reader adds a few kilobytes to
//! a module, where serde_json with derived types adds 80. It borrows text where it can, has no recursion, and checks all of a
//! document, parts that nobody asked for included.

use std::borrow::Cow;

use crate::DocumentError;
use crate::json;
use crate::scan::Scanner;

/// Reads one document from front to back.
pub(crate) struct Reader<'a> {
    /// For errors: which document this is.
    what: &'static str,
    text: &'a str,
    place: Scanner<'a>,
}

type Result<T> = std::result::Result<T, DocumentError>;

impl<'a> Reader<'a> {
    /// A reader of `document`; `what` (as "request") is for its errors.
    pub(crate) fn new(what: &'static str, document: &'a [u8]) -> Result<Reader<'a>> {
        let reader =
            |text: &'a str| Reader { what, text, place: Scanner { bytes: text.as_bytes(), at: 0, spaced: false } };
        match std::str::from_utf8(document) {
            Ok(text) => Ok(reader(text)),
            Err(error) => Err(reader("").wrong_at(error.valid_up_to(), "text in UTF-8")),
        }
    }

    /// Reads the whole document, an object: `field` gets each key and must read its value.
    pub(crate) fn document(mut self, field: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>) -> Result<()> {
        self.object(field)?;
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("the end")),
        }
    }

    /// Reads an object.
    pub(crate) fn object(&mut self, mut field: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>) -> Result<()> {
        self.items(b'{', b'}', |reader| {
            let key = reader.string()?;
            reader.expect(b':', "`:`")?;
            field(reader, key)
        })
    }

    /// Reads a list: `item` must read one value.
    pub(crate) fn list(&mut self, item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.items(b'[', b']', item)
    }

    /// Reads a text, or null as `None`.
    pub(crate) fn text(&mut self) -> Result<Option<Cow<'a, str>>> {
        if self.null()? { Ok(None) } else { self.string().map(Some) }
    }

    /// Reads a text.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.peek();
        let start = self.place.at;
        let escaped = self.place.string().map_err(|expected| self.wrong(expected))?;
        let raw = &self.text[start + 1..self.place.at - 1];
        if !escaped {
            return Ok(Cow::Borrowed(raw));
        }
        unescape(raw).map(Cow::Owned).ok_or_else(|| self.wrong_at(start, "a text with valid escapes"))
    }

    /// Reads an integer.
    pub(crate) fn number(&mut self) -> Result<i64> {
        self.peek();
        let start = self.place.at;
        let raw = self.raw()?;
        raw.parse().map_err(|_| self.wrong_at(start, "an integer"))
    }

    /// What begins here: the first byte of the next value.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.place.next()
    }

    /// Reads any value and returns its text.
    pub(crate) fn raw(&mut self) -> Result<&'a str> {
        self.peek();
        let start = self.place.at;
        self.place.value().map_err(|expected| self.wrong(expected))?;
        Ok(&self.text[start..self.place.at])
    }

    /// Reads any value and returns its text without white space outside of strings.
    pub(crate) fn compact(&mut self) -> Result<Cow<'a, str>> {
        self.peek();
        self.place.spaced = false;
        let raw = self.raw()?;
        Ok(if self.place.spaced { json::compact(raw) } else { Cow::Borrowed(raw) })
    }

    /// Reads null, when that is what comes.
    pub(crate) fn null(&mut self) -> Result<bool> {
        let null = self.peek() == Some(b'n');
        if null {
            self.raw()?;
        }
        Ok(null)
    }

    /// Reads what is between two brackets, item by item.
    #[inline]
    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(open, if open == b'{' { "an object" } else { "a list" })?;
        if self.place.pass(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.place.pass(close) {
                return Ok(());
            }
            self.expect(b',', "`,` or the end of it")?;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, name: &str) -> Result<()> {
        if self.place.pass(byte) { Ok(()) } else { Err(self.wrong(name)) }
    }

    fn wrong(&self, expected: &str) -> DocumentError {
        self.wrong_at(self.place.at, expected)
    }

    #[cold]
    fn wrong_at(&self, at: usize, expected: &str) -> DocumentError {
        DocumentError::new(format!("the {} document is not valid: expected {expected} at byte {at}", self.what))
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
            fields.push((key.into_owned(), reader.raw()?.to_owned()));
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
            ("{\"\\x\":1}", "a valid escape at byte 2"),
            ("{\"a\":[1 2]}", "`,` or the end of it at byte 8"),
            ("{\"a\":\"\t\"}", "a text without control characters at byte 6"),
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
        for (raw, expected) in
            [("0", Some(0)), ("-1", Some(-1)), ("1.5", None), ("1e2", None), ("\"1\"", None), ("", None)]
        {
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
