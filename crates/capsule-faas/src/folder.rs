//! Files of the data folder: private to the owner, on disk when a function here returns, and locked for one server.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// Ends the name of a file that is not complete yet.
pub(crate) const PART: &str = "part";
/// The file that a server holds a lock on.
const LOCK: &str = "lock";

/// The right to use a data folder; given back when dropped, and by the system when the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// A lock that was just given up may live on for a moment in a child that is being started: a copy of the descriptor exists
/// between its fork and its exec.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Takes the data folder for this server, or says that another has it.
pub(crate) fn lock(folder: &Path) -> Result<FolderLock, StoreError> {
    let file = private_file()
        .create(true)
        .truncate(false)
        .open(folder.join(LOCK))
        .map_err(|error| StoreError::unusable(folder, error))?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(StoreError::in_use(folder)),
            Err(TryLockError::Error(error)) => return Err(StoreError::unusable(folder, error)),
        }
    }
}

/// Creates a folder and those above it that are missing, for the owner alone.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    for created in missing {
        if let Some(parent) = created.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync(parent)?;
        }
    }
    Ok(())
}

/// For files that only the owner may read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Puts the names in a folder on disk. Elsewhere than on Unix a rename is as durable as the system makes it.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Writes a small file as a whole or not at all.
pub(crate) fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let part = part_of(folder, name);
    let mut file = private_file().create(true).truncate(true).open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(name))?;
    sync(folder)
}

/// Where a file is while it is not complete.
pub(crate) fn part_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{PART}"))
}

/// Removes what a crash left half written.
pub(crate) fn remove_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == PART) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
