//! Why a command or a call is not carried out ([`FaasError`]), with the status of the answer.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use capsule_faas_model::{Refusal, RefusalKind};
use capsule_hdk::{CallError, Fault, Full, LoadError, LoadErrorKind};

use crate::error::{StoreError, StoreErrorKind};

/// Whose fault it is, and so the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaasErrorKind {
    /// An upload ended before it was complete: 400.
    BrokenOff,
    /// There is no such function, revision or index: 404.
    NotFound,
    /// It contradicts what is there now: 409.
    Conflict,
    /// The module is larger than the limit: 413.
    TooLarge,
    /// It can never be done as it was asked, such as starting a broken module: 422.
    Invalid,
    /// The server's own fault: 500.
    Runner,
    /// There is no room or time for it now, or the server stops: 503.
    Unavailable,
    /// The disk is full: 507.
    DiskFull,
    /// A call has come back to a function that waits for it: 508.
    Loop,
}

impl FaasErrorKind {
    /// The HTTP status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::BrokenOff => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Invalid => 422,
            Self::Runner => 500,
            Self::Unavailable => 503,
            Self::DiskFull => 507,
            Self::Loop => 508,
        }
    }
}

/// A command or call that was not carried out. `Display` is one line for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaasError {
    kind: FaasErrorKind,
    message: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

impl FaasError {
    /// An error of this kind; the message is one line without secrets.
    pub fn new(kind: FaasErrorKind, message: impl Into<String>) -> FaasError {
        FaasError { kind, message: message.into(), hint: None, retry_after: None }
    }

    /// The same with what the user can do, without the word `hint:`.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> FaasError {
        self.hint = Some(hint.into());
        self
    }

    /// What is unavailable may be there in a moment.
    fn of(kind: FaasErrorKind, message: String) -> FaasError {
        match kind {
            FaasErrorKind::Unavailable => FaasError::unavailable(message, Duration::from_secs(1)),
            _ => FaasError::new(kind, message),
        }
    }

    /// Not now, but perhaps after this time.
    pub(crate) fn unavailable(message: impl Into<String>, retry_after: Duration) -> FaasError {
        let error = FaasError::new(FaasErrorKind::Unavailable, message);
        FaasError { retry_after: Some(retry_after), ..error }
    }

    /// There is no memory for `what` now: the process is at its limit.
    pub fn full(what: &str, full: Full) -> FaasError {
        FaasError::unavailable(format!("there is no room for {what}: {full}"), Duration::from_secs(1))
    }

    /// The server ends.
    pub(crate) fn stopping() -> FaasError {
        FaasError::unavailable("the server is being stopped", Duration::from_secs(1))
    }

    /// A module that did not get through its start.
    pub(crate) fn start(error: &CallError) -> FaasError {
        let message = error.to_string();
        match (error.fault(), error) {
            (Fault::Load, CallError::Busy(busy)) => FaasError::unavailable(message, busy.retry_after),
            (Fault::Load, _) => FaasError::unavailable(message, Duration::from_secs(1)),
            (Fault::Runner, _) => FaasError::new(FaasErrorKind::Runner, message),
            _ => FaasError::new(FaasErrorKind::Invalid, message),
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> FaasErrorKind {
        self.kind
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        self.kind.status()
    }

    /// What the user can do, without the word `hint:`.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// When it is worth another try; none when it is not.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for FaasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FaasError {}

impl From<Refusal> for FaasError {
    fn from(refusal: Refusal) -> FaasError {
        let kind = match refusal.kind() {
            RefusalKind::NotFound => FaasErrorKind::NotFound,
            RefusalKind::Conflict => FaasErrorKind::Conflict,
            _ => FaasErrorKind::Invalid,
        };
        FaasError::new(kind, refusal.to_string())
    }
}

impl From<StoreError> for FaasError {
    fn from(error: StoreError) -> FaasError {
        let kind = match error.kind() {
            StoreErrorKind::TooLarge => FaasErrorKind::TooLarge,
            StoreErrorKind::Refused | StoreErrorKind::Unreadable => FaasErrorKind::Invalid,
            StoreErrorKind::BrokenOff => FaasErrorKind::BrokenOff,
            StoreErrorKind::DiskFull => FaasErrorKind::DiskFull,
            StoreErrorKind::Memory => FaasErrorKind::Unavailable,
            _ => FaasErrorKind::Runner,
        };
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let message = format!("{error}{cause}");
        FaasError { hint: error.hint().map(str::to_owned), ..FaasError::of(kind, message) }
    }
}

impl From<LoadError> for FaasError {
    fn from(error: LoadError) -> FaasError {
        let kind = match error.kind() {
            LoadErrorKind::Runner => FaasErrorKind::Runner,
            LoadErrorKind::Memory => FaasErrorKind::Unavailable,
            _ => FaasErrorKind::Invalid,
        };
        FaasError { hint: error.hint().map(str::to_owned), ..FaasError::of(kind, error.to_string()) }
    }
}
