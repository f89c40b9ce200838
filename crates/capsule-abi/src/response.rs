//! The response document of `callHandleHTTP`, `OnHealthCheck` and `OnMetrics` (docs/abi.md, section 3): the module writes it,
//! the runner reads it.

use std::borrow::Cow;

use crate::DocumentError;
use crate::body;
use crate::headers::{self, Header};
use crate::reader::Reader;

/// Statuses that a module may answer with. 1xx cannot be an answer.
pub const STATUSES: std::ops::RangeInclusive<u16> = 200..=999;

/// An answer, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// One of [`STATUSES`]; 200 when the module gave none or 0.
    pub status: u16,
    /// Pairs that HTTP allows, in the module's order and case; a list of values is one pair for each.
    pub headers: Vec<Header<'a>>,
    /// What to send.
    pub body: Body<'a>,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// From `TextBody`, any bytes; never empty when it was read from a document.
    Text(Cow<'a, [u8]>),
    /// From `JSONBody`, compact; `{}` when the module gave no body at all. Borrows from the document when that is compact
    /// already.
    Json(Cow<'a, str>),
}

impl Body<'_> {
    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Text(bytes) => bytes,
            Body::Json(text) => text.as_bytes(),
        }
    }
}

/// A document whose headers are not read yet: most answers of a module have the headers of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    /// One of [`STATUSES`]; 200 when the module gave none or 0.
    pub status: u16,
    /// What to send.
    pub body: Body<'a>,
    /// The JSON text of `Headers`, valid; `{}` when there is none.
    pub headers: &'a str,
}

/// Reads a response document. A non-empty `TextBody` wins; else `JSONBody`, of which null, absent and `{}` are the same. There is
/// no limit on the depth of `JSONBody`: it is never made into a tree.
///
/// # Errors
/// When the document is not JSON or a field has another type than it should, `TextBody` is not base64, or the status is outside
/// [`STATUSES`].
pub fn read(document: &[u8]) -> Result<Document<'_>, DocumentError> {
    let (mut text, mut json, mut code) = (None, None, 0);
    let mut headers = "{}";
    Reader::new("response", document)?.document(|reader, name| {
        match &*name {
            "JSONBody" => json = Some(reader.compact()?).filter(|json| json != "null"),
            "TextBody" => text = reader.text()?,
            "Headers" => headers = reader.raw()?,
            "StatusCode" => code = if reader.null()? { 0 } else { reader.number()? },
            _ => drop(reader.raw()?),
        }
        Ok(())
    })?;
    let status = match code {
        0 => 200,
        code => u16::try_from(code)
            .ok()
            .filter(|code| STATUSES.contains(code))
            .ok_or_else(|| DocumentError::new(format!("`StatusCode` is {code}, expected 200 to 999, or 0 for 200")))?,
    };
    let body = match (text, json) {
        (Some(text), _) if !text.is_empty() => Body::Text(Cow::Owned(body::read_base64("TextBody", &text)?)),
        (_, json) => Body::Json(json.unwrap_or(Cow::Borrowed("{}"))),
    };
    Ok(Document { status, body, headers })
}

/// Reads the `Headers` of a [`Document`].
///
/// # Errors
/// When it is no object of texts and lists of texts, or HTTP does not allow one of them.
pub fn read_headers(text: &str) -> Result<Vec<Header<'_>>, DocumentError> {
    let headers = headers::read_object(&mut Reader::new("`Headers`", text.as_bytes())?)?;
    headers::check(&headers)?;
    Ok(headers)
}

/// Reads a response document and its headers.
///
/// # Errors
/// As [`read`] and [`read_headers`].
pub fn parse(document: &[u8]) -> Result<Response<'_>, DocumentError> {
    let Document { status, body, headers } = read(document)?;
    Ok(Response { status, headers: read_headers(headers)?, body })
}

