//! The request document of `callHandleHTTP` (docs/abi.md, section 3): the runner writes it, the module reads it.
//!
//! The six fields of the reference come first and are always there: `Body`, `JSONBody`, `TextBody`, `URI`, `Method` and
//! `Headers`. `JSONBody` and `TextBody` are empty in a request. These fields follow, which modules may ignore:
//!
//! | field | content |
//! |---|---|
//! | `Path` | path of the URI as the client wrote it, percent escapes kept |
//! | `Query` | query without `?`, raw; empty when there is none |
//! | `RequestId` | id of this call in answer and logs |
//! | `HeaderList` | `[["Name","value"],...]`: every header for itself, in order, so that repeated ones stay apart |
//! | `Target` | only where the runner cut a prefix off: the path and query that the client asked for |
//! | `Base64Body` | only when the body is not UTF-8: its bytes in base64 (in `Body` they became U+FFFD) |

use std::borrow::Cow;

use crate::DocumentError;
use crate::body;
use crate::headers::{self, Header};
use crate::json::{self, Level};
use crate::reader::Reader;

/// What a runner knows about a request. Everything is borrowed; the document is written straight from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestParts<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, and port unless it is the scheme's own.
    pub host: &'a str,
    /// Path, raw.
    pub path: &'a str,
    /// Query without `?`, raw.
    pub query: Option<&'a str>,
    /// Id of the call.
    pub request_id: &'a str,
    /// Path and query that the client asked for, when `path` is shorter (a hosted function); else `None`.
    pub target: Option<&'a str>,
    /// The body, of any content.
    pub body: &'a [u8],
}

/// Appends the request document to `out`.
///
/// `headers` makes an iterator of names in any case with their values, and is asked twice; names are written in canonical form.
/// Headers with equal names must follow each other (the iterator of a header map gives them so); they are joined in the `Headers` text and kept apart in `HeaderList`.
pub fn write<'a, I: Iterator<Item = (&'a str, &'a [u8])>>(
    out: &mut Vec<u8>,
    parts: &RequestParts<'_>,
    headers: impl Fn() -> I,
) {
    out.reserve(parts.body.len() + 768);
    out.extend_from_slice(b"{\"Body\":\"");
    let text = std::str::from_utf8(parts.body);
    match text {
        Ok(text) => json::write_escaped(out, text, Level::Once),
        Err(_) => json::write_text(out, parts.body, Level::Once),
    }
    out.extend_from_slice(b"\",\"JSONBody\":\"\",\"TextBody\":\"\",\"URI\":\"");
    json::write_escaped(out, parts.scheme, Level::Once);
    out.extend_from_slice(b"://");
    json::write_escaped(out, parts.host, Level::Once);
    json::write_escaped(out, parts.path, Level::Once);
    if let Some(query) = parts.query {
        out.push(b'?');
        json::write_escaped(out, query, Level::Once);
    }
    out.extend_from_slice(b"\",\"Method\":\"");
    json::write_escaped(out, parts.method, Level::Once);
    out.extend_from_slice(b"\",\"Headers\":\"");
    headers::write_pairs(out, headers(), Level::Twice);
    out.extend_from_slice(b"\",\"Path\":\"");
    json::write_escaped(out, parts.path, Level::Once);
    out.extend_from_slice(b"\",\"Query\":\"");
    json::write_escaped(out, parts.query.unwrap_or_default(), Level::Once);
    out.extend_from_slice(b"\",\"RequestId\":\"");
    json::write_escaped(out, parts.request_id, Level::Once);
    out.extend_from_slice(b"\",\"HeaderList\":");
    headers::write_list(out, headers());
    if let Some(target) = parts.target {
        out.extend_from_slice(b",\"Target\":");
        json::write_string(out, target);
    }
    if text.is_err() {
        out.extend_from_slice(b",\"Base64Body\":\"");
        body::write_base64(out, parts.body);
        out.push(b'"');
    }
    out.push(b'}');
}

