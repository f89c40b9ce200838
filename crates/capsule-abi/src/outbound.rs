//! The two documents of `hostHTTP` (docs/abi.md, section 4): the module writes the request and reads the response.
//!
//! Both have the additional field `Base64Body` when a body is not UTF-8: it holds the exact bytes.

use std::borrow::Cow;

use crate::DocumentError;
use crate::body;
use crate::headers::{self, Header};
use crate::json;
use crate::reader::Reader;
use crate::scan;

/// What a module wants sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundRequest<'a> {
    /// Upper case; `GET` when the module gave none.
    pub method: Cow<'a, str>,
    /// The absolute URI, not checked further.
    pub uri: Cow<'a, str>,
    /// Pairs that HTTP allows.
    pub headers: Vec<Header<'a>>,
    /// What to send.
    pub body: OutboundBody<'a>,
}

/// The body of an outbound request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundBody<'a> {
    /// None at all.
    Empty,
    /// An empty `JSONBody` (`{}`) and nothing else, which the reference's SDK writes into every request. To be sent as `{}` with
    /// the methods that have a body (POST, PUT, PATCH) and not at all with the others.
    EmptyJson,
    /// Bytes of any content, from `TextBody` or `Base64Body`.
    Bytes(Cow<'a, [u8]>),
    /// Compact JSON.
    Json(Cow<'a, str>),
}

/// Reads a request document. `JSONBody` wins over `TextBody` unless it is empty (null, `{}`, `""`); `Base64Body` wins over both.
///
/// # Errors
/// When the document is not JSON (with the position), has no `URI`, HTTP does not allow the method or a header, or `Base64Body`
/// does not decode.
pub fn parse_request(document: &[u8]) -> Result<OutboundRequest<'_>, DocumentError> {
    let (mut text, mut json, mut base64, mut uri, mut method) = (None, None, None, None, None);
    let mut headers = Vec::new();
    Reader::new("outbound request", document)?.document(|reader, name| {
        match &*name {
            "TextBody" => text = reader.text()?,
            "JSONBody" => json = Some(reader.compact()?).filter(|json| json != "null"),
            "Base64Body" => base64 = reader.text()?,
            "URI" => uri = reader.text()?,
            "Headers" => headers = headers::read_object(reader)?,
            "Method" => method = reader.text()?,
            _ => drop(reader.raw()?),
        }
        Ok(())
    })?;
    let uri = uri.filter(|uri| !uri.is_empty());
    let uri = uri.ok_or_else(|| DocumentError::new("the outbound request document lacks `URI`"))?;
    let mut method = method.filter(|method| !method.is_empty()).unwrap_or(Cow::Borrowed("GET"));
    if !headers::is_name(&method) {
        return Err(DocumentError::new(format!("{method:?} is not a method that HTTP allows")));
    }
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        method = Cow::Owned(method.to_ascii_uppercase());
    }
    headers::check(&headers)?;
    let text = text.filter(|text| !text.is_empty());
    let body = match (base64, json, text) {
        (Some(base64), _, _) if !base64.is_empty() => {
            OutboundBody::Bytes(Cow::Owned(body::read_base64("Base64Body", &base64)?))
        }
        (_, Some(json), _) if json != "{}" && json != "\"\"" => OutboundBody::Json(json),
        (_, _, Some(text)) => OutboundBody::Bytes(body::into_bytes(text)),
        (_, Some(json), None) if json == "{}" => OutboundBody::EmptyJson,
        _ => OutboundBody::Empty,
    };
    Ok(OutboundRequest { method, uri, headers, body })
}

/// Appends a request document. The text of [`OutboundBody::Json`] is written as it is: it must be valid JSON.
pub fn write_request<'a>(
    out: &mut Vec<u8>,
    method: &str,
    uri: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    body: &OutboundBody<'_>,
) {
    out.extend_from_slice(b"{\"TextBody\":");
    match body {
        OutboundBody::Bytes(bytes) => json::write_lossy_string(out, bytes),
        _ => out.extend_from_slice(b"\"\""),
    }
    out.extend_from_slice(b",\"JSONBody\":");
    match body {
        OutboundBody::Json(text) => out.extend_from_slice(text.as_bytes()),
        OutboundBody::EmptyJson => out.extend_from_slice(b"{}"),
        OutboundBody::Bytes(_) | OutboundBody::Empty => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"URI\":");
    json::write_string(out, uri);
    out.extend_from_slice(b",\"Headers\":");
    headers::write_object(out, headers.map(|(name, value)| (name, value.as_bytes())), false);
    out.extend_from_slice(b",\"Method\":");
    json::write_string(out, method);
    if let OutboundBody::Bytes(bytes) = body {
        write_base64_body(out, bytes);
    }
    out.push(b'}');
}