/// Appends a response document. Headers with equal names become a list. The text of [`Body::Json`] is written as it is: it must
/// be valid JSON.
pub fn write<'a>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    body: &Body<'_>,
) {
    out.reserve(body.as_bytes().len() * 4 / 3 + 256);
    match body {
        Body::Text(bytes) => {
            out.extend_from_slice(b"{\"JSONBody\":{},\"TextBody\":\"");
            body::write_base64(out, bytes);
            out.push(b'"');
        }
        Body::Json(text) => {
            out.extend_from_slice(b"{\"JSONBody\":");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b",\"TextBody\":\"\"");
        }
    }
    out.extend_from_slice(b",\"Headers\":");
    headers::write_object(out, headers.map(|(name, value)| (name, value.as_bytes())), false);
    out.extend_from_slice(b",\"StatusCode\":");
    out.extend_from_slice(status.to_string().as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(document: &str) -> String {
        String::from_utf8(parse(document.as_bytes()).unwrap().body.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn bodies() {
        for (document, expected) in [
            (r#"{}"#, "{}"),
            (r#"{"JSONBody":null}"#, "{}"),
            (r#"{"JSONBody": { }, "TextBody":null}"#, "{}"),
            (r#"{"JSONBody":{"z":1.50, "a":[ 1e400 ]}, "TextBody":""}"#, r#"{"z":1.50,"a":[1e400]}"#),
            (r#"{"JSONBody":[1, "a b"]}"#, r#"[1,"a b"]"#),
            (r#"{"JSONBody":"text"}"#, r#""text""#),
            (r#"{"JSONBody":{"a":1},"TextBody":"8J+Riw=="}"#, "👋"),
            (r#"{"TextBody":"8J+Riw"}"#, "👋"),
            (r#"{"TextBody":"YQ\u003d=","Unknown":[[{}]]}"#, "a"),
        ] {
            assert_eq!(body(document), expected, "{document}");
        }
    }

    #[test]
    fn statuses() {
        for (code, expected) in [("0", 200), ("null", 200), ("200", 200), ("404", 404), ("999", 999)] {
            assert_eq!(parse(format!(r#"{{"StatusCode":{code}}}"#).as_bytes()).unwrap().status, expected);
        }
        for code in ["199", "100", "1000", "-1", "70000"] {
            assert_eq!(
                parse(format!(r#"{{"StatusCode":{code}}}"#).as_bytes()).unwrap_err().to_string(),
                format!("`StatusCode` is {code}, expected 200 to 999, or 0 for 200")
            );
        }
    }

    #[test]
    fn headers_are_texts_or_lists() {
        let document = br#"{"Headers":{"Set-Cookie":["a=1","b=2"],"X":"y"}}"#;
        assert_eq!(
            parse(document).unwrap().headers,
            [("Set-Cookie".into(), "a=1".into()), ("Set-Cookie".into(), "b=2".into()), ("X".into(), "y".into())]
        );
        assert_eq!(parse(br#"{"Headers":null}"#).unwrap().headers, []);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (document, expected) in [
            ("", "the response document is not valid: expected an object at byte 0"),
            ("{\"a\":1", "the response document is not valid: expected `,` or the end of it at byte 6"),
            (r#"{"StatusCode":"200"}"#, "the response document is not valid: expected an integer at byte 14"),
            (r#"{"TextBody":"*"}"#, "`TextBody` is not base64: Invalid symbol 42, offset 0."),
            (r#"{"Headers":{"A B":"c"}}"#, "\"A B\" is not a header name that HTTP allows"),
            (r#"{"Headers":{"A":"c\n"}}"#, "header `A` has a value that HTTP does not allow: \"c\\n\""),
            (r#"{"Headers":{"A":1}}"#, "the `Headers` document is not valid: expected a text at byte 5"),
        ] {
            assert_eq!(parse(document.as_bytes()).unwrap_err().to_string(), expected, "{document}");
        }
    }

    #[test]
    fn depth_has_no_limit() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(body(&format!(r#"{{"JSONBody":{deep}}}"#)), deep);
        assert_eq!(body(&format!(r#"{{"Unknown":{deep}}}"#)), "{}");
        assert!(parse(format!(r#"{{"Headers":{{"a":{deep}}}}}"#).as_bytes()).is_err());
        assert!(parse("{\"JSONBody\":".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_compact_body_is_not_copied() {
        let document = br#"{"JSONBody":{"a b":1}}"#;
        assert!(matches!(parse(document).unwrap().body, Body::Json(Cow::Borrowed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_fields_parse_without_panic(json: String, text: String, headers: String, status: String) {
            let document = format!(r#"{{"JSONBody":{json},"TextBody":"{text}","Headers":{headers},"StatusCode":{status}}}"#);
            let _ = parse(document.as_bytes());
        }

        #[test]
        fn what_is_written_reads_as_itself(
            status in STATUSES,
            headers in prop::collection::vec(("[A-Za-z-]{1,9}", "[ -~é🌍]{0,9}"), 0..4),
            bytes in prop::collection::vec(any::<u8>(), 1..64),
            text: String,
            is_text: bool,
        ) {
            let json = serde_json::to_string(&text).unwrap();
            let body = if is_text { Body::Text(Cow::Borrowed(&bytes)) } else { Body::Json(Cow::Borrowed(&json)) };
            let mut out = Vec::new();
            write(&mut out, status, headers.iter().map(|(name, value)| (&**name, &**value)), &body);
            let response = parse(&out).unwrap();
            prop_assert_eq!(response.status, status);
            prop_assert_eq!(&response.body, &body);
            // Equal names are put together; what each name has stays in order.
            prop_assert_eq!(response.headers.len(), headers.len());
            for (name, _) in &headers {
                let values = |pairs: Vec<(&str, &str)>| -> Vec<String> {
                    pairs.iter().filter(|pair| pair.0.eq_ignore_ascii_case(name)).map(|pair| pair.1.to_owned()).collect()
                };
                prop_assert_eq!(
                    values(response.headers.iter().map(|(name, value)| (&**name, &**value)).collect()),
                    values(headers.iter().map(|(name, value)| (&**name, &**value)).collect())
                );
            }
        }
    }
}
