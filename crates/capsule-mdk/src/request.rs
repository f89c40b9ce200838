//! The request that an HTTP handler gets.

use std::borrow::Cow;
use std::cell::OnceCell;

use capsule_abi::exchange::{self, RequestHead};
use capsule_abi::headers::Header;
use capsule_abi::{DocumentError, headers, request};
use serde::Deserialize;

/// A request. Borrows from the argument of the call.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Its parts, when they came as bytes: texts and headers are made of it when they are asked for.
    head: Option<RequestHead<'a>>,
    texts: OnceCell<Texts<'a>>,
    headers: OnceCell<Vec<Header<'a>>>,
    body: Cow<'a, [u8]>,
}

/// The texts of a request.
#[derive(Debug, Clone, Default)]
struct Texts<'a> {
    method: Cow<'a, str>,
    uri: Cow<'a, str>,
    path: Cow<'a, str>,
    query: Cow<'a, str>,
    request_id: Cow<'a, str>,
    target: Option<Cow<'a, str>>,
}

impl<'a> Texts<'a> {
    fn of(head: &RequestHead<'a>) -> Texts<'a> {
        let (path, query) = match head.path() {
            Cow::Borrowed(path) => {
                let (path, query) = path.split_once('?').unwrap_or((path, ""));
                (Cow::Borrowed(path), Cow::Borrowed(query))
            }
            Cow::Owned(path) => {
                let (path, query) = path.split_once('?').unwrap_or((&path, ""));
                (Cow::Owned(path.to_owned()), Cow::Owned(query.to_owned()))
            }
        };
        let (uri, target) = (head.uri().into(), Some(head.target()).filter(|target| !target.is_empty()));
        Texts { method: head.method(), uri, path, query, request_id: head.request_id(), target }
    }
}

impl<'a> Request<'a> {
    /// Reads a request document, see [`capsule_abi::request`].
    pub(crate) fn parse(document: &'a [u8]) -> Result<Request<'a>, DocumentError> {
        request::parse(document).map(Request::whole)
    }

    /// Reads the head of a request, see [`capsule_abi::exchange`].
    pub(crate) fn of(head: &'a [u8], body: &'a [u8]) -> Result<Request<'a>, DocumentError> {
        let head = Some(exchange::read_request(head)?);
        Ok(Request { head, texts: OnceCell::new(), headers: OnceCell::new(), body: body.into() })
    }

    fn whole(request: request::Request<'a>) -> Request<'a> {
        let request::Request { method, uri, path, query, request_id, target, headers, body } = request;
        let texts = Texts { method, uri, path, query, request_id, target };
        Request { head: None, texts: texts.into(), headers: headers.into(), body }
    }

    fn texts(&self) -> &Texts<'a> {
        self.texts.get_or_init(|| self.head.as_ref().map(Texts::of).unwrap_or_default())
    }

    fn list(&self) -> &Vec<Header<'a>> {
        self.headers.get_or_init(|| self.head.map_or_else(Vec::new, |head| head.canonical_headers()))
    }

    /// A request for a test: `uri` is absolute.
    #[must_use]
    pub fn new(method: &str, uri: &str) -> Request<'static> {
        let (path, query) = request::split_uri(uri);
        Request::whole(request::Request {
            method: method.to_owned().into(),
            uri: uri.to_owned().into(),
            path: path.to_owned().into(),
            query: query.to_owned().into(),
            ..Default::default()
        })
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Request<'a> {
        let mut headers = self.list().clone();
        headers.push((Cow::Owned(headers::canonical(name)), Cow::Owned(value.to_owned())));
        self.headers = headers.into();
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Request<'a> {
        self.body = Cow::Owned(body.into());
        self
    }

    /// `GET`, `POST`, ...
    #[must_use]
    pub fn method(&self) -> &str {
        &self.texts().method
    }

    /// The absolute URI: scheme, host, path and query.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.texts().uri
    }

    /// The path, percent escapes kept.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.texts().path
    }

    /// The query without `?`, raw; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.texts().query
    }

    /// The first value of a parameter of the query, `+` and percent escapes decoded.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let pairs = self.query().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
    }

    /// The id of this call in the runner's answer and log.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.texts().request_id
    }

    /// Path and query that the client asked for, where the runner cut a prefix off (a hosted function).
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.texts().target.as_deref()
    }

    /// The first value of a header, whatever the case of the name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::get(self.list(), name)
    }

    /// All headers in order, names in Title-Case; repeated ones come one by one.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.list().iter().map(|(name, value)| (&**name, &**value))
    }

    /// All headers as the text that modules of the reference get: `"Name":"value"` pairs joined by `,`.
    #[must_use]
    pub fn headers_text(&self) -> String {
        headers::to_text(self.headers().map(|(name, value)| (name, value.as_bytes())))
    }

    /// The body's bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When the body is not JSON, or not of this type.
    pub fn json<'b, T: Deserialize<'b>>(&'b self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// Decodes `+` and percent escapes; a broken escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = tail;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(letter: u8) -> u8 {
    match letter {
        b'0'..=b'9' => letter - b'0',
        _ => (letter | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_a_test_is_like_a_real_one() {
        let request = Request::new("POST", "http://localhost:8080/a/b?name=Bob+Morane&e=%F0%9F%90%AF&broken=%2")
            .with_header("x-token", "t")
            .with_body("{\"age\":42}");
        assert_eq!((request.method(), request.path()), ("POST", "/a/b"));
        assert_eq!(request.query_value("name").as_deref(), Some("Bob Morane"));
        assert_eq!(request.query_value("e").as_deref(), Some("🐯"));
        assert_eq!(request.query_value("broken").as_deref(), Some("%2"));
        assert_eq!(request.query_value("absent"), None);
        assert_eq!(request.header("X-TOKEN"), Some("t"));
        assert_eq!(request.headers_text(), "\"X-Token\":\"t\"");
        assert_eq!(request.json::<serde_json::Value>().unwrap()["age"], 42);
    }
    #[test]
    fn a_request_of_bytes_is_like_one_of_a_document() {
        let parts = request::RequestParts {
            method: "PUT",
            scheme: "https",
            host: "h",
            path: "/p",
            query: Some("q=1"),
            request_id: "r",
            target: Some("/functions/f/x/p?q=1"),
            body: b"b",
        };
        let headers = [("host", &b"h"[..]), ("x-a", b"1"), ("x-a", b"2")];
        let head = exchange::request(&parts, || headers.into_iter());
        let mut document = Vec::new();
        request::write(&mut document, &parts, || headers.into_iter());
        let of_bytes = Request::of(&head, parts.body).unwrap();
        let of_document = Request::parse(&document).unwrap();
        for request in [&of_bytes, &of_document] {
            assert_eq!((request.method(), request.uri()), ("PUT", "https://h/p?q=1"));
            assert_eq!((request.path(), request.query(), request.request_id()), ("/p", "q=1", "r"));
            assert_eq!((request.target(), request.body()), (Some("/functions/f/x/p?q=1"), &b"b"[..]));
            assert_eq!(request.headers().collect::<Vec<_>>(), [("Host", "h"), ("X-A", "1"), ("X-A", "2")]);
            assert_eq!(request.header("x-a"), Some("1"));
        }
        assert_eq!(of_bytes.headers_text(), of_document.headers_text());
        assert_eq!(of_bytes.with_header("x-b", "3").headers().count(), 4);
    }
}