/// The answer to an outbound request, as a module sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundResponse<'a> {
    /// The status that the other server sent.
    pub status: u16,
    /// Canonical names; a list of values is one pair for each.
    pub headers: Vec<Header<'a>>,
    /// The body's bytes, or the text of the JSON.
    pub body: Cow<'a, [u8]>,
    /// Whether the body came as `JSONBody`: announced as JSON and valid.
    pub is_json: bool,
}

/// Appends a response document: `JSONBody`, compact, when the content type is JSON and the body is, else `TextBody`.
pub fn write_response<'a>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
    body: &[u8],
) {
    out.reserve(body.len() + 512);
    let content_type = headers.clone().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let announced = content_type.is_some_and(|(_, value)| std::str::from_utf8(value).is_ok_and(is_json));
    let json = if announced { json_text(body) } else { None };
    if let Some(json) = json {
        out.extend_from_slice(b"{\"JSONBody\":");
        out.extend_from_slice(json::compact(json).as_bytes());
    } else {
        out.extend_from_slice(b"{\"TextBody\":");
        json::write_lossy_string(out, body);
    }
    out.extend_from_slice(b",\"Headers\":");
    headers::write_object(out, headers, true);
    out.extend_from_slice(b",\"StatusCode\":");
    out.extend_from_slice(status.to_string().as_bytes());
    if json.is_none() {
        write_base64_body(out, body);
    }
    out.push(b'}');
}

/// Reads a response document.
///
/// # Errors
/// When the document is not JSON, has no `StatusCode`, or `Base64Body` does not decode.
pub fn parse_response(document: &[u8]) -> Result<OutboundResponse<'_>, DocumentError> {
    let (mut text, mut json, mut base64, mut status) = (None, None, None, None);
    let mut headers = Vec::new();
    Reader::new("outbound response", document)?.document(|reader, name| {
        match &*name {
            "TextBody" => text = reader.text()?,
            "JSONBody" => json = Some(reader.raw()?),
            "Base64Body" => base64 = reader.text()?,
            "Headers" => headers = headers::read_object(reader)?,
            "StatusCode" => status = Some(status_of(reader.number()?)?),
            _ => drop(reader.raw()?),
        }
        Ok(())
    })?;
    let status = status.ok_or_else(|| DocumentError::new("the outbound response document lacks `StatusCode`"))?;
    let (body, is_json) = match (base64, json, text) {
        (Some(base64), _, _) => (Cow::Owned(body::read_base64("Base64Body", &base64)?), false),
        (None, Some(json), _) => (Cow::Borrowed(json.as_bytes()), true),
        (None, None, text) => (body::into_bytes(text.unwrap_or_default()), false),
    };
    Ok(OutboundResponse { status, headers, body, is_json })
}

fn status_of(number: i64) -> Result<u16, DocumentError> {
    u16::try_from(number).map_err(|_| DocumentError::new(format!("`StatusCode` is {number}")))
}

/// Whether a content type is JSON: `application/json` or any `+json`, parameters ignored.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// The body as JSON text, when it is valid JSON of any depth.
fn json_text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    scan::is_valid(text).then_some(text)
}

