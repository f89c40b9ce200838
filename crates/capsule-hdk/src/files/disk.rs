//! What a function's files take: counted by growth, to the byte.
//!
//! Counted is by how much the function makes files grow, and a little for each name. Overwriting takes nothing; what the
//! function shortens, removes or replaces is given back, once it is really gone: when neither another name nor an open file
//! keeps it. What others have made is no credit beyond zero. So whatever a guest does, in the end its folders hold at most
//! the limit more than before.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::known::Hold;
use super::{CountedFile, FileError};

/// How much a function has made its folders grow, in bytes. Clones count together: a runner that stops and starts a function
/// again gives it the same one.
#[derive(Debug, Clone, Default)]
pub struct DiskUse {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held while names are made or taken away: one of them at a time finds out what was there before.
    turn: Mutex<()>,
    used: AtomicU64,
}

impl DiskUse {
    /// Bytes now.
    pub fn bytes(&self) -> u64 {
        self.shared.used.load(Relaxed)
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let _ = self.shared.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
    }
}

/// What a function has used, with its limit.
#[derive(Debug)]
pub(crate) struct Disk {
    use_of: DiskUse,
    limit: u64,
}

impl Disk {
    pub(crate) fn new(use_of: DiskUse, limit: u64) -> Arc<Disk> {
        Arc::new(Disk { use_of, limit })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn use_of(&self) -> &DiskUse {
        &self.use_of
    }

    /// The right to make and take away names for the function; one at a time.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.use_of.shared.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts more bytes, when the limit allows it.
    pub(super) fn grow(&self, bytes: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|grown| *grown <= self.limit);
        self.use_of.shared.used.fetch_update(Relaxed, Relaxed, grown).is_ok()
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.use_of.give_back(bytes);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.use_of.bytes()
    }
}

/// An open regular file whose growth counts.
#[derive(Debug)]
pub(crate) struct Tracked {
    hold: Hold,
    /// Given back when it is closed.
    _counted: Option<CountedFile>,
}

impl Tracked {
    pub(super) fn new(hold: Hold) -> Tracked {
        Tracked { hold, _counted: None }
    }

    /// The file with its place among those that are open.
    pub(crate) fn counted(self, counted: CountedFile) -> Tracked {
        Tracked { _counted: Some(counted), ..self }
    }

    pub(crate) fn file(&self) -> &File {
        self.hold.file()
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    /// Reads at a position; fewer bytes than asked for at the end.
    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(self.file(), buffer, position);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(self.file(), buffer, position);
    }

    /// Writes at a position.
    pub(crate) fn write_at(&self, bytes: &[u8], position: u64) -> Result<usize, FileError> {
        let _turn = self.hold.turn();
        let end = position.checked_add(bytes.len() as u64).ok_or(FileError::Full)?;
        let length = self.len()?;
        self.growing(length, end, || {
            #[cfg(unix)]
            return std::os::unix::fs::FileExt::write_at(self.file(), bytes, position);
            #[cfg(windows)]
            return std::os::windows::fs::FileExt::seek_write(self.file(), bytes, position);
        })
    }

    /// Writes at the end, wherever that is by then.
    pub(crate) fn append(&self, bytes: &[u8]) -> Result<usize, FileError> {
        let _turn = self.hold.turn();
        let length = self.len()?;
        let end = length.checked_add(bytes.len() as u64).ok_or(FileError::Full)?;
        self.growing(length, end, || append(self.file(), bytes, length))
    }

    /// Makes the file this long.
    pub(crate) fn set_len(&self, length: u64) -> Result<(), FileError> {
        let _turn = self.hold.turn();
        let before = self.len()?;
        self.growing(before, length, || self.file().set_len(length))?;
        self.hold.disk().give_back(before.saturating_sub(length));
        Ok(())
    }

    /// Puts `bytes` in place of all that is there; too many change nothing.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<(), FileError> {
        let _turn = self.hold.turn();
        let before = self.len()?;
        let written = self.growing(before, bytes.len() as u64, || {
            self.file().set_len(0)?;
            io::Write::write_all(&mut self.file(), bytes)
        });
        // What was there is gone in any case.
        self.hold.disk().give_back(before.saturating_sub(bytes.len() as u64));
        written
    }

    /// Does what makes the file grow from one length to another, within the limit; counts what really became of it.
    fn growing<T>(&self, from: u64, to: u64, work: impl FnOnce() -> io::Result<T>) -> Result<T, FileError> {
        let growth = to.saturating_sub(from);
        if growth > 0 && !self.hold.disk().grow(growth) {
            return Err(FileError::Full);
        }
        let done = work();
        if growth > 0 {
            let now = self.len().unwrap_or(to);
            self.hold.disk().give_back(to.saturating_sub(now.max(from)));
        }
        done.map_err(FileError::Io)
    }
}

/// Where the system can, at the end as it is then: another process may write there too.
#[cfg(target_os = "linux")]
fn append(file: &File, bytes: &[u8], end: u64) -> io::Result<usize> {
    use rustix::io::{Errno, ReadWriteFlags, pwritev2};
    match pwritev2(file, &[io::IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
        Err(Errno::NOSYS | Errno::NOTSUP) => std::os::unix::fs::FileExt::write_at(file, bytes, end),
        done => Ok(done?),
    }
}

#[cfg(not(target_os = "linux"))]
fn append(file: &File, bytes: &[u8], end: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_at(file, bytes, end);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_write(file, bytes, end);
}
