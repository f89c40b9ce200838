//! The exports of a module: macros, and what they expand to.

use std::borrow::Cow;
use std::fmt::Display;

use capsule_abi::{exchange, frame, response};
use serde::Serialize;

use crate::memory;
use crate::{HostError, Request, Response, Result};

/// What a handler can take as its argument: bytes, text, or a request.
pub trait Argument<'a>: Sized {
    /// Reads the argument of a call.
    ///
    /// # Errors
    /// When the bytes are not what the handler wants; the runner gets the text as a failure.
    fn read(bytes: &'a [u8]) -> Result<Self, HostError>;
}

impl<'a> Argument<'a> for &'a [u8] {
    fn read(bytes: &'a [u8]) -> Result<Self, HostError> {
        Ok(bytes)
    }
}

impl<'a> Argument<'a> for &'a str {
    fn read(bytes: &'a [u8]) -> Result<Self, HostError> {
        std::str::from_utf8(bytes).map_err(|error| HostError::new(format!("the argument is not text: {error}")))
    }
}

impl Argument<'_> for Vec<u8> {
    fn read(bytes: &[u8]) -> Result<Self, HostError> {
        Ok(bytes.to_vec())
    }
}

impl Argument<'_> for String {
    fn read(bytes: &[u8]) -> Result<Self, HostError> {
        <&str>::read(bytes).map(str::to_owned)
    }
}

impl<'a> Argument<'a> for Request<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, HostError> {
        Request::parse(bytes).map_err(|error| HostError::new(error.to_string()))
    }
}

/// Reads the argument of a JSON handler.
///
/// # Errors
/// What serde_json says.
pub fn document<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Runs a handler on the argument at an address and keeps the frame that it returns.
///
/// # Safety
/// Unless `length` is 0, that many bytes at `pointer` are initialized, and nobody else touches them until the call returns.
#[expect(unsafe_code, reason = "the host says where the argument lies")]
pub unsafe fn enter(pointer: *const u8, length: usize, handler: impl FnOnce(&[u8]) -> Vec<u8>) -> u64 {
    let argument = match length {
        0 => &[],
        // SAFETY: the caller's promise.
        _ => unsafe { std::slice::from_raw_parts(pointer, length) },
    };
    let frame = handler(argument);
    drop(memory::reclaim(pointer as usize));
    memory::keep(frame)
}

/// Runs a handler on the request whose head and body lie at two addresses and keeps its answer.
///
/// # Safety
/// As [`enter`], for both ranges.
#[expect(unsafe_code, reason = "the host says where the request lies")]
pub unsafe fn enter_request<E: Display>(
    head: (*const u8, usize),
    body: (*const u8, usize),
    handler: impl FnOnce(Request<'_>) -> Result<Response, E>,
) -> u64 {
    let answer = |head: &[u8], body: &[u8]| {
        keep_answer(match Request::of(head, body) {
            Ok(request) => handler(request).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        })
    };
    // SAFETY: the caller's promise.
    unsafe { enter_parts(head, body, answer) }
}

/// The same for a handler that reads and writes heads itself.
///
/// # Safety
/// As [`enter`], for both ranges.
#[expect(unsafe_code, reason = "the host says where the request lies")]
pub unsafe fn enter_raw_request<H, B, E: Display>(
    head: (*const u8, usize),
    body: (*const u8, usize),
    handler: impl FnOnce(&[u8], &[u8]) -> Result<(H, B), E>,
) -> u64
where
    H: Into<Cow<'static, [u8]>>,
    B: Into<Cow<'static, [u8]>>,
{
    let answer = |head: &[u8], body: &[u8]| match handler(head, body) {
        Ok((head, body)) => memory::keep_answer(head.into(), body.into()),
        Err(error) => keep_answer(Err(error.to_string())),
    };
    // SAFETY: the caller's promise.
    unsafe { enter_parts(head, body, answer) }
}

/// # Safety
/// As [`enter`], for both ranges.
#[expect(unsafe_code, reason = "the host says where the request lies")]
unsafe fn enter_parts(
    head: (*const u8, usize),
    body: (*const u8, usize),
    answer: impl FnOnce(&[u8], &[u8]) -> u64,
) -> u64 {
    let [head_bytes, body_bytes] = [head, body].map(|(pointer, length)| match length {
        0 => &[],
        // SAFETY: the caller's promise.
        _ => unsafe { std::slice::from_raw_parts(pointer, length) },
    });
    let kept = answer(head_bytes, body_bytes);
    drop(memory::reclaim(head.0 as usize));
    kept
}

/// Keeps the parts of an answer of `callHandleRequest`, or of a failure. Not generic, so that it is compiled once, with this crate's
/// optimisation.
fn keep_answer(answer: Result<Response, String>) -> u64 {
    let (status, headers, body, default_type) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(text) => {
            let mut head = Vec::with_capacity(8);
            exchange::write_failure(&mut head);
            return memory::keep_answer(head.into(), text.into_bytes().into());
        }
    };
    let default_type = default_type.map(|default| (Cow::Borrowed("Content-Type"), Cow::Borrowed(default)));
    let headers = headers.iter().chain(&default_type).map(|(name, value)| (&**name, &**value));
    let mut head = memory::head();
    exchange::write_response(&mut head, status, headers);
    memory::keep_answer(head.into(), body)
}