fn write_base64_body(out: &mut Vec<u8>, body: &[u8]) {
    if std::str::from_utf8(body).is_err() {
        out.extend_from_slice(b",\"Base64Body\":\"");
        body::write_base64(out, body);
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn request_bodies() {
        let bytes = |text: &'static str| OutboundBody::Bytes(Cow::Borrowed(text.as_bytes()));
        for (fields, expected) in [
            (r#""TextBody":"a","JSONBody":{}"#, bytes("a")),
            (r#""TextBody":"a","JSONBody":"""#, bytes("a")),
            (r#""TextBody":"a""#, bytes("a")),
            (r#""TextBody":"a","JSONBody":{"b": 1}"#, OutboundBody::Json("{\"b\":1}".into())),
            (r#""TextBody":"","JSONBody":[]"#, OutboundBody::Json("[]".into())),
            (r#""TextBody":"","JSONBody":{ }"#, OutboundBody::EmptyJson),
            (r#""TextBody":"","JSONBody":null"#, OutboundBody::Empty),
            (r#""TextBody":"x","Base64Body":"/w==""#, OutboundBody::Bytes(Cow::Borrowed(b"\xff"))),
        ] {
            let document = format!(r#"{{{fields},"URI":"http://h/","Headers":{{}},"Method":"post"}}"#);
            let request = parse_request(document.as_bytes()).unwrap();
            assert_eq!((&*request.method, request.body), ("POST", expected), "{document}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (document, expected) in [
            ("{\"URI\":", "the outbound request document is not valid: expected a text at byte 7"),
            ("{}", "the outbound request document lacks `URI`"),
            (r#"{"URI":"u","Method":"G T"}"#, "\"G T\" is not a method that HTTP allows"),
            (r#"{"URI":"u","Headers":{"a b":""}}"#, "\"a b\" is not a header name that HTTP allows"),
        ] {
            assert_eq!(parse_request(document.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn responses() {
        for (content_type, body, expected) in [
            ("application/json; charset=utf-8", " {\"a\": 1}\n", r#"{"JSONBody":{"a":1},"#),
            ("application/problem+json", "null", r#"{"JSONBody":null,"#),
            ("application/json", "{\"a\"", r#"{"TextBody":"{\"a\"","#),
            ("text/html", "<a href=\"x\">", r#"{"TextBody":"<a href=\"x\">","#),
        ] {
            let mut out = Vec::new();
            write_response(&mut out, 200, [("content-type", content_type.as_bytes())].into_iter(), body.as_bytes());
            let expected = format!(r#"{expected}"Headers":{{"Content-Type":["{content_type}"]}},"StatusCode":200}}"#);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
            assert_eq!(parse_response(&out).unwrap().is_json, expected.starts_with("{\"JSONBody"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            let _ = parse_request(&bytes);
            let _ = parse_response(&bytes);
            let _ = is_json(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn a_request_reads_as_itself(
            method in "[A-Z]{1,8}", uri in ".{1,20}", value in "[ -~]{0,9}", bytes in prop::collection::vec(any::<u8>(), 1..64),
            which in 0..4,
        ) {
            let body = match which {
                0 => OutboundBody::Empty,
                1 => OutboundBody::EmptyJson,
                2 => OutboundBody::Bytes(Cow::Borrowed(&bytes)),
                _ => OutboundBody::Json(Cow::Owned(format!("{bytes:?}").replace(' ', ""))),
            };
            let mut out = Vec::new();
            write_request(&mut out, &method, &uri, [("X-A", &*value)].into_iter(), &body);
            let request = parse_request(&out).unwrap();
            prop_assert_eq!(request.method, method);
            prop_assert_eq!(request.uri, uri);
            prop_assert_eq!(request.headers, [(Cow::from("X-A"), Cow::from(&value))]);
            prop_assert_eq!(request.body, body);
        }

        #[test]
        fn a_response_reads_as_itself(status: u16, value in "[ -~]{0,9}", body: Vec<u8>, announced: bool) {
            let content_type: &[u8] = if announced { b"application/json" } else { b"text/plain" };
            let headers = [("content-type", content_type), ("x-a", value.as_bytes()), ("x-a", b"2")];
            let mut out = Vec::new();
            write_response(&mut out, status, headers.into_iter(), &body);
            let response = parse_response(&out).unwrap();
            prop_assert_eq!(response.status, status);
            prop_assert_eq!(response.headers.len(), 3);
            prop_assert_eq!(headers::get(&response.headers, "X-A"), Some(&*value));
            if response.is_json {
                let text = std::str::from_utf8(&body).unwrap();
                let expected = json::compact(text);
                prop_assert_eq!(&*response.body, expected.as_bytes());
            } else {
                prop_assert_eq!(&*response.body, &*body);
            }
        }
    }
}
