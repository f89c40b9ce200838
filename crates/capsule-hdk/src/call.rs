//! A call of a function: what is called with what, and until when.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use capsule_abi::names;
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
            Kind::Message => names::CALL_HANDLE_MESSAGE,
            Kind::Health => names::ON_HEALTH_CHECK,
            Kind::Metrics => names::ON_METRICS,
        }
    }

    /// Its place among the handlers, `None` for the exports that take no argument.
    pub(crate) fn handler(self) -> Option<usize> {
        match self {
            Kind::Text => Some(0),
            Kind::Json => Some(1),
            Kind::Http => Some(2),
            Kind::Message => Some(3),
            Kind::Health | Kind::Metrics => None,
        }
    }
}

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Call {
    pub(crate) kind: Kind,
    pub(crate) argument: Bytes,
    pub(crate) deadline: Option<Instant>,
    pub(crate) request_id: Option<Arc<str>>,
    pub(crate) patience: Option<Duration>,
    pub(crate) companion: Option<Companion>,
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
        Call { kind, argument: argument.into(), deadline: None, request_id: None, patience: None, companion: None }
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
    pub fn with_deadline(mut self, deadline: Instant) -> Call {
        self.deadline = Some(deadline);
        self
    }

    /// Keeps `companion` until the call has ended, also when its caller goes away: a guard that counts running calls, or what
    /// host functions look up with [`HostContext::companion`](crate::HostContext::companion).
    #[must_use]
    pub fn with_companion(mut self, companion: Arc<dyn Any + Send + Sync>) -> Call {
        self.companion = Some(Companion(companion));
        self
    }

    /// Waits at most this long for an instance, instead of the function's own limit.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Call {
        self.patience = Some(patience);
        self
    }

    /// The id of the request that it serves, for host functions and logs.
    #[must_use]
    pub fn with_request_id(mut self, id: Arc<str>) -> Call {
        self.request_id = Some(id);
        self
    }
}
