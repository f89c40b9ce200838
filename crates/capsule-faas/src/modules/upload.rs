//! One module on its way in: counted, hashed, written aside; it gets its name at the very end, or leaves nothing.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use capsule_hdk::Reservation;
use sha2::{Digest as _, Sha256};

use super::{Digest, Kept, Shared};
use crate::error::{StoreError, StoreErrorKind};
use crate::folder;

/// Blocking: for a thread of its own.
pub(super) struct Upload<'a> {
    shared: &'a Shared,
    limit: u64,
    length: u64,
    hash: Sha256,
    target: Target<'a>,
}

enum Target<'a> {
    File(Part<'a>),
    Memory(Vec<u8>, Reservation),
}

/// A file in the making, removed when it does not get its name.
struct Part<'a> {
    file: File,
    path: PathBuf,
    folder: &'a Path,
}

impl Part<'_> {
    fn keep(&self, digest: Digest) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, self.folder.join(digest.file_name()))?;
        folder::sync(self.folder)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // After the rename there is nothing to remove; what cannot be removed is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

impl<'a> Upload<'a> {
    pub(super) fn begin(shared: &'a Shared, limit: u64) -> Result<Upload<'a>, StoreError> {
        let target = match &shared.folder {
            None => Target::Memory(Vec::new(), shared.ceiling.nothing()),
            Some(folder) => {
                let number = shared.uploads.fetch_add(1, Ordering::Relaxed);
                let path = folder::part_of(folder, &format!("upload-{number}"));
                let file = folder::private_file().create_new(true).open(&path);
                let file = file.map_err(|error| not_written(folder, error))?;
                Target::File(Part { file, path, folder })
            }
        };
        Ok(Upload { shared, limit, length: 0, hash: Sha256::new(), target })
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.length += chunk.len() as u64;
        if self.length > self.limit {
            let message = format!("the module is larger than the limit of {} bytes (flag `--maxModule`)", self.limit);
            return Err(StoreError::new(StoreErrorKind::TooLarge, message));
        }
        self.hash.update(chunk);
        match &mut self.target {
            Target::Memory(bytes, memory) => {
                memory.grow(chunk.len()).map_err(StoreError::full)?;
                bytes.extend_from_slice(chunk);
            }
            Target::File(part) => part.file.write_all(chunk).map_err(|error| not_written(part.folder, error))?,
        }
        Ok(())
    }

    /// Checks the whole module and gives it its name. A module that is there already is replaced by itself: that makes it
    /// young again for pruning, and mends a file that was damaged.
    pub(super) fn finish(self, check: impl FnOnce(&[u8]) -> Result<(), String>) -> Result<Digest, StoreError> {
        let digest = Digest::new(self.hash.finalize().into());
        let refused = |message| StoreError::new(StoreErrorKind::Refused, message);
        match self.target {
            Target::Memory(bytes, memory) => {
                check(&bytes).map_err(refused)?;
                // Without the room that was left for more.
                let bytes = Bytes::from(bytes.into_boxed_slice());
                self.shared.names().insert(digest, Kept { bytes, stored: SystemTime::now(), _memory: memory });
            }
            Target::File(part) => {
                let length = usize::try_from(self.length).unwrap_or(usize::MAX);
                let _memory = self.shared.ceiling.reserve(length).map_err(StoreError::full)?;
                let bytes = fs::read(&part.path).map_err(|error| not_written(part.folder, error))?;
                check(&bytes).map_err(refused)?;
                drop(bytes);
                let _names = self.shared.names();
                part.keep(digest).map_err(|error| not_written(part.folder, error))?;
            }
        }
        Ok(digest)
    }
}

fn not_written(folder: &Path, error: io::Error) -> StoreError {
    let message = format!("cannot write to the data folder `{}`", folder.display());
    StoreError::io(StoreErrorKind::Write, message, folder, error)
}
