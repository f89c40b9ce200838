//! What every server does with a request, whatever answers it: host and scheme, the body, the client's address, the line in
//! the access log; and what becomes of the outcome of a call.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use capsule_abi::request::RequestParts;
use capsule_hdk::{self as hdk, Call, CallError, Fault, Kind};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, StatusCode};

use crate::answer::{self, Answer};
use crate::connections::hold::{Hold, LARGE};
use crate::connections::peer::Peer;
use crate::document;
use crate::module_headers::Own;
use crate::receiving::{self, Received, Refused};

/// What sets the limit of a body.
pub(crate) const MAX_BODY: &str = " (flag `--maxBody`)";

/// What a module is asked.
pub(crate) struct Asked<'a> {
    /// Checked, without what modules must not see.
    pub(crate) head: &'a Parts,
    /// What [`checked`] has answered.
    pub(crate) host: Option<Cow<'a, str>>,
    /// What it sees of the path, when that is not all of it.
    pub(crate) path: Option<&'a str>,
    pub(crate) body: Received,
    /// Whether it takes head and body; else it gets a document.
    pub(crate) takes_requests: bool,
}

/// A body that is there, or on its way.
type Taking<'a> = Either<Ready<Result<Received, Refused>>, BoxFuture<'a, Result<Received, Refused>>>;

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
    /// The body within the limits, of which `limit` is that of its bytes; none is there at once, so that a call without a body
    /// needs no future for it.
    pub(crate) fn take<'a>(&self, body: Incoming, limit: usize, peer: &'a Arc<Peer>) -> Taking<'a> {
        if peer.is_server_full() {
            Either::Left(ready(Err(receiving::full())))
        } else if body.is_end_stream() {
            Either::Left(ready(Ok(Received::default())))
        } else {
            // In a box: the future of every call would be as large.
            Either::Right(receiving::read(body, limit, MAX_BODY, peer).boxed())
        }
    }

    /// The call of a module for a request whose head has been [`checked`] and whose body has been taken.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn call(&self, asked: Asked<'_>, id: &str, peer: &Arc<Peer>) -> Result<Call, Refused> {
        let Asked { head, host, path, body, takes_requests } = asked;
        // `OPTIONS *` asks the server itself (RFC 9112 section 3.2.4): its root, for a module. HTTP/2 has an empty path for it.
        let whole = match head.uri.path() {
            "*" | "" => "/",
            path => path,
        };
        let host = host.unwrap_or_else(|| self.address.to_string().into());
        let parts = RequestParts {
            method: head.method.as_str(),
            scheme: self.scheme(head, peer),
            host: &host,
            path: path.unwrap_or(whole),
            query: head.uri.query(),
            request_id: id,
            target: path.and(head.uri.path_and_query()).map(PathAndQuery::as_str),
            body: &body.bytes,
        };
        let call = if takes_requests {
            let head = document::head_of_request(&parts, &head.headers);
            Call::request(head, body.held())
        } else {
            let document = document::of_request(&parts, &head.headers);
            Call::new(Kind::Http, kept(document, body.hold, peer)?)
        };
        Ok(call.with_request_id(id))
    }

    /// `https` behind a trusted proxy that says so.
    fn scheme<'a>(&self, head: &'a Parts, peer: &Peer) -> &'a str {
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
    pub(crate) fn client(&self, head: &Parts, peer: &Peer) -> IpAddr {
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
        peer: &Peer,
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

/// A document as the argument of a call. A large one is held for the client for as long as anybody has it.
fn kept(document: Vec<u8>, hold: Option<Hold>, peer: &Arc<Peer>) -> Result<Bytes, Refused> {
    if document.len() <= LARGE {
        return Ok(document.into());
    }
    hold.unwrap_or_else(|| peer.hold()).keep(document).ok_or_else(receiving::full)
}

/// The answer to what a call came to, of a module that [took the request](Asked::takes_requests) or a document, with places for the headers that are the
/// server's `own`. `function` is who was called, on a server of many.
pub(crate) fn outcome(
    result: Result<hdk::Answer, CallError>,
    took_request: bool,
    own: Own,
    id: &str,
    function: Option<&str>,
) -> Answer {
    let answer = match result {
        Ok(answer) if took_request => document::of_exchange(answer, own),
        Ok(answer) => document::to_answer(&answer.into_body(), own),
        Err(error) => {
            log(&error, id, function);
            return answer::error(&error);
        }
    };
    answer.unwrap_or_else(|problem| {
        tracing::warn!(function, request_id = id, "the module's answer is not valid: {problem}");
        answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("the module's answer is not valid: {problem}"))
    })
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
