//! The binary contract between a runner and a Capsule module, as data: no engine, no I/O.
//!
//! - [`frame`]: the S/F frame around results, and the packed `pointer << 32 | length` that points to one.
//! - [`names`]: the exports and imports of a module by name.
//! - [`request`], [`response`]: the two documents of the HTTP handler.
//! - [`exchange`]: request and response as bytes, for the handler that takes them so.
//! - [`outbound`]: the two documents of the HTTP client.
//! - [`keys`]: the list of keys that cache and Redis answer with.
//! - [`headers`]: header names, and their shapes in documents.
//!
//! Host and guest both use this crate; it builds for `wasm32-wasip1` and with Rust 1.85. The documents are described in
//! `docs/abi.md`. Whatever bytes come, nothing here panics, and no document can exhaust the stack.
//!
//! ```
//! use capsule_abi::{request, response};
//!
//! // The runner writes a request; the module reads it.
//! let parts = request::RequestParts {
//!     method: "POST", scheme: "http", host: "localhost", path: "/", body: b"Bob", ..Default::default()
//! };
//! let mut document = Vec::new();
//! request::write(&mut document, &parts, || [("content-type", &b"text/plain"[..])].into_iter());
//! let request = request::parse(&document).unwrap();
//! assert_eq!(request.headers[0], ("Content-Type".into(), "text/plain".into()));
//!
//! // The module writes an answer; the runner reads it.
//! let mut document = Vec::new();
//! let body = response::Body::Text(b"Hey Bob"[..].into());
//! response::write(&mut document, 200, [("Content-Type", "text/plain")].into_iter(), &body);
//! assert_eq!(response::parse(&document).unwrap().body.as_bytes(), b"Hey Bob");
//! ```

#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails as it should"))]

mod body;
mod error;
pub mod exchange;
pub mod frame;
pub mod headers;
mod json;
pub mod keys;
pub mod names;
pub mod outbound;
mod reader;
pub mod request;
pub mod response;
mod scan;

pub use error::DocumentError;
