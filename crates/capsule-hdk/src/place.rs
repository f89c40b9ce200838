//! A place for an instance: what has to be there before one is made, so that making it cannot fail for lack of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::ceiling::Reservation;
use crate::engine::{Engine, INSTANCE};
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
    /// What does not grow: its stack, its globals, what belongs to it on the heap.
    rest: usize,
}

impl Needs {
    pub(crate) fn of(module: &Module) -> Needs {
        let resources = module.wasm().resources_required();
        let elements = usize::try_from(resources.max_initial_table_size.unwrap_or(0)).unwrap_or(usize::MAX);
        let tables = usize::try_from(resources.num_tables).unwrap_or(usize::MAX);
        Needs {
            memory: resources.max_initial_memory_size.unwrap_or(0).saturating_mul(WASM_PAGE),
            tables: elements.saturating_mul(tables).saturating_mul(TABLE_ELEMENT),
            rest: INSTANCE.saturating_add(module.weight()),
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
}

/// One of the engine's places, and the memory for an instance to begin with. Both are given back with the instance.
pub(crate) struct Place {
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) memory: Reservation,
}

impl Place {
    /// Both, if they are free.
    pub(crate) fn now(engine: &Engine, needs: &Needs) -> Option<Place> {
        let permit = Arc::clone(engine.instances()).try_acquire_owned().ok()?;
        let memory = engine.ceiling().take(needs.sum())?;
        Some(Place { permit, memory })
    }

    /// Waits for both, at most `patience`.
    pub(crate) async fn find(engine: &Engine, needs: &Needs, patience: Duration) -> Result<Place, Busy> {
        if let Some(place) = Place::now(engine, needs) {
            return Ok(place);
        }
        let places = engine.instances();
        let busy = |reason| Busy { reason, retry_after: RETRY };
        let deadline = Instant::now() + patience;
        let permit = match within(Some(deadline), Arc::clone(places).acquire_owned()).await {
            Some(Ok(permit)) => permit,
            _ => return Err(busy(BusyReason::Instances(engine.max_instances()))),
        };
        let memory = engine.ceiling().reserve_until(needs.sum(), deadline).await;
        Ok(Place { permit, memory: memory.map_err(|full| busy(BusyReason::Memory(full)))? })
    }
}
