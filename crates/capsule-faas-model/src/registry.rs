//! All functions of a server: what is registered under which key, who shares a process, and where calls go.
//!
//! Commands change nothing by themselves. A command looks at the registry and answers a [`Change`]: the server writes it
//! to its store and then gives it to [`Registry::commit`], which says which processes nobody names any more. So a change
//! that cannot be written has not happened. What first needs a process that runs (`start`, scaling up) begins with a
//! [`Reservation`], which holds the key until the process has started or failed. A server lets one command at a time
//! plan, write and commit; starts in between take as long as they like.
//!
//! How a process is (asleep, started ...) is no business of the registry: see [`lifecycle`](crate::lifecycle).

mod change;
mod check;
mod commands;
mod reservation;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use change::{Change, Stale, Write};
pub use reservation::{Reservation, Scale};

use crate::names::{DEFAULT_REVISION, FunctionName, Index, Key, Revision};
use crate::refusal::Refusal;
use crate::route::{HISTORY, Route, Weights};
use crate::spec::{Origin, Spec};
use crate::stored;
use crate::target::Selector;

/// The most indexes that a revision can be scaled to.
pub const MAX_COUNT: u32 = 1_000;

/// A process, whatever its names are. Ids are never used twice in one data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(#[serde(deserialize_with = "stored::counter")] u64);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An in-memory cache: all indexes of a revision share one, and a duplicate has that of its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheId(#[serde(deserialize_with = "stored::counter")] u64);

/// What is registered under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Counts the writes of this entry, from 1: a store compares it before it writes the next.
    #[serde(deserialize_with = "stored::counter")]
    pub version: u64,
    /// The process that serves it.
    pub process: ProcessId,
    /// The cache of that process.
    pub cache: CacheId,
    /// The revision that it was duplicated from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Revision>,
    /// What the start body said about it.
    #[serde(default)]
    pub description: String,
    /// What its process runs.
    pub spec: Arc<Spec>,
    /// Who started it. All entries of a revision have the same origin.
    pub origin: Origin,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// It was started, or named by a command, since the server started. One that was not is taken over by the next
    /// start of its revision.
    #[serde(skip)]
    pub claimed: bool,
}

/// An entry with its key.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The function.
    pub name: &'a FunctionName,
    /// Its revision.
    pub revision: &'a Revision,
    /// The index.
    pub index: Index,
    /// What is registered there.
    pub entry: &'a Entry,
}

impl Found<'_> {
    /// The key of the entry.
    pub fn key(&self) -> Key {
        Key::new(self.name.clone(), self.revision.clone(), self.index)
    }
}

/// All functions of a server. A clone is cheap enough to be a snapshot for those who place calls.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    functions: BTreeMap<FunctionName, Function>,
    /// Keys whose processes are being started.
    reserved: BTreeMap<Key, Reserved>,
    /// How many entries name a process.
    names: BTreeMap<ProcessId, usize>,
    /// The next id of a process or cache.
    next_id: u64,
}

#[derive(Debug, Clone, Default)]
struct Function {
    /// Most functions have one revision with one index: in boxes, since a map has room for eleven.
    revisions: BTreeMap<Revision, Box<Indexes>>,
    route: Route,
}

#[derive(Debug, Clone, Default)]
struct Indexes {
    entries: BTreeMap<Index, Box<Entry>>,
    /// Those that run the same as the lowest one; calls without an index are spread over them.
    spread: Vec<Index>,
}

impl Indexes {
    fn find_equals(&mut self) {
        let first = self.entries.first_key_value().map(|(_, entry)| Arc::clone(&entry.spec));
        let same = |entry: &Entry| first.as_ref().is_some_and(|spec| *spec == entry.spec);
        self.spread = self.entries.iter().filter(|(_, entry)| same(entry)).map(|(index, _)| *index).collect();
    }
}

#[derive(Debug, Clone, Copy)]
struct Reserved {
    process: ProcessId,
    cache: CacheId,
    origin: Origin,
}

impl Registry {
    /// A registry without functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry of an earlier run, from what its store holds. Nobody has claimed its entries yet.
    ///
    /// A store that was changed by hand does no harm: a route that leads nowhere is left out, and processes that claim
    /// to be one but run different things become two.
    pub fn restore(
        entries: impl IntoIterator<Item = (Key, Entry)>,
        routes: impl IntoIterator<Item = (FunctionName, Route)>,
    ) -> Self {
        let mut registry = Self::new();
        let mut specs: BTreeMap<ProcessId, (FunctionName, Arc<Spec>)> = BTreeMap::new();
        let mut misfits = Vec::new();
        for (key, mut entry) in entries {
            if registry.get(&key).is_some() {
                continue;
            }
            entry.claimed = false;
            registry.next_id = registry.next_id.max(entry.process.0.max(entry.cache.0).saturating_add(1));
            let (name, spec) =
                specs.entry(entry.process).or_insert_with(|| (key.name.clone(), Arc::clone(&entry.spec)));
            if *name == key.name && *spec == entry.spec {
                // One allocation for one specification.
                entry.spec = Arc::clone(spec);
                registry.insert(key, entry);
            } else {
                misfits.push((key, entry));
            }
        }
        for (key, mut entry) in misfits {
            if registry.get(&key).is_some() {
                continue;
            }
            entry.process = ProcessId(registry.new_id());
            registry.insert(key, entry);
        }
        for (name, mut route) in routes {
            if let Some(function) = registry.functions.get_mut(&name) {
                let leads_nowhere =
                    |weights: &Weights| weights.used().any(|revision| !function.revisions.contains_key(revision));
                route.current = route.current.filter(|weights| !leads_nowhere(weights));
                let surplus = route.history.len().saturating_sub(HISTORY);
                route.history.drain(..surplus);
                function.route = route;
            }
        }
        registry
            .functions
            .values_mut()
            .flat_map(|function| function.revisions.values_mut())
            .for_each(|indexes| indexes.find_equals());
        registry
    }

