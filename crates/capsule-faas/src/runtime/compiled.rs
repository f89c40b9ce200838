//! Modules as machine code, one for each content: functions of the same bytes share it as long as one of them runs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use capsule_hdk::{LoadError, Module};

use crate::modules::Digest;

/// Whoever holds the lock of an entry compiles for all who wait for it.
type Slot = Arc<Mutex<Weak<Module>>>;

/// The compiled modules that are in use.
#[derive(Default)]
pub(crate) struct Compiled {
    slots: Mutex<HashMap<Digest, Slot>>,
}

impl Compiled {
    /// The module of this content, compiled when nobody has it. Takes its time: not for an I/O thread.
    pub(crate) fn get(
        &self,
        digest: Digest,
        compile: impl FnOnce() -> Result<Module, LoadError>,
    ) -> Result<Arc<Module>, LoadError> {
        let slot = {
            let mut slots = lock(&self.slots);
            if !slots.contains_key(&digest) {
                // An entry that somebody else holds is being compiled: its lock is not waited for.
                slots.retain(|_, slot| Arc::strong_count(slot) > 1 || lock(slot).strong_count() > 0);
            }
            Arc::clone(slots.entry(digest).or_default())
        };
        let mut kept = lock(&slot);
        if let Some(module) = kept.upgrade() {
            return Ok(module);
        }
        let module = Arc::new(compile()?);
        *kept = Arc::downgrade(&module);
        Ok(module)
    }

    /// The contents in use now, those that are being compiled included.
    pub(crate) fn in_use(&self) -> HashSet<Digest> {
        let slots = lock(&self.slots);
        let used = slots.iter().filter(|(_, slot)| Arc::strong_count(slot) > 1 || lock(slot).strong_count() > 0);
        used.map(|(digest, _)| *digest).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
