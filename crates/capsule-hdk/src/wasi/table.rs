//! The functions of preview 1 as the engine calls them, each by its signature.
//!
//! Made here and not by `wiggle`: what it makes stands on the engine's component model, which nothing else needs.

use wasmtime::{Caller, Extern, Linker, ValType};
use wiggle::GuestMemory;

use super::Wasi;
use super::interface::wasi_snapshot_preview1 as preview1;
use crate::instance::State;
use crate::link::Signature;

/// Where modules import them from.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

/// The guest's memory, and what it has of WASI.
fn parts<'c>(caller: &'c mut Caller<'_, State>) -> wasmtime::Result<(GuestMemory<'c>, &'c mut Wasi)> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("missing required memory export");
    };
    let (bytes, state) = memory.data_and_store_mut(caller);
    Ok((GuestMemory::Unshared(bytes), state.wasi()))
}

/// Functions that answer at once, and those that may wait: these answer an `i32`.
macro_rules! functions {
    (
        now { $($now:ident($($argument:ident: $type:tt),*) -> $result:tt;)* }
        later { $($later:ident($($given:ident: $kind:tt),*);)* }
    ) => {
        /// Links all but `random_get`.
        pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
            $(linker.func_wrap(
                MODULE,
                stringify!($now),
                |mut caller: Caller<'_, State>, $($argument: $type),*| -> wasmtime::Result<$result> {
                    let (mut memory, wasi) = parts(&mut caller)?;
                    preview1::$now(wasi, &mut memory, $($argument),*)
                },
            )?;)*
            $(linker.func_wrap_async(
                MODULE,
                stringify!($later),
                |mut caller: Caller<'_, State>, ($($given,)*): ($($kind,)*)| {
                    Box::new(async move {
                        let (mut memory, wasi) = parts(&mut caller)?;
                        preview1::$later(wasi, &mut memory, $($given),*).await
                    })
                },
            )?;)*
            Ok(())
        }

        /// Their names and signatures.
        pub(super) fn signatures() -> Vec<(&'static str, Signature)> {
            vec![
                $((
                    stringify!($now),
                    Signature { params: vec![$(functions!(@ $type)),*], results: functions!(@ results $result) },
                ),)*
                $((
                    stringify!($later),
                    Signature { params: vec![$(functions!(@ $kind)),*], results: vec![ValType::I32] },
                ),)*
            ]
        }
    };
    (@ i32) => { ValType::I32 };
    (@ i64) => { ValType::I64 };
    (@ results i32) => { vec![ValType::I32] };
    (@ results ()) => { Vec::new() };
}

functions! {
    now {
        args_get(argv: i32, argv_buf: i32) -> i32;
        args_sizes_get(result_0: i32, result_1: i32) -> i32;
        environ_get(environ: i32, environ_buf: i32) -> i32;
        environ_sizes_get(result_0: i32, result_1: i32) -> i32;
        clock_res_get(id: i32, result: i32) -> i32;
        clock_time_get(id: i32, precision: i64, result: i32) -> i32;
        fd_allocate(fd: i32, offset: i64, len: i64) -> i32;
        fd_fdstat_set_flags(fd: i32, flags: i32) -> i32;
        fd_fdstat_set_rights(fd: i32, fs_rights_base: i64, fs_rights_inheriting: i64) -> i32;
        fd_prestat_get(fd: i32, result: i32) -> i32;
        fd_prestat_dir_name(fd: i32, path: i32, path_len: i32) -> i32;
        fd_tell(fd: i32, result: i32) -> i32;
        proc_exit(rval: i32) -> ();
        proc_raise(sig: i32) -> i32;
        sched_yield() -> i32;
        sock_accept(fd: i32, flags: i32, result: i32) -> i32;
        sock_recv(fd: i32, ri_data: i32, ri_data_len: i32, ri_flags: i32, result_0: i32, result_1: i32) -> i32;
        sock_send(fd: i32, si_data: i32, si_data_len: i32, si_flags: i32, result: i32) -> i32;
        sock_shutdown(fd: i32, how: i32) -> i32;
    }
    later {
        fd_advise(fd: i32, offset: i64, len: i64, advice: i32);
        fd_close(fd: i32);
        fd_datasync(fd: i32);
        fd_fdstat_get(fd: i32, result: i32);
        fd_filestat_get(fd: i32, result: i32);
        fd_filestat_set_size(fd: i32, size: i64);
        fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, fst_flags: i32);
        fd_pread(fd: i32, iovs: i32, iovs_len: i32, offset: i64, result: i32);
        fd_pwrite(fd: i32, iovs: i32, iovs_len: i32, offset: i64, result: i32);
        fd_read(fd: i32, iovs: i32, iovs_len: i32, result: i32);
        fd_readdir(fd: i32, buf: i32, buf_len: i32, cookie: i64, result: i32);
        fd_renumber(fd: i32, to: i32);
        fd_seek(fd: i32, offset: i64, whence: i32, result: i32);
        fd_sync(fd: i32);
        fd_write(fd: i32, iovs: i32, iovs_len: i32, result: i32);
        path_create_directory(fd: i32, path: i32, path_len: i32);
        path_filestat_get(fd: i32, flags: i32, path: i32, path_len: i32, result: i32);
        path_filestat_set_times(fd: i32, flags: i32, path: i32, path_len: i32, atim: i64, mtim: i64, fst_flags: i32);
        path_link(old_fd: i32, old_flags: i32, old_path: i32, old_path_len: i32, new_fd: i32, new_path: i32,
            new_path_len: i32);
        path_open(fd: i32, dirflags: i32, path: i32, path_len: i32, oflags: i32, fs_rights_base: i64,
            fs_rights_inheriting: i64, fdflags: i32, result: i32);
        path_readlink(fd: i32, path: i32, path_len: i32, buf: i32, buf_len: i32, result: i32);
        path_remove_directory(fd: i32, path: i32, path_len: i32);
        path_rename(fd: i32, old_path: i32, old_path_len: i32, new_fd: i32, new_path: i32, new_path_len: i32);
        path_symlink(old_path: i32, old_path_len: i32, fd: i32, new_path: i32, new_path_len: i32);
        path_unlink_file(fd: i32, path: i32, path_len: i32);
        poll_oneoff(subscriptions: i32, events: i32, nsubscriptions: i32, result: i32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_of_the_specification_is_there_once() {
        let text = include_str!("../../witx/wasi_snapshot_preview1.witx");
        let specified = text.split("(@interface func (export \"").skip(1).filter_map(|rest| rest.split('"').next());
        let offered = signatures();
        let names: BTreeSet<_> = offered.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), offered.len());
        assert_eq!(names, specified.filter(|name| *name != "random_get").collect());
    }
}