/// A buffer with the frame byte of a success.
fn success() -> Vec<u8> {
    let mut out = memory::frame();
    out.push(frame::SUCCESS);
    out
}

/// The frame of a result of bytes or text.
pub fn bytes_frame<T: AsRef<[u8]>, E: Display>(result: Result<T, E>) -> Vec<u8> {
    match result {
        Ok(bytes) => {
            let bytes = bytes.as_ref();
            let mut out = memory::frame();
            out.reserve(bytes.len() + 1);
            out.push(frame::SUCCESS);
            out.extend_from_slice(bytes);
            out
        }
        Err(error) => failure(&error),
    }
}

/// The frame of a result that becomes JSON.
pub fn json_frame<T: Serialize, E: Display>(result: Result<T, E>) -> Vec<u8> {
    match result {
        Ok(value) => {
            let mut out = success();
            match serde_json::to_writer(&mut out, &value) {
                Ok(()) => out,
                Err(error) => failure(&error),
            }
        }
        Err(error) => failure(&error),
    }
}

/// The frame of a response document.
pub fn response_frame<E: Display>(result: Result<Response, E>) -> Vec<u8> {
    match result {
        Ok(answer) => {
            let mut out = success();
            response::write(&mut out, answer.status(), answer.headers(), answer.document_body());
            out
        }
        Err(error) => failure(&error),
    }
}

fn failure(error: &dyn Display) -> Vec<u8> {
    frame::encode(Err(error.to_string().as_bytes()))
}

/// Exports the text or bytes handler: `fn(A) -> Result<R, E>` where `A` is `&[u8]`, `&str`, `Vec<u8>` or `String`, `R` is text or
/// bytes, and `E` any error.
#[macro_export]
macro_rules! handle {
    ($handler:expr) => {
        $crate::__export_handler!("callHandle", __capsule_handle, |bytes| match $crate::Argument::read(bytes) {
            ::core::result::Result::Ok(argument) => $crate::__private::bytes_frame($handler(argument)),
            ::core::result::Result::Err(error) => {
                $crate::__private::bytes_frame::<&str, _>(::core::result::Result::Err(error))
            }
        });
    };
}

/// Exports the JSON handler: `fn(A) -> Result<R, E>` where `A` is deserialized from the argument, `R` serialized into the result,
/// and `E` any error.
#[macro_export]
macro_rules! handle_json {
    ($handler:expr) => {
        $crate::__export_handler!("callHandleJSON", __capsule_handle_json, |bytes| {
            match $crate::__private::document(bytes) {
                ::core::result::Result::Ok(argument) => $crate::__private::json_frame($handler(argument)),
                ::core::result::Result::Err(error) => {
                    $crate::__private::json_frame::<(), _>(::core::result::Result::Err(error))
                }
            }
        });
    };
}

/// Exports the HTTP handler: `fn(Request<'_>) -> Result<Response, E>` with any error `E`, which becomes a 500 with its text.
///
/// It is exported twice: as `callHandleRequest`, which takes and answers bytes, and as `callHandleHTTP`, which every runner knows.
#[macro_export]
macro_rules! handle_http {
    ($handler:expr) => {
        $crate::__export_request_handler!(enter_request, $handler);
        $crate::__export_handler!("callHandleHTTP", __capsule_handle_http, |bytes| {
            match $crate::Argument::read(bytes) {
                ::core::result::Result::Ok(request) => $crate::__private::response_frame($handler(request)),
                ::core::result::Result::Err(error) => {
                    $crate::__private::response_frame(::core::result::Result::Err(error))
                }
            }
        });
    };
}

/// Exports an HTTP handler that reads and writes the documents itself: `fn(&[u8]) -> Result<R, E>`, `R` a response document.
#[macro_export]
macro_rules! handle_http_raw {
    ($handler:expr) => {
        $crate::__export_handler!("callHandleHTTP", __capsule_handle_http, |bytes| {
            $crate::__private::bytes_frame($handler(bytes))
        });
    };
}

/// Exports a handler of requests that reads and writes heads itself ([`capsule_abi::exchange`]): `fn(&[u8], &[u8]) -> Result<(H, B), E>`
/// of head and body, where `H` is the head of the response and `B` its body: both a `Vec<u8>` or `&'static [u8]`.
#[macro_export]
macro_rules! handle_request_raw {
    ($handler:expr) => {
        $crate::__export_request_handler!(enter_raw_request, $handler);
    };
}

/// Exports `OnStart`: a `fn()` that runs in every new instance, after `main`.
#[macro_export]
macro_rules! on_start {
    ($hook:expr) => {
        $crate::__export_hook!("OnStart", __capsule_on_start, $hook);
    };
}

