//! What every server does with a request, whatever answers it: host and scheme, the body, the client's address, the line in
//! the access log; and what becomes of the outcome of a call.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use capsule_hdk::{CallError, Fault};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use crate::answer::{self, Answer};
use crate::document::{self, Origin};

/// The longest pause between two pieces of a body.
pub(crate) const BODY_PAUSE: Duration = Duration::from_secs(30);

/// Why a request does not reach the module.
pub(crate) type Refused = (StatusCode, Cow<'static, str>);

/// What a server knows of itself.
pub(crate) struct Front {
    /// Bytes of a request's body.
    pub(crate) max_body: usize,
    pub(crate) access_log: bool,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) secure: bool,
    /// The address that the server listens on.
    pub(crate) address: SocketAddr,
    /// It is the child process of a server of functions.
    pub(crate) is_child: bool,
}

impl Front {
    /// The request document for a call. `target` is what the client asked for, where the head has a shorter path.
    pub(crate) async fn document(
        &self,
        head: &Parts,
        target: Option<&str>,
        body: Incoming,
        id: &str,
        peer: SocketAddr,
    ) -> Result<Vec<u8>, Refused> {
        let host = checked(head)?;
        let body = self.take(body).await?;
        Ok(self.written(head, host, target, &body, id, peer))
    }

    /// The body within the limit.
    pub(crate) async fn take(&self, body: Incoming) -> Result<Bytes, Refused> {
        if body.is_end_stream() { Ok(Bytes::new()) } else { read(body, self.max_body, " (flag `--maxBody`)").await }
    }

    /// The request document of a head that has been [`checked`], with what that has answered.
    pub(crate) fn written(
        &self,
        head: &Parts,
        host: Option<Cow<'_, str>>,
        target: Option<&str>,
        body: &[u8],
        id: &str,
        peer: SocketAddr,
    ) -> Vec<u8> {
        let host = host.unwrap_or_else(|| self.address.to_string().into());
        let origin = Origin { scheme: self.scheme(head, peer), host: &host, target };
        document::of_request(head, origin, id, body)
    }

    /// `https` behind a trusted proxy that says so.
    fn scheme<'a>(&self, head: &'a Parts, peer: SocketAddr) -> &'a str {
        let own = if self.secure { "https" } else { "http" };
        if !self.trusted_proxies.contains(&peer.ip()) {
            return own;
        }
        match head.headers.get("x-forwarded-proto").map(HeaderValue::as_bytes) {
            Some(b"https") => "https",
            Some(b"http") => "http",
            _ => own,
        }
    }

    /// The client's address for the log: the last one in `X-Forwarded-For` that is not a trusted proxy itself.
    pub(crate) fn client(&self, head: &Parts, peer: SocketAddr) -> IpAddr {
        let trusted = |address: &IpAddr| self.trusted_proxies.contains(address);
        if !trusted(&peer.ip()) {
            return peer.ip();
        }
        let forwarded = head.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let addresses: Vec<IpAddr> =
            forwarded.flat_map(|list| list.split(',')).filter_map(|text| text.trim().parse().ok()).collect();
        addresses.into_iter().rev().find(|address| !trusted(address)).unwrap_or(peer.ip())
    }

    /// The line of the access log, when there is one. `function` is who answered, on a server of many.
    pub(crate) fn log(
        &self,
        head: &Parts,
        peer: SocketAddr,
        status: StatusCode,
        begin: Instant,
        id: &HeaderValue,
        function: Option<&str>,
    ) {
        if !self.access_log {
            return;
        }
        tracing::info!(
            target: "access",
            client = %self.client(head, peer),
            method = head.method.as_str(),
            path = head.uri.path(),
            function,
            status = status.as_u16(),
            microseconds = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX),
            request_id = id.to_str().unwrap_or_default(),
        );
    }
}

/// The host of a request that a module may see; none when it names none.
pub(crate) fn checked(head: &Parts) -> Result<Option<Cow<'_, str>>, Refused> {
    let host = document::host(head).map_err(|problem| (StatusCode::BAD_REQUEST, problem.into()))?;
    if head.method == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "this server is not a proxy".into()));
    }
    Ok(host)
}

/// The whole body, or why it is refused; `advice` says what sets the limit.
pub(crate) async fn read(mut body: Incoming, limit: usize, advice: &str) -> Result<Bytes, Refused> {
    let too_large = || {
        let text = format!("the body exceeds the limit of {limit} bytes{advice}");
        (StatusCode::PAYLOAD_TOO_LARGE, text.into())
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(BODY_PAUSE, body.frame()).await {
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the rest of the body did not arrive".into())),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err((StatusCode::BAD_REQUEST, "the body is broken off".into())),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are not passed on: the document has no place for them.
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.as_ref().map_or(whole.len(), Bytes::len);
        if so_far + data.len() > limit {
            return Err(too_large());
        }
        // A body that comes in one piece, as small ones do, is not copied.
        match (first.take(), whole.is_empty()) {
            (None, true) => first = Some(data),
            (Some(piece), _) => {
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&data);
            }
            (None, false) => whole.extend_from_slice(&data),
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

/// The answer to what a call came to. `function` is who was called, on a server of many.
pub(crate) fn outcome(result: Result<Bytes, CallError>, id: &str, function: Option<&str>) -> Answer {
    match result {
        Ok(document) => document::to_answer(&document).unwrap_or_else(|problem| {
            tracing::warn!(function, request_id = id, "the module's answer is not valid: {problem}");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("the module's answer is not valid: {problem}"))
        }),
        Err(error) => {
            log(&error, id, function);
            answer::error(&error)
        }
    }
}

/// What went wrong in a call, for the operator. Load is counted, not logged.
pub(crate) fn log(error: &CallError, id: &str, function: Option<&str>) {
    match (error.fault(), error.trap()) {
        (Fault::Load | Fault::Caller, _) => {}
        (Fault::Runner, _) => tracing::error!(function, request_id = id, "{error}"),
        (_, Some(trap)) if !trap.backtrace.is_empty() => {
            tracing::warn!(function, request_id = id, "{error}\n{}", trap.backtrace.trim_end());
        }
        _ => tracing::warn!(function, request_id = id, "{error}"),
    }
}