/// A request as a module sees it. Borrows from the document where it can.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET`, `POST`, ...
    pub method: Cow<'a, str>,
    /// Absolute URI.
    pub uri: Cow<'a, str>,
    /// Path of the URI, raw.
    pub path: Cow<'a, str>,
    /// Query without `?`, raw; empty when there is none.
    pub query: Cow<'a, str>,
    /// Id of the call; empty when the runner gave none.
    pub request_id: Cow<'a, str>,
    /// Path and query that the client asked for, when the runner cut a prefix off.
    pub target: Option<Cow<'a, str>>,
    /// Headers with canonical names, in order.
    pub headers: Vec<Header<'a>>,
    /// The body's bytes.
    pub body: Cow<'a, [u8]>,
}

/// Reads a request document. One that has only the six fields of the reference is read too: path, query and headers come from
/// `URI` and `Headers` then.
///
/// # Errors
/// When the document is not a JSON object with these fields, or `Headers` or `Base64Body` does not decode.
pub fn parse(document: &[u8]) -> Result<Request<'_>, DocumentError> {
    let mut request = Request::default();
    let (mut path, mut query) = (None, None);
    let (mut list, mut text, mut base64) = (None, None, None);
    Reader::new("request", document)?.document(|reader, name| {
        match &*name {
            "Body" => request.body = body::into_bytes(reader.text()?.unwrap_or_default()),
            "URI" => request.uri = reader.text()?.unwrap_or_default(),
            "Method" => request.method = reader.text()?.unwrap_or_default(),
            "RequestId" => request.request_id = reader.text()?.unwrap_or_default(),
            "Path" => path = reader.text()?,
            "Query" => query = reader.text()?,
            "Target" => request.target = reader.text()?,
            "Base64Body" => base64 = reader.text()?,
            "HeaderList" => list = Some(read_list(reader)?),
            // Raw: `HeaderList` says the same, and two levels of escapes need not be undone for nothing.
            "Headers" => text = Some(reader.raw()?),
            _ => drop(reader.raw()?),
        }
        Ok(())
    })?;
    request.headers = match (list, text) {
        (Some(list), _) => list,
        (None, Some(text)) => {
            let text = Reader::new("request", text.as_bytes())?.text()?.unwrap_or_default();
            headers::parse_text(&text)?.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
        }
        (None, None) => Vec::new(),
    };
    (request.path, request.query) = match path {
        Some(path) => (path, query.unwrap_or_default()),
        None => {
            let (path, query) = split_uri(&request.uri);
            (Cow::Owned(path.to_owned()), Cow::Owned(query.to_owned()))
        }
    };
    if let Some(base64) = base64 {
        request.body = Cow::Owned(body::read_base64("Base64Body", &base64)?);
    }
    Ok(request)
}

fn read_list<'a>(reader: &mut Reader<'a>) -> Result<Vec<Header<'a>>, DocumentError> {
    let mut headers = Vec::with_capacity(8);
    reader.list(|reader| {
        let mut pair = [Cow::Borrowed(""), Cow::Borrowed("")];
        let mut places = pair.iter_mut();
        reader.list(|reader| {
            let text = reader.string()?;
            if let Some(place) = places.next() {
                *place = text;
            }
            Ok(())
        })?;
        let [name, value] = pair;
        headers.push((name, value));
        Ok(())
    })?;
    Ok(headers)
}