/// Exports `OnStop`: a `fn()` that runs in every instance that ends in good order.
#[macro_export]
macro_rules! on_stop {
    ($hook:expr) => {
        $crate::__export_hook!("OnStop", __capsule_on_stop, $hook);
    };
}

/// Exports `OnHealthCheck`: a `fn() -> Result<Response, E>`, the answer of `/health`.
#[macro_export]
macro_rules! on_health {
    ($hook:expr) => {
        $crate::__export_report!("OnHealthCheck", __capsule_on_health, $hook);
    };
}

/// Exports `OnMetrics`: a `fn() -> Result<Response, E>`, the module's part of `/metrics`.
#[macro_export]
macro_rules! on_metrics {
    ($hook:expr) => {
        $crate::__export_report!("OnMetrics", __capsule_on_metrics, $hook);
    };
}

/// Exports `_initialize` of a `cdylib`, which runs once before everything else: `reactor!()`, or `reactor!(start)` with a `fn()`
/// that does what `main` does in a binary. Never in a binary: a runner would not call `main` then.
#[macro_export]
macro_rules! reactor {
    () => {
        $crate::reactor!(|| ());
    };
    ($start:expr) => {
        $crate::__export_hook!("_initialize", __capsule_initialize, || {
            $crate::__private::initialize();
            $start()
        });
    };
}

/// One exported handler. Outside wasm the function has no exported name, and nobody calls it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_handler {
    ($export:literal, $name:ident, $frame:expr) => {
        #[allow(dead_code, unsafe_code)]
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = $export))]
        extern "C" fn $name(pointer: *const u8, length: usize) -> u64 {
            // SAFETY: the host wrote the argument there and leaves it alone until the call returns.
            unsafe { $crate::__private::enter(pointer, length, $frame) }
        }
    };
}

/// The exported handler of requests as bytes.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_request_handler {
    ($enter:ident, $handler:expr) => {
        #[allow(dead_code, unsafe_code)]
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = "callHandleRequest"))]
        extern "C" fn __capsule_handle_request(
            head: *const u8,
            head_length: usize,
            body: *const u8,
            body_length: usize,
        ) -> u64 {
            // SAFETY: the host wrote both there and leaves them alone until the call returns.
            unsafe { $crate::__private::$enter((head, head_length), (body, body_length), $handler) }
        }
    };
}

/// One exported function without argument and result.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    ($export:literal, $name:ident, $hook:expr) => {
        #[allow(dead_code, unsafe_code)]
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = $export))]
        extern "C" fn $name() {
            ($hook)()
        }
    };
}

/// One exported function that answers with a response document.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_report {
    ($export:literal, $name:ident, $hook:expr) => {
        #[allow(dead_code, unsafe_code)]
        #[cfg_attr(target_arch = "wasm32", unsafe(export_name = $export))]
        extern "C" fn $name() -> u64 {
            // SAFETY: there is no argument.
            unsafe {
                $crate::__private::enter(::core::ptr::null(), 0, |_| $crate::__private::response_frame(($hook)()))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxError;

    #[test]
    fn results_are_framed() {
        assert_eq!(bytes_frame::<_, BoxError>(Ok("hi")), b"Shi");
        assert_eq!(bytes_frame::<String, BoxError>(Err("no".into())), b"Fno");
        assert_eq!(json_frame::<_, BoxError>(Ok([1, 2])), b"S[1,2]");
        assert_eq!(json_frame::<(), BoxError>(Err("no".into())), b"Fno");
        assert_eq!(response_frame::<BoxError>(Err("no".into())), b"Fno");
        let frame = response_frame::<BoxError>(Ok(Response::new(404)));
        assert_eq!(response::parse(&frame[1..]).unwrap().status, 404);
    }

    #[test]
    fn a_request_of_bytes_is_handled() {
        let parts = capsule_abi::request::RequestParts { method: "GET", path: "/", ..Default::default() };
        let head = exchange::request(&parts, std::iter::empty);
        let body = b"body";
        let mut seen = Vec::new();
        // SAFETY: both are slices.
        #[expect(unsafe_code, reason = "as the host does it")]
        let packed = unsafe {
            enter_request((head.as_ptr(), head.len()), (body.as_ptr(), body.len()), |request| {
                seen = [request.method().as_bytes(), request.body()].concat();
                Ok::<_, BoxError>(Response::text("a"))
            })
        };
        assert_eq!(seen, b"GETbody");
        assert_eq!(capsule_abi::frame::Packed::from_u64(packed).length as usize, exchange::RECORD);
    }

    #[test]
    fn arguments_are_read() {
        assert_eq!(<&str>::read(b"Bob").unwrap(), "Bob");
        assert!(<&str>::read(b"\xff").unwrap_err().message().starts_with("the argument is not text: "));
        assert!(Request::read(b"{").unwrap_err().message().starts_with("the request document is not valid: "));
    }
}
