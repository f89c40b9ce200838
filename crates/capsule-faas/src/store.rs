//! The records of the server: named values in tables, kept in an embedded database (redb) in the data folder.
//!
//! A commit is a list of changes that happen together or not at all. It is on disk when its future resolves; commits
//! that wait at the same time share one write (group commit), so that many of them cost little more than one.
//! Everything is also held in memory: records are few and small, they are read once at start, and what is true after a failed
//! write is then never in doubt.
//!
//! What a value means is the caller's matter. There is no query, no iteration beside [`Store::read_all`], and no reader
//! beside the server that holds the folder.

mod disk;
#[cfg(test)]
mod faults;
mod writer;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::error::{StoreError, StoreErrorKind};
use crate::folder::{self, FolderLock};
use disk::Disk;
use writer::{Commit, State};

/// The revision of a value that is not there: a change that expects it creates the value.
pub const ABSENT: u64 = 0;

/// Where a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Functions with their revisions and indexes.
    Functions,
    /// How calls are routed to revisions.
    Routes,
    /// What concerns the server as a whole.
    Meta,
}

impl Table {
    pub(crate) const ALL: [Table; 3] = [Table::Functions, Table::Routes, Table::Meta];

    /// The name in the file. Never changed: it is part of the schema.
    pub fn name(self) -> &'static str {
        match self {
            Table::Functions => "functions",
            Table::Routes => "routes",
            Table::Meta => "meta",
        }
    }
}

/// One change of one value. `Debug` does not show values: they hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates or replaces a value.
    Put {
        /// Where.
        table: Table,
        /// Under which key; any text.
        key: String,
        /// The bytes.
        value: Vec<u8>,
        /// Only when the value is at this revision ([`ABSENT`]: only when there is none); `None`: in any case.
        expected: Option<u64>,
    },
    /// Removes a value. One that is not there is no error, unless a revision is expected.
    Delete {
        /// Where.
        table: Table,
        /// Under which key.
        key: String,
        /// Only when the value is at this revision; `None`: in any case.
        expected: Option<u64>,
    },
}

impl Change {
    /// Creates or replaces a value, whatever its revision.
    pub fn put(table: Table, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Change {
        Change::Put { table, key: key.into(), value: value.into(), expected: None }
    }

    /// Removes a value, whatever its revision.
    pub fn delete(table: Table, key: impl Into<String>) -> Change {
        Change::Delete { table, key: key.into(), expected: None }
    }

    /// The same change, only when the value is at this revision.
    #[must_use]
    pub fn expecting(mut self, revision: u64) -> Change {
        match &mut self {
            Change::Put { expected, .. } | Change::Delete { expected, .. } => *expected = Some(revision),
        }
        self
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Put { table, key, value, expected } => {
                write!(f, "Put({}/{key:?}, {} bytes, expected {expected:?})", table.name(), value.len())
            }
            Change::Delete { table, key, expected } => {
                write!(f, "Delete({}/{key:?}, expected {expected:?})", table.name())
            }
        }
    }
}

/// A value with its name and revision. `Debug` does not show the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key in the table.
    pub key: String,
    /// The commit that wrote it; never [`ABSENT`].
    pub revision: u64,
    /// The bytes.
    pub value: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?} at {}, {} bytes)", self.key, self.revision, self.value.len())
    }
}

/// The records of one server. Dropping it ends what was committed, which may take one write to the disk, and gives the
/// data folder back once [`Modules`](crate::modules::Modules) is dropped too.
#[derive(Debug)]
pub struct Store {
    state: Arc<RwLock<State>>,
    /// `None` only while the store is dropped.
    queue: Option<mpsc::Sender<Commit>>,
    writer: Option<JoinHandle<()>>,
    home: Option<Home>,
}

/// A data folder that this process holds.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) folder: PathBuf,
    /// Held, never looked at.
    pub(crate) _lock: Arc<FolderLock>,
}

impl Store {
    /// Opens the store in a data folder, which is created when it is missing (for the owner alone: mode 0700, files 0600).
    ///
    /// This reads the disk and checks every page of the file: not for an I/O thread of a running server.
    ///
    /// # Errors
    /// Another server uses the folder ([`InUse`](StoreErrorKind::InUse)), it cannot be created, read or written
    /// ([`Unusable`](StoreErrorKind::Unusable), [`DiskFull`](StoreErrorKind::DiskFull)), a newer Capsule wrote it
    /// ([`NewerSchema`](StoreErrorKind::NewerSchema)), or it is damaged ([`Corrupt`](StoreErrorKind::Corrupt)).
    pub fn open(folder: impl AsRef<Path>) -> Result<Store, StoreError> {
        let folder = folder.as_ref();
        folder::create_private(folder).map_err(|error| StoreError::unusable(folder, error))?;
        let lock = Arc::new(folder::lock(folder)?);
        let (disk, state) = Disk::in_folder(folder)?;
        Store::start(state, Some(disk), Some(Home { folder: folder.to_owned(), _lock: lock }))
    }

    /// A store that is gone with the process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn memory() -> Result<Store, StoreError> {
        Store::start(State::default(), None, None)
    }

    fn start(state: State, disk: Option<Disk>, home: Option<Home>) -> Result<Store, StoreError> {
        let state = Arc::new(RwLock::new(state));
        let (queue, commits) = mpsc::channel();
        let shared = Arc::clone(&state);
        let writer = std::thread::Builder::new()
            .name("capsule-store".into())
            .spawn(move || writer::run(&commits, &shared, disk))
            .map_err(|error| StoreError::new(StoreErrorKind::Runner, "cannot start a thread").with_source(error))?;
        Ok(Store { state, queue: Some(queue), writer: Some(writer), home })
    }

    /// Makes all the changes, in their order, or none, and answers the revision that the values written have now.
    /// Revisions grow from commit to commit, over all tables and over restarts. A list without changes
    /// changes nothing.
    ///
    /// When the future resolves, the changes are on disk (in memory: made). Commits are made in the order of the calls.
    ///
    /// # Errors
    /// [`Conflict`](StoreErrorKind::Conflict) when a value is not at the revision expected;
    /// [`DiskFull`](StoreErrorKind::DiskFull) and [`Write`](StoreErrorKind::Write) when it could not be written. Nothing
    /// of the commit is visible then, and the next one is tried afresh. Only when the process ends right after such a failure
    /// can a disk show the changes at the next start.
    ///
    /// # Cancel safety
    /// The commit is queued by the call itself: dropping the future does not undo it.
    pub fn commit(&self, changes: Vec<Change>) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        if let Some(queue) = &self.queue {
            // A writer that is gone has dropped `answer`, or does so here.
            let _ = queue.send(Commit { changes, answer });
        }
        async move {
            let gone = || StoreError::new(StoreErrorKind::Runner, "the writer of the store has ended");
            answered.await.unwrap_or_else(|_| Err(gone()))
        }
    }

    /// All values of a table by key. For the start: every value is copied.
    pub fn read_all(&self, table: Table) -> Vec<Record> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).records(table)
    }

    /// The data folder, `None` in memory.
    pub fn folder(&self) -> Option<&Path> {
        self.home.as_ref().map(|home| home.folder.as_path())
    }

    pub(crate) fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so already.
            let _ = writer.join();
        }
    }
}