    /// Where a call goes. `pick` chooses among revisions with weights and among equal indexes; it may be random or count
    /// the calls.
    ///
    /// # Errors
    /// No such function, revision or index.
    pub fn resolve(&self, selector: &Selector, pick: u64) -> Result<Found<'_>, Refusal> {
        self.resolve_with(selector, || pick)
    }

    /// As [`Registry::resolve`]; `pick` is asked only where there is a choice, and always answers the same.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub fn resolve_with(&self, selector: &Selector, mut pick: impl FnMut() -> u64) -> Result<Found<'_>, Refusal> {
        let (name, function) = self.function(&selector.name)?;
        let revision = match (&selector.revision, &function.route.current) {
            (Some(revision), _) => revision.as_str(),
            (None, Some(weights)) => weights.choose(pick()).as_str(),
            (None, None) => DEFAULT_REVISION,
        };
        let (revision, indexes) = function.find(name, revision)?;
        let index = match (selector.index, &indexes.spread[..]) {
            (Some(index), _) | (None, &[index]) => index,
            (None, equals) => equals[(pick() % equals.len() as u64) as usize],
        };
        let entry = indexes.find(name, revision, index)?;
        Ok(Found { name, revision, index, entry })
    }

    /// One entry of each revision that a call with this selector may go to; all that it may go to in a revision run the same.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub fn possible(&self, selector: &Selector) -> Result<Vec<Found<'_>>, Refusal> {
        let (name, function) = self.function(&selector.name)?;
        let Some(weights) = function.route.current.as_ref().filter(|_| selector.revision.is_none()) else {
            return Ok(vec![self.resolve(selector, 0)?]);
        };
        let of_revision = |revision: &Revision| {
            let one = Selector { name: name.clone(), revision: Some(revision.clone()), index: selector.index };
            self.resolve(&one, 0)
        };
        weights.used().map(of_revision).collect()
    }

    /// All entries that a selector names, lowest index first: of `default` when it names no revision.
    ///
    /// # Errors
    /// No such function, revision or index.
    pub fn select(&self, selector: &Selector) -> Result<Vec<Found<'_>>, Refusal> {
        let (name, function) = self.function(&selector.name)?;
        let revision = selector.revision.as_ref().map_or(DEFAULT_REVISION, Revision::as_str);
        let (revision, indexes) = function.find(name, revision)?;
        match selector.index {
            Some(index) => Ok(vec![Found { name, revision, index, entry: indexes.find(name, revision, index)? }]),
            None => Ok(indexes.entries.iter().map(|(&index, entry)| Found { name, revision, index, entry }).collect()),
        }
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.functions.iter().flat_map(|(name, function)| {
            function.revisions.iter().flat_map(move |(revision, indexes)| {
                indexes.entries.iter().map(move |(&index, entry)| Found { name, revision, index, entry })
            })
        })
    }

    /// All names of a process, lowest first.
    pub fn names_of(&self, process: ProcessId) -> impl Iterator<Item = Found<'_>> {
        self.iter().filter(move |found| found.entry.process == process)
    }

    /// The entry of a key.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        Some(self.functions.get(&key.name)?.revisions.get(&key.revision)?.entries.get(&key.index)?)
    }

    /// The route of a function; none for an unknown function.
    pub fn route(&self, name: &FunctionName) -> Option<&Route> {
        self.functions.get(name).map(|function| &function.route)
    }

    /// The name of a function as this registry has it, which costs less than to check a text and copy it.
    pub fn name(&self, name: &str) -> Option<&FunctionName> {
        self.functions.get_key_value(name).map(|(name, _)| name)
    }

    /// All functions with their routes.
    pub fn routes(&self) -> impl Iterator<Item = (&FunctionName, &Route)> {
        self.functions.iter().map(|(name, function)| (name, &function.route))
    }

    /// Whether there is no function.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    fn function(&self, name: &FunctionName) -> Result<(&FunctionName, &Function), Refusal> {
        self.functions.get_key_value(name).ok_or_else(|| Refusal::not_found(format!("no function `{name}`")))
    }

    fn indexes(&self, name: &FunctionName, revision: &Revision) -> Option<&Indexes> {
        Some(self.functions.get(name)?.revisions.get(revision)?)
    }

    fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        id
    }

    /// Puts an entry; the indexes that run the same are found afterwards.
    fn insert(&mut self, key: Key, entry: Entry) -> Option<Entry> {
        *self.names.entry(entry.process).or_default() += 1;
        let function = self.functions.entry(key.name).or_default();
        let indexes = function.revisions.entry(key.revision).or_default();
        indexes.entries.insert(key.index, Box::new(entry)).map(|before| *before)
    }
}

impl Function {
    fn find(&self, name: &FunctionName, revision: &str) -> Result<(&Revision, &Indexes), Refusal> {
        let found = self.revisions.get_key_value(revision).map(|(revision, indexes)| (revision, &**indexes));
        found.ok_or_else(|| Refusal::not_found(format!("function `{name}` has no revision `{revision}`")))
    }
}

impl Indexes {
    fn find(&self, name: &FunctionName, revision: &Revision, index: Index) -> Result<&Entry, Refusal> {
        self.entries
            .get(&index)
            .map(|entry| &**entry)
            .ok_or_else(|| Refusal::not_found(format!("`{name}/{revision}` has no index `{index}`")))
    }
}
