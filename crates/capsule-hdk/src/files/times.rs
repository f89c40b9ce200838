//! The times of a file: of its last access and its last change.

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use cap_primitives::fs::{self, SystemTimeSpec};

use super::{FileError, How, open_regular};

/// Sets what is given of the times of a file or folder.
pub(crate) fn set_times(
    folder: &File,
    path: &Path,
    follow: bool,
    accessed: Option<SystemTimeSpec>,
    modified: Option<SystemTimeSpec>,
) -> Result<(), FileError> {
    if !follow {
        // That of a link itself, which is not opened.
        return Ok(fs::set_times_nofollow(folder, path, accessed, modified)?);
    }
    // The right to read is as good as the right to write for that.
    let how = How { read: true, follow, ..How::default() };
    let opened = match open_regular(folder, path, how) {
        Err(FileError::Io(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_regular(folder, path, How { read: false, write: true, ..how })?
        }
        opened => opened?,
    };
    Ok(opened.0.set_times(times(accessed, modified))?)
}

/// Times as the standard library takes them.
pub(crate) fn times(accessed: Option<SystemTimeSpec>, modified: Option<SystemTimeSpec>) -> std::fs::FileTimes {
    let mut times = std::fs::FileTimes::new();
    if let Some(time) = accessed.map(absolute) {
        times = times.set_accessed(time);
    }
    if let Some(time) = modified.map(absolute) {
        times = times.set_modified(time);
    }
    times
}

fn absolute(time: SystemTimeSpec) -> SystemTime {
    match time {
        SystemTimeSpec::Absolute(time) => time.into_std(),
        SystemTimeSpec::SymbolicNow => SystemTime::now(),
    }
}
