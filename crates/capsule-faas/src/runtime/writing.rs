//! How commands change what is registered: planned, written, then visible, and never in between.
//!
//! Commands of one function go one after the other. Those of different functions touch nothing in common, so they are
//! written at the same time: the store makes one write to the disk of all that wait for it.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use capsule_faas_model::names::FunctionName;
use capsule_faas_model::registry::{Change, Registry, Stale, Write};
use capsule_faas_model::{Refusal, stored};
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Inner;
use super::error::{FaasError, FaasErrorKind};
use super::process::Process;
use crate::store::{self, Table};

/// Functions that share a lock wait for each other without need; so many locks that this is rare.
const LOCKS: usize = 256;

/// Who may plan and write now. Whoever changes the registry holds a guard.
pub(super) struct Commands {
    all: RwLock<()>,
    /// A function's is chosen by its name.
    some: Vec<Mutex<()>>,
    hasher: RandomState,
}

/// The right to change one function.
pub(super) struct OfFunction<'a> {
    _all: RwLockReadGuard<'a, ()>,
    _one: MutexGuard<'a, ()>,
}

impl Commands {
    pub(super) fn new() -> Commands {
        let some = std::iter::repeat_with(Mutex::default).take(LOCKS).collect();
        Commands { all: RwLock::default(), some, hasher: RandomState::new() }
    }

    /// Waits for the commands of this function before.
    pub(super) async fn of(&self, name: &FunctionName) -> OfFunction<'_> {
        let _all = self.all.read().await;
        let which = usize::try_from(self.hasher.hash_one(name) % LOCKS as u64).unwrap_or_default();
        OfFunction { _all, _one: self.some[which].lock().await }
    }

    /// Waits until no command plans or writes, and keeps others from it.
    pub(super) async fn none(&self) -> RwLockWriteGuard<'_, ()> {
        self.all.write().await
    }
}

impl Inner {
    /// Plans a change of a function, writes it and makes it visible.
    pub(super) async fn change(
        self: &Arc<Self>,
        name: &FunctionName,
        plan: impl FnOnce(&mut Registry) -> Result<Change, Refusal>,
    ) -> Result<(), FaasError> {
        let _one = self.commands.of(name).await;
        let change = plan(&mut self.write().registry)?;
        if change.is_empty() {
            return Ok(());
        }
        self.write_down(vec![change], &[]).await
    }

    /// Writes changes of one function, then shows them to calls together with the new processes. The caller holds the right to
    /// change it.
    pub(super) async fn write_down(
        self: &Arc<Self>,
        changes: Vec<Change>,
        new: &[Arc<Process>],
    ) -> Result<(), FaasError> {
        if self.is_stopping() {
            return Err(FaasError::stopping());
        }
        // What cannot be committed is not written; and what can be now still can afterwards, since nobody else changes this
        // function.
        if !changes.iter().all(|change| self.read().registry.fits(change)) {
            return Err(FaasError::new(FaasErrorKind::Conflict, Stale.to_string()));
        }
        let writes = changes.iter().flat_map(Change::writes).map(to_store).collect();
        let keys = changes.iter().flat_map(|change| change.puts().chain(change.removals()));
        let names: BTreeSet<FunctionName> = keys.map(|key| key.name.clone()).collect();
        self.config.store.commit(writes).await?;
        let ended = {
            let mut state = self.write();
            let mut ended = Vec::new();
            for change in changes {
                match state.registry.commit(change) {
                    Ok(released) => ended.extend(released),
                    Err(stale) => tracing::error!("a change is written and not visible before the next start: {stale}"),
                }
            }
            state.processes.extend(new.iter().map(|process| (process.id, Arc::clone(process))));
            names.into_iter().for_each(|name| state.count_calls(name));
            let ended: Vec<Arc<Process>> = ended.iter().filter_map(|id| state.processes.get(id).cloned()).collect();
            ended
        };
        // Only now the timer sees them.
        new.iter().for_each(|process| self.sleeps(process));
        self.changed.send_replace(());
        for process in ended {
            let effect = process.lock().life.retire(self.now());
            self.carry_out(&process, effect);
        }
        Ok(())
    }
}

fn to_store(write: &Write) -> store::Change {
    match write {
        Write::Put { key, entry, .. } => store::Change::put(Table::Functions, key.to_string(), stored::encode(entry)),
        Write::Remove { key, .. } => store::Change::delete(Table::Functions, key.to_string()),
        Write::PutRoute { name, route, .. } => {
            store::Change::put(Table::Routes, name.to_string(), stored::encode(route))
        }
        Write::RemoveRoute { name, .. } => store::Change::delete(Table::Routes, name.to_string()),
    }
}
