//! The answer of an HTTP handler.

use std::borrow::Cow;

use capsule_abi::response::Body;
use serde::Serialize;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// An answer: status, headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
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
        Response::bytes(text.into().into_bytes(), TEXT)
    }

    /// 200 with a page, `text/html; charset=utf-8`.
    #[must_use]
    pub fn html(page: impl Into<String>) -> Response {
        Response::bytes(page.into().into_bytes(), HTML)
    }

    /// 200 with bytes of a content type.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>, content_type: &str) -> Response {
        Response { status: 200, headers: Vec::new(), body: Body::Text(Cow::Owned(bytes)) }
            .with_header("Content-Type", content_type)
    }

    /// 200 with a value as JSON, `application/json; charset=utf-8`.
    ///
    /// # Errors
    /// When the value has no JSON form, as a map with keys that are not text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Response, serde_json::Error> {
        let text = serde_json::to_string(value)?;
        Ok(Response { status: 200, headers: Vec::new(), body: Body::Json(Cow::Owned(text)) }
            .with_header("Content-Type", JSON))
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
        self.headers.push((name.to_owned(), value.into()));
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
