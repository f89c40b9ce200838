//! What can go wrong with what the server keeps ([`StoreError`]), and whose fault it is.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use capsule_hdk::Full;

/// Why something could not be kept or read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Another server uses the data folder.
    InUse,
    /// The data folder cannot be created, read or written.
    Unusable,
    /// A newer Capsule wrote the data folder.
    NewerSchema,
    /// What is in the data folder is damaged, or not of Capsule.
    Corrupt,
    /// There is no room left. Nothing was changed.
    DiskFull,
    /// Writing failed. Nothing was changed.
    Write,
    /// A value is not at the revision that the change expected. Nothing was changed.
    Conflict,
    /// The module is larger than the limit.
    TooLarge,
    /// The check of the caller refused the module.
    Refused,
    /// The upload ended before it was complete.
    BrokenOff,
    /// The file that was to be stored cannot be read.
    Unreadable,
    /// There is no memory for it now: the process is at its limit.
    Memory,
    /// The runner's own fault.
    Runner,
}

/// What could not be kept. `Display` is one line without the cause, which is [`source`](Error::source).
#[derive(Debug, Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
        StoreError { kind, message: message.into(), hint: None, source: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> StoreError {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// An I/O error in the data folder: `kind` and `message`, unless it is that there is no room.
    pub(crate) fn io(kind: StoreErrorKind, message: impl Into<String>, folder: &Path, error: io::Error) -> StoreError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
            let message = format!("no room left for the data folder `{}`", folder.display());
            return StoreError::new(StoreErrorKind::DiskFull, message)
                .with_hint("make room on that disk and try again; what was stored before is safe")
                .with_source(error);
        }
        StoreError::new(kind, message).with_source(error)
    }

    /// There is no memory for a module now.
    pub(crate) fn full(full: Full) -> StoreError {
        StoreError::new(StoreErrorKind::Memory, format!("there is no room for the module: {full}"))
    }

    /// Somebody else has the data folder.
    pub(crate) fn in_use(folder: &Path) -> StoreError {
        let message = format!("the data folder `{}` is in use by another server", folder.display());
        StoreError::new(StoreErrorKind::InUse, message)
            .with_hint("stop that server, or give this one a folder of its own with `--dataDir`")
    }

    /// The data folder could not be made ready.
    pub(crate) fn unusable(folder: &Path, error: io::Error) -> StoreError {
        let message = format!("cannot use the data folder `{}`", folder.display());
        let mut fault = StoreError::io(StoreErrorKind::Unusable, message, folder, error);
        if fault.kind == StoreErrorKind::Unusable {
            fault = fault.with_hint("choose a folder that can be written with `--dataDir`");
        }
        fault
    }

    /// What is in the data folder is not what was written there.
    pub(crate) fn corrupt(folder: &Path, what: impl fmt::Display) -> StoreError {
        StoreError::new(StoreErrorKind::Corrupt, format!("the data folder `{}` is damaged: {what}", folder.display()))
            .with_hint("restore it from a backup, or move it away and start the functions again")
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What the user can do, without the word `hint:`.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
