//! Types and the trait of preview 1, made from its specification in the folder `witx`.

#![allow(unsafe_code, reason = "the macro says so of types whose bytes are the guest's")]
#![allow(unreachable_pub, reason = "the macro makes everything public")]
#![allow(clippy::too_many_arguments, reason = "as many as the specification has")]

wiggle::from_witx!({
    witx: ["witx/wasi_snapshot_preview1.witx"],
    async: {
        wasi_snapshot_preview1::{
            fd_advise, fd_close, fd_datasync, fd_fdstat_get, fd_filestat_get, fd_filestat_set_size, fd_filestat_set_times, fd_read,
            fd_pread, fd_seek, fd_sync, fd_readdir, fd_write, fd_pwrite, poll_oneoff, path_create_directory, path_filestat_get,
            path_filestat_set_times, path_link, path_open, path_readlink, path_remove_directory, path_rename, path_symlink,
            path_unlink_file, fd_renumber
        }
    },
    errors: { errno => trappable Error },
    // See `table.rs`.
    wasmtime: false,
});

use types::{Errno, Error};
use wiggle::GuestError;

impl wiggle::GuestErrorType for Errno {
    fn success() -> Errno {
        Errno::Success
    }
}

impl From<std::num::TryFromIntError> for Error {
    fn from(_: std::num::TryFromIntError) -> Error {
        Errno::Overflow.into()
    }
}

impl From<GuestError> for Error {
    fn from(error: GuestError) -> Error {
        match error {
            // A pointer that leads nowhere is a trap: so the specification has it.
            GuestError::PtrOverflow | GuestError::PtrOutOfBounds { .. } | GuestError::PtrNotAligned { .. } => {
                Error::trap(error.into())
            }
            GuestError::InvalidFlagValue { .. } | GuestError::InvalidEnumValue { .. } => Errno::Inval.into(),
            GuestError::InvalidUtf8 { .. } => Errno::Ilseq.into(),
            GuestError::TryFromIntError { .. } => Errno::Overflow.into(),
            GuestError::SliceLengthsDiffer => Errno::Fault.into(),
            GuestError::InFunc { err, .. } => Error::from(*err),
        }
    }
}
