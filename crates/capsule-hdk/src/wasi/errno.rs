//! From an error of the system to the number that a guest sees.

use std::io::{self, ErrorKind};

use super::interface::types::Errno;
use crate::files::FileError;

/// The number for an error of the system; what has none of its own is `io`.
pub(super) fn of(error: &io::Error) -> Errno {
    #[cfg(unix)]
    if let Some(known) = error.raw_os_error().and_then(of_unix) {
        return known;
    }
    match error.kind() {
        ErrorKind::NotFound => Errno::Noent,
        // Also what the resolver of paths says of one that leads out of its folder.
        ErrorKind::PermissionDenied => Errno::Perm,
        ErrorKind::AlreadyExists => Errno::Exist,
        ErrorKind::InvalidInput => Errno::Inval,
        ErrorKind::NotADirectory => Errno::Notdir,
        ErrorKind::IsADirectory => Errno::Isdir,
        ErrorKind::DirectoryNotEmpty => Errno::Notempty,
        ErrorKind::StorageFull => Errno::Nospc,
        ErrorKind::Unsupported => Errno::Notsup,
        ErrorKind::OutOfMemory => Errno::Nomem,
        _ => Errno::Io,
    }
}

/// The number for a file that cannot be had.
pub(super) fn of_file(error: &FileError) -> Errno {
    match error {
        FileError::Special => Errno::Nxio,
        FileError::Full => Errno::Dquot,
        FileError::Io(error) => of(error),
    }
}

#[cfg(unix)]
fn of_unix(code: i32) -> Option<Errno> {
    use rustix::io::Errno as Unix;
    Some(match Unix::from_raw_os_error(code) {
        Unix::PERM => Errno::Perm,
        Unix::NOENT => Errno::Noent,
        Unix::NXIO => Errno::Nxio,
        Unix::BADF => Errno::Badf,
        Unix::AGAIN => Errno::Again,
        Unix::NOMEM => Errno::Nomem,
        Unix::ACCESS => Errno::Acces,
        Unix::BUSY => Errno::Busy,
        Unix::EXIST => Errno::Exist,
        Unix::XDEV => Errno::Xdev,
        Unix::NOTDIR => Errno::Notdir,
        Unix::ISDIR => Errno::Isdir,
        Unix::INVAL => Errno::Inval,
        Unix::NFILE => Errno::Nfile,
        Unix::MFILE => Errno::Mfile,
        Unix::TXTBSY => Errno::Txtbsy,
        Unix::FBIG => Errno::Fbig,
        Unix::NOSPC => Errno::Nospc,
        Unix::SPIPE => Errno::Spipe,
        Unix::ROFS => Errno::Rofs,
        Unix::MLINK => Errno::Mlink,
        Unix::PIPE => Errno::Pipe,
        Unix::DEADLK => Errno::Deadlk,
        Unix::NAMETOOLONG => Errno::Nametoolong,
        Unix::NOTEMPTY => Errno::Notempty,
        Unix::LOOP => Errno::Loop,
        Unix::OVERFLOW => Errno::Overflow,
        Unix::ILSEQ => Errno::Ilseq,
        Unix::OPNOTSUPP => Errno::Notsup,
        Unix::ALREADY => Errno::Already,
        Unix::INPROGRESS => Errno::Inprogress,
        Unix::INTR => Errno::Intr,
        Unix::DQUOT => Errno::Dquot,
        Unix::STALE => Errno::Stale,
        Unix::IO => Errno::Io,
        _ => return None,
    })
}
