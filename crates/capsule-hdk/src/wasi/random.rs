//! `random_get`, in steps between which the guest gives way: all others of WASI that answer at once do little.

use wasmtime::{Caller, Linker, ValType};

use super::table::MODULE;
use crate::host::range;
use crate::instance::{HostFault, State};
use crate::link::{Signature, memory_of, pay};

const NAME: &str = "random_get";
/// Random bytes that are made in one step.
const STEP: usize = 64 << 10;

/// Links it: what `table.rs` links at once cannot give way.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, NAME, |mut caller, (pointer, length)| {
        Box::new(async move { fill(&mut caller, pointer, length).await })
    })?;
    Ok(())
}

/// Its name and signature.
pub(super) fn signature() -> (&'static str, Signature) {
    (NAME, Signature { params: vec![ValType::I32, ValType::I32], results: vec![ValType::I32] })
}

async fn fill(caller: &mut Caller<'_, State>, pointer: u32, length: u32) -> wasmtime::Result<u32> {
    let fault = |what: String| HostFault { function: NAME.into(), what };
    let memory = memory_of(caller)?;
    let whole = range(pointer, length, memory.data_size(&mut *caller)).map_err(fault)?;
    let last = whole.end;
    for start in whole.step_by(STEP) {
        pay(caller, STEP).await;
        let piece = &mut memory.data_mut(&mut *caller)[start..last.min(start + STEP)];
        getrandom::fill(piece).map_err(|error| fault(error.to_string()))?;
    }
    Ok(0)
}