/// Path and query (without `?`) of an absolute URI, or of a bare path. An empty path is `/`.
#[must_use]
pub fn split_uri(uri: &str) -> (&str, &str) {
    let target = match uri.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => {
            rest.find(['/', '?', '#']).map_or("", |start| &rest[start..])
        }
        _ => uri,
    };
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = if path.is_empty() { "/" } else { path };
    (path, query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(parts: &RequestParts<'_>, headers: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        write(&mut out, parts, || headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_document_has_the_six_fields_first_and_then_ours() {
        let parts = RequestParts {
            method: "POST",
            scheme: "http",
            host: "localhost:8080",
            path: "/a",
            query: Some("b=1"),
            request_id: "r1",
            target: Some("/functions/f/x/a?b=1"),
            body: "say \"hi\" 🌍".as_bytes(),
        };
        assert_eq!(
            written(&parts, &[("host", "localhost:8080"), ("x-q", "a\"b")]),
            concat!(
                r#"{"Body":"say \"hi\" 🌍","JSONBody":"","TextBody":"","URI":"http://localhost:8080/a?b=1","Method":"POST","#,
                r#""Headers":"\"Host\":\"localhost:8080\",\"X-Q\":\"a\\\"b\"","Path":"/a","Query":"b=1","RequestId":"r1","#,
                r#""HeaderList":[["Host","localhost:8080"],["X-Q","a\"b"]],"Target":"/functions/f/x/a?b=1"}"#
            )
        );
    }

    #[test]
    fn a_body_that_is_not_text_comes_twice() {
        let document = written(&RequestParts { body: b"a\xff", ..Default::default() }, &[]);
        assert!(document.starts_with("{\"Body\":\"a\u{fffd}\","), "{document}");
        assert!(document.ends_with(",\"Base64Body\":\"Yf8=\"}"), "{document}");
        assert_eq!(&*parse(document.as_bytes()).unwrap().body, b"a\xff");
    }

    #[test]
    fn the_document_of_the_reference_is_read() {
        let document = br#"{"Body":"b","JSONBody":"","TextBody":"","URI":"http://h:1/p/q?x=1","Method":"GET",
            "Headers":"\"Content-Type\":\"text/plain\",\"Host\":\"h:1\""}"#;
        let request = parse(document).unwrap();
        assert_eq!((&*request.path, &*request.query, &*request.method), ("/p/q", "x=1", "GET"));
        assert_eq!(request.headers, [("Content-Type".into(), "text/plain".into()), ("Host".into(), "h:1".into())]);
        assert_eq!(&*request.body, b"b");
    }

    #[test]
    fn uris_are_split() {
        for (uri, path, query) in [
            ("http://h", "/", ""),
            ("http://h?x", "/", "x"),
            ("https://h/a/b?c?d#e", "/a/b", "c?d"),
            ("/a?u=http://x/y", "/a", "u=http://x/y"),
            ("", "/", ""),
        ] {
            assert_eq!(split_uri(uri), (path, query), "{uri}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (document, expected) in [
            ("", "the request document is not valid: expected an object at byte 0"),
            (r#"{"Headers":"x"}"#, "the `Headers` document is not valid: expected a text at byte 1"),
            (r#"{"Base64Body":"*"}"#, "`Base64Body` is not base64: Invalid symbol 42, offset 0."),
        ] {
            assert_eq!(parse(document.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_written_reads_as_itself(
            method in "[A-Z]{1,8}", host: String, path: String, query: Option<String>, id: String,
            target: Option<String>, body: Vec<u8>, values: Vec<String>,
        ) {
            let parts = RequestParts {
                method: &method, scheme: "http", host: &host, path: &path, query: query.as_deref(), request_id: &id,
                target: target.as_deref(), body: &body,
            };
            let headers: Vec<Header<'_>> = values
                .iter().enumerate().map(|(index, value)| (format!("X-{index}").into(), value.into())).collect();
            let mut out = Vec::new();
            write(&mut out, &parts, || headers.iter().map(|(name, value)| (&**name, value.as_bytes())));
            let request = parse(&out).unwrap();
            prop_assert_eq!(&*request.method, &*method);
            let question = if query.is_some() { "?" } else { "" };
            let query = query.unwrap_or_default();
            prop_assert_eq!(&*request.uri, format!("http://{host}{path}{question}{query}"));
            prop_assert_eq!(&*request.path, &*path);
            prop_assert_eq!(&*request.query, &*query);
            prop_assert_eq!(&*request.request_id, &*id);
            prop_assert_eq!(request.target.as_deref(), target.as_deref());
            prop_assert_eq!(&*request.body, &*body);
            prop_assert_eq!(&request.headers, &headers);
            // Braces around the `Headers` text make a JSON object, whatever the values are.
            let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let text = document["Headers"].as_str().unwrap();
            prop_assert_eq!(headers::parse_text(text).unwrap().len(), headers.len());
        }
    }
}
