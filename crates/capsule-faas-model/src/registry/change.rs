//! A change of the registry: planned by a command, written by the server, then committed.

use super::{Entry, Indexes, ProcessId, Registry};
use crate::names::{FunctionName, Key};
use crate::route::Route;

/// One write to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Put an entry.
    Put {
        /// Under this key.
        key: Key,
        /// What; [`stored::encode`](crate::stored::encode) makes bytes of it.
        entry: Entry,
        /// The version that must be there now; none when the key must not be there.
        expected: Option<u64>,
    },
    /// Remove an entry.
    Remove {
        /// Under this key.
        key: Key,
        /// The version that must be there now.
        expected: u64,
    },
    /// Put the route of a function.
    PutRoute {
        /// Which function.
        name: FunctionName,
        /// What; [`stored::encode`](crate::stored::encode) makes bytes of it.
        route: Route,
        /// The version that must be there now; 0 when there must be none.
        expected: u64,
    },
    /// Remove the route of a function whose last entry goes.
    RemoveRoute {
        /// Which function.
        name: FunctionName,
        /// The version that must be there now.
        expected: u64,
    },
}

/// Writes that belong together: all of them happen or none, in the store and in the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a change happens when it is committed"]
pub struct Change {
    pub(super) writes: Vec<Write>,
}

impl Change {
    /// The writes, in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether all is already as it was asked for: there is nothing to write, and nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The keys that are put, lowest first.
    pub fn puts(&self) -> impl Iterator<Item = &Key> {
        self.writes.iter().filter_map(|write| match write {
            Write::Put { key, .. } => Some(key),
            _ => None,
        })
    }

    /// The keys that are removed, lowest first.
    pub fn removals(&self) -> impl Iterator<Item = &Key> {
        self.writes.iter().filter_map(|write| match write {
            Write::Remove { key, .. } => Some(key),
            _ => None,
        })
    }
}

/// The registry has changed since the change was planned. Nothing has been committed: plan it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry has changed in the meantime")]
pub struct Stale;

impl Registry {
    /// Makes a change that has been written. Answers the processes that nobody names any more: they are to be
    /// [retired](crate::lifecycle::Lifecycle::retire).
    ///
    /// # Errors
    /// An entry or route is not at the version that the change was planned on, or a process that is to get a name has
    /// ended. Then nothing has happened.
    pub fn commit(&mut self, change: Change) -> Result<Vec<ProcessId>, Stale> {
        if !self.fits(&change) {
            return Err(Stale);
        }
        let mut released = Vec::new();
        for write in change.writes {
            match write {
                Write::Put { key, entry, .. } => {
                    if self.reserved.get(&key).is_some_and(|reserved| reserved.process == entry.process) {
                        self.reserved.remove(&key);
                    }
                    let (name, revision) = (key.name.clone(), key.revision.clone());
                    released.extend(self.insert(key, entry).map(|before| before.process));
                    let function = self.functions.get_mut(&name);
                    if let Some(indexes) = function.and_then(|function| function.revisions.get_mut(&revision)) {
                        indexes.find_equals();
                    }
                }
                Write::Remove { key, .. } => released.extend(self.remove(&key).map(|entry| entry.process)),
                Write::PutRoute { name, route, .. } => {
                    if let Some(function) = self.functions.get_mut(&name) {
                        function.route = route;
                    }
                }
                // It has gone with the last entry of the function.
                Write::RemoveRoute { .. } => {}
            }
        }
        let mut ended = Vec::new();
        for process in released {
            if let Some(count) = self.names.get_mut(&process) {
                *count -= 1;
                if *count == 0 {
                    self.names.remove(&process);
                    ended.push(process);
                }
            }
        }
        Ok(ended)
    }

    /// Whether a change can be committed now: all that it touches is as it was when it was planned.
    pub fn fits(&self, change: &Change) -> bool {
        change.writes.iter().all(|write| self.is_current(write))
    }

    fn is_current(&self, write: &Write) -> bool {
        match write {
            Write::Put { key, entry, expected } => {
                let lives = self.names.contains_key(&entry.process)
                    || self.reserved.get(key).is_some_and(|reserved| reserved.process == entry.process);
                lives && self.get(key).map(|entry| entry.version) == *expected
            }
            Write::Remove { key, expected } => self.get(key).is_some_and(|entry| entry.version == *expected),
            Write::PutRoute { name, expected, .. } | Write::RemoveRoute { name, expected } => {
                self.route(name).is_some_and(|route| route.version == *expected)
            }
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let function = self.functions.get_mut(&key.name)?;
        let indexes = function.revisions.get_mut(&key.revision)?;
        let entry = indexes.entries.remove(&key.index);
        Indexes::find_equals(indexes);
        if indexes.entries.is_empty() {
            function.revisions.remove(&key.revision);
        }
        if function.revisions.is_empty() {
            self.functions.remove(&key.name);
        }
        entry.map(|entry| *entry)
    }
}
