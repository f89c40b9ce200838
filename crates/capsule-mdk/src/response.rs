//! The answer of an HTTP handler.

use std::borrow::Cow;

use capsule_abi::headers::Header;
use capsule_abi::response::Body;
use serde::Serialize;

const CONTENT_TYPE: Cow<'static, str> = Cow::Borrowed("Content-Type");
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
/// What a runner calls JSON whose type nobody named.
const UNTYPED_JSON: &str = "application/json";
const JSON: &str = "application/json; charset=utf-8";

/// An answer: status, headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<Header<'static>>,
    body: Body<'static>,
}

impl Response {
    /// An answer with this status, 200 to 999, and neither headers nor body: the runner sends `{}` then.
    #[must_use]
    pub fn new(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Body::Json(Cow::Borrowed("{}")) }
    }

    /// 200 with text, `text/plain; charset=utf-8`.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Response {
        Response::typed(Body::Text(Cow::Owned(text.into().into_bytes())), TEXT.into())
    }

    /// 200 with a page, `text/html; charset=utf-8`.
    #[must_use]
    pub fn html(page: impl Into<String>) -> Response {
        Response::typed(Body::Text(Cow::Owned(page.into().into_bytes())), HTML.into())
    }

    /// 200 with bytes of a content type.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>, content_type: &str) -> Response {
        Response::typed(Body::Text(Cow::Owned(bytes)), Cow::Owned(content_type.to_owned()))
    }

    fn typed(body: Body<'static>, content_type: Cow<'static, str>) -> Response {
        Response { status: 200, headers: vec![(CONTENT_TYPE, content_type)], body }
    }

    /// 200 with a value as JSON, `application/json; charset=utf-8`.
    ///
    /// # Errors
    /// When the value has no JSON form, as a map with keys that are not text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Response, serde_json::Error> {
        Ok(Response::json_text(serde_json::to_string(value)?))
    }

    /// 200 with text that is JSON, `application/json; charset=utf-8`.
    #[must_use]
    pub fn json_text(text: impl Into<Cow<'static, str>>) -> Response {
        Response::typed(Body::Json(text.into()), JSON.into())
    }

    /// The same with another status, 200 to 999.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// The same with one more header. `Content-Type` replaces the one before; others may repeat (`Set-Cookie`).
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Response {
        if name.eq_ignore_ascii_case("content-type") {
            self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        self.headers.push((name.to_owned().into(), value.into().into()));
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The first value of a header, whatever the case of the name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The bytes of the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// Status, headers, the bytes of the body, and the type of these when no header says it.
    pub(crate) fn into_parts(self) -> (u16, Vec<Header<'static>>, Cow<'static, [u8]>, Option<&'static str>) {
        let typed = self.header("content-type").is_some();
        let (body, default_type) = match self.body {
            Body::Text(bytes) => (bytes, TEXT),
            Body::Json(Cow::Borrowed(text)) => (text.as_bytes().into(), UNTYPED_JSON),
            Body::Json(Cow::Owned(text)) => (text.into_bytes().into(), UNTYPED_JSON),
        };
        (self.status, self.headers, body, (!typed).then_some(default_type))
    }

    pub(crate) fn document_body(&self) -> &Body<'static> {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_is_one_and_cookies_are_many() {
        let answer = Response::text("a")
            .with_header("content-type", "text/markdown")
            .with_header("Set-Cookie", "a=1")
            .with_header("Set-Cookie", "b=2")
            .with_status(201);
        assert_eq!((answer.status(), answer.body()), (201, &b"a"[..]));
        assert_eq!(answer.header("Content-Type"), Some("text/markdown"));
        assert_eq!(answer.headers().count(), 3);
    }
}
