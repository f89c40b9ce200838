//! What a guest sees of a file: kind, size, times, and a number that tells it from others without being the system's own.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, SystemTime};

use super::interface::types::{Errno, Filestat, Filetype, Fstflags, Timestamp};
use cap_primitives::fs::{FileType, Metadata, SystemTimeSpec};

use crate::files::identity;

/// The attributes of a file.
pub(super) fn of(found: &Metadata) -> Filestat {
    Filestat {
        dev: 1,
        ino: number(found),
        filetype: kind(found.file_type()),
        nlink: links(found),
        size: found.len(),
        atim: found.accessed().map_or(0, |time| nanoseconds(time.into_std())),
        mtim: found.modified().map_or(0, |time| nanoseconds(time.into_std())),
        ctim: changed(found),
    }
}

/// The attributes of a standard stream.
pub(super) fn of_stream() -> Filestat {
    Filestat { dev: 0, ino: 0, filetype: Filetype::Unknown, nlink: 0, size: 0, atim: 0, mtim: 0, ctim: 0 }
}

pub(super) fn kind(of: FileType) -> Filetype {
    if of.is_dir() {
        Filetype::Directory
    } else if of.is_file() {
        Filetype::RegularFile
    } else if of.is_symlink() {
        Filetype::SymbolicLink
    } else {
        special(of)
    }
}

#[cfg(unix)]
fn special(of: FileType) -> Filetype {
    use cap_primitives::fs::FileTypeExt as _;
    if of.is_block_device() {
        Filetype::BlockDevice
    } else if of.is_char_device() {
        Filetype::CharacterDevice
    } else if of.is_socket() {
        Filetype::SocketStream
    } else {
        Filetype::Unknown
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> Filetype {
    Filetype::Unknown
}

/// The same for the same file, and most likely another for every other one.
pub(super) fn number(found: &Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity(found).hash(&mut hasher);
    hasher.finish()
}

#[cfg(unix)]
fn links(found: &Metadata) -> u64 {
    cap_primitives::fs::MetadataExt::nlink(found)
}

#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
}

#[cfg(unix)]
fn changed(found: &Metadata) -> Timestamp {
    use cap_primitives::fs::MetadataExt as _;
    let seconds = u64::try_from(found.ctime()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(found.ctime_nsec()).unwrap_or(0))
}

#[cfg(not(unix))]
fn changed(found: &Metadata) -> Timestamp {
    found.created().map_or(0, |time| nanoseconds(time.into_std()))
}

/// Since 1970; 0 for what was before.
fn nanoseconds(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The times that a guest wants a file to have: of its last access and its last change.
pub(super) fn times(
    accessed: Timestamp,
    modified: Timestamp,
    flags: Fstflags,
) -> Result<[Option<SystemTimeSpec>; 2], Errno> {
    let wanted = |time: Timestamp, set: Fstflags, now: Fstflags| match (flags.contains(set), flags.contains(now)) {
        (true, true) => Err(Errno::Inval),
        (true, false) => {
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(time)).ok_or(Errno::Overflow)?;
            Ok(Some(SystemTimeSpec::Absolute(cap_primitives::time::SystemTime::from_std(time))))
        }
        (false, true) => Ok(Some(SystemTimeSpec::SymbolicNow)),
        (false, false) => Ok(None),
    };
    Ok([wanted(accessed, Fstflags::ATIM, Fstflags::ATIM_NOW)?, wanted(modified, Fstflags::MTIM, Fstflags::MTIM_NOW)?])
}
