//! The bytes of modules, named by their content: stored once, never changed, there as long as a record names them.
//!
//! A module is written to a `*.part` file while it arrives, checked, put on disk and renamed: what has a name is whole. The
//! order for the caller is bytes first, then the record that names them; [`Modules::prune`] removes what no record names.

mod digest;
mod upload;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::future::Future;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use capsule_hdk::{Ceiling, Reservation};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};

use crate::error::{StoreError, StoreErrorKind};
use crate::folder;
use crate::store::{Home, Store};
pub use digest::{BadDigest, Digest};
use upload::Upload;

/// The folder below the data folder.
const FOLDER: &str = "modules";
/// Chunks of an upload that wait for the disk.
const CHUNKS_AHEAD: usize = 4;
/// How much of a file is read at once, in bytes.
const PIECE: usize = 64 << 10;

/// A module that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// As a file that is not changed as long as it is there.
    File(PathBuf),
    /// In memory.
    Bytes(Bytes),
}

/// The modules of one server. Clones share them.
#[derive(Debug, Clone)]
pub struct Modules {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None` in memory.
    folder: Option<PathBuf>,
    /// Keeps the data folder ours.
    _home: Option<Home>,
    /// What is kept in memory. Held also while names in the folder change, so that nothing is removed that was stored a moment
    /// ago.
    kept: Mutex<BTreeMap<Digest, Kept>>,
    /// The memory of the process.
    ceiling: Ceiling,
    /// For names of files in the making.
    uploads: AtomicU64,
}

/// A module in memory, with the time of its storing.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    stored: SystemTime,
    _memory: Reservation,
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, BTreeMap<Digest, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Modules {
    /// The modules beside the records of `store`: in its data folder, or in memory when it has none. What a crash left half
    /// written is removed.
    ///
    /// # Errors
    /// The folder cannot be created, read or written.
    pub fn open(store: &Store) -> Result<Modules, StoreError> {
        Modules::below(store, &Ceiling::default())
    }

    /// As [`Modules::open`]; what is kept in memory, or read into it to be checked, is part of the memory of the process.
    ///
    /// # Errors
    /// As [`Modules::open`].
    pub fn below(store: &Store, ceiling: &Ceiling) -> Result<Modules, StoreError> {
        let folder = store.folder().map(|home| home.join(FOLDER));
        if let Some(folder) = &folder {
            let ready = folder::create_private(folder).and_then(|()| folder::remove_parts(folder));
            ready.map_err(|error| StoreError::unusable(folder, error))?;
        }
        let shared = Shared {
            folder,
            _home: store.home().cloned(),
            kept: Mutex::default(),
            ceiling: ceiling.clone(),
            uploads: AtomicU64::new(0),
        };
        Ok(Modules { shared: Arc::new(shared) })
    }

    /// Stores what a stream brings, at most `limit` bytes, when `check` agrees, and answers its name. The same bytes
    /// are stored once.
    ///
    /// The check sees the whole module before it has a name; its text becomes the error's. It runs on a thread of its
    /// own, so it may take its time.
    ///
    /// # Errors
    /// [`TooLarge`](StoreErrorKind::TooLarge) as soon as the limit is passed, [`BrokenOff`](StoreErrorKind::BrokenOff) when
    /// the stream fails, [`Refused`](StoreErrorKind::Refused) by the check, [`DiskFull`](StoreErrorKind::DiskFull),
    /// [`Memory`](StoreErrorKind::Memory) or [`Write`](StoreErrorKind::Write). Nothing is stored then.
    ///
    /// # Cancel safety
    /// Dropped before the stream has ended: nothing is stored. Dropped later: the module may be stored.
    pub async fn put_stream<E>(
        &self,
        chunks: impl Stream<Item = Result<Bytes, E>>,
        limit: u64,
        check: impl FnOnce(&[u8]) -> Result<(), String> + Send + 'static,
    ) -> Result<Digest, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (sender, mut receiver) = mpsc::channel::<Piece>(CHUNKS_AHEAD);
        let stored = self.on_a_thread(move |shared| {
            let mut upload = Upload::begin(shared, limit)?;
            loop {
                match receiver.blocking_recv() {
                    Some(Piece::Chunk(chunk)) => upload.write(&chunk)?,
                    Some(Piece::End) => return upload.finish(check),
                    None => return Err(broken_off()),
                }
            }
        });
        let (mut chunks, mut stored) = (pin!(chunks), pin!(stored));
        loop {
            // The thread may have an answer before the stream has ended: a module that is too large.
            let chunk = tokio::select! {
                biased;
                answer = &mut stored => return answer,
                chunk = chunks.next() => chunk,
            };
            match chunk {
                None => break,
                Some(Ok(chunk)) => {
                    if sender.send(Piece::Chunk(chunk)).await.is_err() {
                        return stored.await;
                    }
                }
                Some(Err(error)) => {
                    drop(sender);
                    // It ends without an end of the module, and removes what there is.
                    let _ = stored.await;
                    return Err(broken_off().with_source(error));
                }
            }
        }
        // As above: the answer comes in any case.
        let _ = sender.send(Piece::End).await;
        stored.await
    }

    /// Stores a copy of a file, as [`Modules::put_stream`] does. Changes of that file later do not matter.
    ///
    /// # Errors
    /// As [`Modules::put_stream`]; [`Unreadable`](StoreErrorKind::Unreadable) when it is no file that can be read.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the copy.
    pub async fn put_file(
        &self,
        path: &Path,
        limit: u64,
        check: impl FnOnce(&[u8]) -> Result<(), String> + Send + 'static,
    ) -> Result<Digest, StoreError> {
        let path = path.to_owned();
        let stored = self.on_a_thread(move |shared| {
            let unreadable = |error: io::Error| {
                let message = format!("cannot read the module `{}`", path.display());
                StoreError::new(StoreErrorKind::Unreadable, message).with_source(error)
            };
            // Before it is opened: opening a pipe waits for its writer.
            if !fs::metadata(&path).map_err(unreadable)?.is_file() {
                return Err(unreadable(io::Error::other("expected a file, found something else")));
            }
            let mut file = fs::File::open(&path).map_err(unreadable)?;
            let mut upload = Upload::begin(shared, limit)?;
            let mut piece = vec![0; PIECE];
            loop {
                match file.read(&mut piece) {
                    Ok(0) => return upload.finish(check),
                    Ok(length) => upload.write(&piece[..length])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(unreadable(error)),
                }
            }
        });
        stored.await
    }

    /// Where the module is, `None` when it is not stored.
    pub fn get(&self, digest: &Digest) -> Option<Stored> {
        let Some(folder) = &self.shared.folder else {
            return self.shared.names().get(digest).map(|kept| Stored::Bytes(kept.bytes.clone()));
        };
        let path = folder.join(digest.file_name());
        path.is_file().then_some(Stored::File(path))
    }

    /// Removes the modules that are not in `referenced` and were stored longer ago than `older_than`, and answers which.
    ///
    /// A module that was stored, but whose record is still to be written, is spared by its age alone: `older_than`
    /// must be longer than that takes. Files of other names are not touched. Reads and writes the folder: not for an I/O
    /// thread.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not removed. What was removed before stays removed.
    pub fn prune(&self, referenced: &HashSet<Digest>, older_than: Duration) -> Result<Vec<Digest>, StoreError> {
        // A time in the future is no age at all.
        let old = |stored: SystemTime| stored.elapsed().is_ok_and(|age| age >= older_than);
        let mut kept = self.shared.names();
        let Some(folder) = &self.shared.folder else {
            let gone = kept.extract_if(.., |digest, kept| !referenced.contains(digest) && old(kept.stored));
            return Ok(gone.map(|(digest, _)| digest).collect());
        };
        remove_files(folder, |digest, stored| !referenced.contains(digest) && old(stored)).map_err(|error| {
            let message = format!("cannot remove modules in the data folder `{}`", folder.display());
            StoreError::io(StoreErrorKind::Write, message, folder, error)
        })
    }

    /// Does blocking work without taking a thread of the runtime.
    fn on_a_thread<W>(&self, work: W) -> impl Future<Output = Result<Digest, StoreError>> + Send + use<W>
    where
        W: FnOnce(&Shared) -> Result<Digest, StoreError> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let (answer, answered) = oneshot::channel();
        let thread = std::thread::Builder::new().name("capsule-upload".into());
        let started = thread.spawn(move || {
            let result = work(&shared);
            // First: whoever has the answer may drop the last `Modules` and open the folder again.
            drop(shared);
            // Nobody waiting any more is no fault of the work.
            let _ = answer.send(result);
        });
        async move {
            let runner = |message| StoreError::new(StoreErrorKind::Runner, message);
            started.map_err(|error| runner("cannot start a thread").with_source(error))?;
            answered.await.unwrap_or_else(|_| Err(runner("the check of the module failed")))
        }
    }
}

/// What goes to the thread of an upload. Without an end, the upload broke off.
enum Piece {
    Chunk(Bytes),
    End,
}

fn broken_off() -> StoreError {
    StoreError::new(StoreErrorKind::BrokenOff, "the upload ended before the module was complete")
}

fn remove_files(folder: &Path, unwanted: impl Fn(&Digest, SystemTime) -> bool) -> io::Result<Vec<Digest>> {
    let mut gone = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(digest) = entry.file_name().to_str().and_then(Digest::from_file_name) else { continue };
        if unwanted(&digest, entry.metadata()?.modified()?) {
            fs::remove_file(entry.path())?;
            gone.push(digest);
        }
    }
    gone.sort_unstable();
    Ok(gone)
}
