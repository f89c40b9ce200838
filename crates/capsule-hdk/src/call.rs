//! A call of a function: what is called with what, and until when.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use capsule_abi::names;
use smol_str::SmolStr;
use tokio::time::Instant;

/// Which export a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `callHandle`: text or bytes.
    Text,
    /// `callHandleJSON`: a JSON document.
    Json,
    /// `callHandleHTTP`: the request document of docs/abi.md, section 3.
    Http,
    /// `callHandleRequest`: the same request as a head and a body, see [`Call::request`].
    Request,
    /// `callHandleMessage`: a message of a broker.
    Message,
    /// `OnHealthCheck`.
    Health,
    /// `OnMetrics`.
    Metrics,
}

impl Kind {
    /// The export's name.
    pub fn export(self) -> &'static str {
        match self {
            Kind::Text => names::CALL_HANDLE,
            Kind::Json => names::CALL_HANDLE_JSON,
            Kind::Http => names::CALL_HANDLE_HTTP,
            Kind::Request => names::CALL_HANDLE_REQUEST,
            Kind::Message => names::CALL_HANDLE_MESSAGE,
            Kind::Health => names::ON_HEALTH_CHECK,
            Kind::Metrics => names::ON_METRICS,
        }
    }

    /// Its place among the handlers of one argument, `None` for other exports.
    pub(crate) fn handler(self) -> Option<usize> {
        match self {
            Kind::Text => Some(0),
            Kind::Json => Some(1),
            Kind::Http => Some(2),
            Kind::Message => Some(3),
            Kind::Request | Kind::Health | Kind::Metrics => None,
        }
    }
}

/// What a function answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The head and behind it the body, in one piece.
    bytes: Bytes,
    /// Bytes of the head.
    head: usize,
}

impl Answer {
    /// An answer of head and body, which are copied.
    pub fn exchange(head: &[u8], body: &[u8]) -> Answer {
        let mut bytes = Vec::with_capacity(head.len() + body.len());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
        Answer { bytes: bytes.into(), head: head.len() }
    }

    /// The result of any other handler.
    pub fn result(bytes: Bytes) -> Answer {
        Answer { bytes, head: 0 }
    }

    /// Of a [`Call::request`] the head of the response ([`capsule_abi::exchange`]), which is no failure; else empty.
    pub fn head(&self) -> &[u8] {
        &self.bytes[..self.head]
    }

    /// The body of the response, or the result.
    pub fn into_body(mut self) -> Bytes {
        self.bytes.advance(self.head);
        self.bytes
    }
}

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Call {
    pub(crate) kind: Kind,
    /// Of [`Kind::Request`] the head.
    pub(crate) argument: Bytes,
    /// Of [`Kind::Request`] alone.
    pub(crate) body: Bytes,
    pub(crate) deadline: Option<Instant>,
    pub(crate) request_id: Option<SmolStr>,
    pub(crate) patience: Option<Duration>,
    pub(crate) now: Option<Instant>,
    pub(crate) companion: Option<Companion>,
    pub(crate) guard: Option<Guard>,
}

/// Something that is held until a call has ended.
#[derive(Clone)]
pub(crate) struct Guard(#[expect(dead_code, reason = "held for its drop")] Arc<dyn Send + Sync>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

/// Something that lives as long as a call, also when its caller has gone away.
#[derive(Clone)]
pub(crate) struct Companion(Arc<dyn Any + Send + Sync>);

impl Companion {
    /// For those who must not keep it beyond the call.
    pub(crate) fn downgrade(&self) -> Weak<dyn Any + Send + Sync> {
        Arc::downgrade(&self.0)
    }
}

impl std::fmt::Debug for Companion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Companion")
    }
}

impl Call {
    /// A call of `kind` with an argument, which health and metrics ignore.
    pub fn new(kind: Kind, argument: impl Into<Bytes>) -> Call {
        Call {
            kind,
            argument: argument.into(),
            body: Bytes::new(),
            deadline: None,
            request_id: None,
            patience: None,
            now: None,
            companion: None,
            guard: None,
        }
    }

    /// A call of `callHandleRequest` with the head of a request ([`capsule_abi::exchange`]) and its body: for a function that
    /// [takes requests](crate::Function::takes_requests), which answers a head and a body too ([`crate::Function::exchange`]).
    pub fn request(head: impl Into<Bytes>, body: impl Into<Bytes>) -> Call {
        Call { body: body.into(), ..Call::new(Kind::Request, head) }
    }

    /// Bytes of everything that the guest is given.
    pub(crate) fn length(&self) -> usize {
        self.argument.len() + self.body.len()
    }

    /// Which export it goes to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the export is given.
    pub fn argument(&self) -> &Bytes {
        &self.argument
    }

    /// Ends the call at `deadline` when that comes before the function's own time limit.
    #[must_use]
    #[inline]
    pub fn with_deadline(mut self, deadline: Instant) -> Call {
        self.deadline = Some(deadline);
        self
    }

    /// Gives the call something that host functions look up with [`HostContext::companion`](crate::HostContext::companion) until
    /// it has ended.
    #[must_use]
    #[inline]
    pub fn with_companion(mut self, companion: Arc<dyn Any + Send + Sync>) -> Call {
        self.companion = Some(Companion(companion));
        self
    }

    /// Says what time it is: the call's own begins there when it does not have to wait for its instance. Who has just read the
    /// clock spares the call from reading it again.
    #[must_use]
    #[inline]
    pub fn with_now(mut self, now: Instant) -> Call {
        self.now = Some(now);
        self
    }

    /// Keeps `guard` until the call has ended, also when its caller goes away: what counts running calls, for instance.
    #[must_use]
    #[inline]
    pub fn with_guard(mut self, guard: Arc<dyn Send + Sync>) -> Call {
        self.guard = Some(Guard(guard));
        self
    }

    /// Waits at most this long for an instance, instead of the function's own limit.
    #[must_use]
    #[inline]
    pub fn with_patience(mut self, patience: Duration) -> Call {
        self.patience = Some(patience);
        self
    }

    /// The id of the request that it serves, for host functions and logs.
    #[must_use]
    #[inline]
    pub fn with_request_id(mut self, id: &str) -> Call {
        self.request_id = Some(id.into());
        self
    }
}
