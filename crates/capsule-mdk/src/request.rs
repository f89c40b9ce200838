//! The request that an HTTP handler gets.

use std::borrow::Cow;

use capsule_abi::{DocumentError, headers, request};
use serde::Deserialize;

/// A request. Borrows from the argument of the call.
#[derive(Debug, Clone)]
pub struct Request<'a>(request::Request<'a>);

impl<'a> Request<'a> {
    /// Reads a request document, see [`capsule_abi::request`].
    pub(crate) fn parse(document: &'a [u8]) -> Result<Request<'a>, DocumentError> {
        request::parse(document).map(Request)
    }

    /// A request for a test: `uri` is absolute.
    #[must_use]
    pub fn new(method: &str, uri: &str) -> Request<'static> {
        let (path, query) = request::split_uri(uri);
        Request(request::Request {
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
        self.0.headers.push((Cow::Owned(headers::canonical(name)), Cow::Owned(value.to_owned())));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Request<'a> {
        self.0.body = Cow::Owned(body.into());
        self
    }

    /// `GET`, `POST`, ...
    #[must_use]
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// The absolute URI: scheme, host, path and query.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    /// The path, percent escapes kept.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The query without `?`, raw; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.0.query
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
        &self.0.request_id
    }

    /// Path and query that the client asked for, where the runner cut a prefix off (a hosted function).
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.0.target.as_deref()
    }

    /// The first value of a header, whatever the case of the name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::get(&self.0.headers, name)
    }

    /// All headers in order, names in Title-Case; repeated ones come one by one.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// All headers as the text that modules of the reference get: `"Name":"value"` pairs joined by `,`.
    #[must_use]
    pub fn headers_text(&self) -> String {
        headers::to_text(self.headers().map(|(name, value)| (name, value.as_bytes())))
    }

    /// The body's bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0.body)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When the body is not JSON, or not of this type.
    pub fn json<'b, T: Deserialize<'b>>(&'b self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0.body)
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
}
