//! The HTTP client: requests that the runner sends for the module, where its operator allows it.
//!
//! ```
//! use capsule_mdk::{http, standin};
//!
//! standin::answer_http(200, "application/json", r#"{"message":"hello"}"#);
//! let answer = http::get("http://localhost:3000/json").header("Accept", "application/json").send()?;
//! assert_eq!((answer.status(), &*answer.text()), (200, r#"{"message":"hello"}"#));
//! # Ok::<(), capsule_mdk::BoxError>(())
//! ```

use std::borrow::Cow;

use capsule_abi::outbound::{self, OutboundBody};
use serde::{Deserialize, Serialize};

use crate::backend;
use crate::host::{self, HostError};

/// A GET request.
pub fn get(uri: &str) -> RequestBuilder {
    request("GET", uri)
}

/// A POST request.
pub fn post(uri: &str) -> RequestBuilder {
    request("POST", uri)
}

/// A request with any method.
pub fn request(method: &str, uri: &str) -> RequestBuilder {
    RequestBuilder { method: method.to_owned(), uri: uri.to_owned(), headers: Vec::new(), body: OutboundBody::Empty }
}

/// A request that is not sent yet.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until `send`"]
pub struct RequestBuilder {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    body: OutboundBody<'static>,
}

impl RequestBuilder {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> RequestBuilder {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body: text or any bytes.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> RequestBuilder {
        self.body = OutboundBody::Bytes(Cow::Owned(body.into()));
        self
    }

    /// Sets the body to a value as JSON, and `Content-Type` when there is none yet.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Result<RequestBuilder, serde_json::Error> {
        self.body = OutboundBody::Json(Cow::Owned(serde_json::to_string(value)?));
        if self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            return Ok(self);
        }
        Ok(self.header("Content-Type", "application/json; charset=utf-8"))
    }

    /// Sends the request. Any status is an answer.
    ///
    /// # Errors
    /// When there is no answer: the host says why (not allowed, no connection, past a limit).
    pub fn send(self) -> Result<Answer, HostError> {
        let mut document = Vec::new();
        let headers = self.headers.iter().map(|(name, value)| (&**name, &**value));
        outbound::write_request(&mut document, &self.method, &self.uri, headers, &self.body);
        let document = host::unframe(backend::http(&document))?;
        let answer = outbound::parse_response(&document).map_err(|error| HostError::new(error.to_string()))?;
        Ok(Answer {
            status: answer.status,
            headers: answer.headers.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            body: answer.body.into_owned(),
            is_json: answer.is_json,
        })
    }
}

/// The answer of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    is_json: bool,
}

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first value of a header, whatever the case of the name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers, names in Title-Case; repeated ones come one by one.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The body's bytes. JSON comes without white space outside strings.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Whether the other server announced JSON and the body is.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// The body as JSON, whatever was announced.
    ///
    /// # Errors
    /// When the body is not JSON, or not of this type.
    pub fn json<'b, T: Deserialize<'b>>(&'b self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}
