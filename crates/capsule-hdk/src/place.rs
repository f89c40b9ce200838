//! A place for an instance: what has to be there before one is made, so that making it cannot fail for lack of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::ceiling::{Ceiling, Reservation, Wish};
use crate::engine::{Engine, INSTANCE, WASM_STACK};
use crate::error::{Busy, BusyReason};
use crate::limits::TABLE_ELEMENT;
use crate::module::Module;
use crate::slices::within;

/// Bytes of a page of linear memory.
const WASM_PAGE: u64 = 64 * 1024;
/// When it is worth another try.
const RETRY: Duration = Duration::from_secs(1);

/// What an instance of a module takes to begin with, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// Linear memory.
    pub(crate) memory: u64,
    /// Tables, at most.
    tables: usize,
    /// What does not grow: its stacks, its globals, what belongs to it on the heap.
    rest: usize,
    /// The part of that which is stacks of the pool.
    stacks: usize,
}

impl Needs {
    pub(crate) fn of(engine: &Engine, module: &Module) -> Needs {
        let is_pooled = engine.pooled().is_some_and(|pooled| wasmtime::Engine::same(pooled, module.wasm().engine()));
        let stacks = if module.nests() { 2 * WASM_STACK } else { WASM_STACK };
        let resources = module.wasm().resources_required();
        let elements = usize::try_from(resources.max_initial_table_size.unwrap_or(0)).unwrap_or(usize::MAX);
        let tables = usize::try_from(resources.num_tables).unwrap_or(usize::MAX);
        Needs {
            memory: resources.max_initial_memory_size.unwrap_or(0).saturating_mul(WASM_PAGE),
            tables: elements.saturating_mul(tables).saturating_mul(TABLE_ELEMENT),
            rest: INSTANCE.saturating_add(stacks).saturating_add(module.weight()),
            stacks: if is_pooled { stacks } else { 0 },
        }
    }

    /// What memories and tables take of it.
    pub(crate) fn growing(&self) -> usize {
        usize::try_from(self.memory).unwrap_or(usize::MAX).saturating_add(self.tables)
    }

    /// All of it.
    pub(crate) fn sum(&self) -> usize {
        self.growing().saturating_add(self.rest)
    }

    pub(crate) fn wish(&self) -> Wish {
        Wish { bytes: self.sum(), stacks: self.stacks }
    }
}

/// One of the engine's places, and the memory for an instance to begin with. Both are given back with the instance.
pub(crate) struct Place {
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) memory: Reservation,
}

impl Place {
    /// Both, if they are free. The memory is the function's part of the `ceiling`.
    pub(crate) fn now(engine: &Engine, ceiling: &Ceiling, needs: &Needs) -> Option<Place> {
        let permit = Arc::clone(engine.instances()).try_acquire_owned().ok()?;
        let memory = ceiling.take(needs.wish())?;
        Some(Place { permit, memory })
    }

    /// Waits for both, at most `patience`.
    pub(crate) async fn find(
        engine: &Engine,
        ceiling: &Ceiling,
        needs: &Needs,
        patience: Duration,
    ) -> Result<Place, Busy> {
        if let Some(place) = Place::now(engine, ceiling, needs) {
            return Ok(place);
        }
        let places = engine.instances();
        let busy = |reason| Busy { reason, retry_after: RETRY };
        let deadline = Instant::now() + patience;
        let permit = match within(Some(deadline), pin!(Arc::clone(places).acquire_owned())).await {
            Some(Ok(permit)) => permit,
            _ => return Err(busy(BusyReason::Instances(engine.max_instances()))),
        };
        let memory = ceiling.reserve_until(needs.wish(), deadline).await;
        Ok(Place { permit, memory: memory.map_err(|full| busy(BusyReason::Memory(full)))? })
    }
}
