//! `random_get`, in steps between which the guest gives way: all others of WASI that answer at once do little.

use wasmtime::{Caller, Linker};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p2::bindings::random::random::Host as _;

use super::Wasi;
use crate::host::range;
use crate::instance::{HostFault, State};
use crate::link::{guest, pay};

const MODULE: &str = "wasi_snapshot_preview1";
const NAME: &str = "random_get";
/// Random bytes that are made in one step.
const STEP: usize = 64 << 10;

/// Puts it in the place of the function of the table, which cannot give way.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(MODULE, NAME, |mut caller, (pointer, length)| {
        Box::new(async move { fill(&mut caller, pointer, length).await })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn fill(caller: &mut Caller<'_, State>, pointer: u32, length: u32) -> wasmtime::Result<u32> {
    let fault = |what: String| HostFault { function: NAME.into(), what };
    let memory = guest(caller)?.memory;
    let whole = range(pointer, length, memory.data_size(&mut *caller)).map_err(fault)?;
    let last = whole.end;
    for start in whole.step_by(STEP) {
        pay(caller, STEP).await;
        let (bytes, state) = memory.data_and_store_mut(&mut *caller);
        let end = last.min(start + STEP);
        bytes[start..end].copy_from_slice(&state.wasi().random(end - start)?);
    }
    Ok(0)
}

impl Wasi {
    fn random(&mut self, count: usize) -> wasmtime::Result<Vec<u8>> {
        self.engine().ctx().ctx.random().get_random_bytes(count as u64)
    }
}
