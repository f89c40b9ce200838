//! Keys that are held while their processes are being started: `start`, a restart by the file, scaling up.

use std::sync::Arc;

use jiff::Timestamp;

use super::{CacheId, Change, Entry, MAX_COUNT, ProcessId, Registry, Reserved, Write};
use crate::names::{FunctionName, Index, Key, Revision};
use crate::refusal::Refusal;
use crate::spec::{Origin, Spec};
use crate::start::StartBody;

/// A key that waits for its process.
///
/// The server starts the process ([`Reservation::is_new`]), or sees to it that the one of an earlier run is awake. When
/// that succeeds, it writes and commits [`Reservation::change`]; when anything fails, it must give the reservation back
/// with [`Registry::release`], and all is as before. Until then the key can be neither dropped nor started again; calls
/// go to what was there before, if anything was.
#[derive(Debug)]
#[must_use = "a reservation is committed or released"]
pub struct Reservation {
    key: Key,
    entry: Entry,
    /// The version of the entry that is there now.
    expected: Option<u64>,
    is_new: bool,
}

impl Reservation {
    /// The key, as the client will hear it.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What will be registered: process, cache, specification.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether the process has to be made. If not, it is the one that the key already has: an equal start after a restart
    /// of the server takes it over, with its state and its other names.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The change to be written and committed when the process has started.
    pub fn change(&self) -> Change {
        let put = Write::Put { key: self.key.clone(), entry: self.entry.clone(), expected: self.expected };
        Change { writes: vec![put] }
    }
}

/// What scaling asks for.
#[derive(Debug)]
#[must_use = "reservations are committed or released, a change is committed"]
pub enum Scale {
    /// There are as many as wanted.
    Same,
    /// Start these.
    Up(Vec<Reservation>),
    /// Drop the highest ones.
    Down(Change),
}

impl Registry {
    /// A start: after a restart of the server it takes over the lowest restored index of the revision that nobody has
    /// claimed, else it adds the index after the highest one.
    ///
    /// `body.spec.module` must be set before, where there is a module: it decides whether a restored process is the same.
    ///
    /// # Errors
    /// A conflict when the revision belongs to the other origin, or has no index left.
    pub fn reserve_start(&mut self, body: StartBody, origin: Origin, now: Timestamp) -> Result<Reservation, Refusal> {
        let StartBody { name, revision, description, spec } = body;
        self.check_origin(&name, &revision, origin)?;
        let unclaimed = self.indexes(&name, &revision).and_then(|indexes| {
            let free = |index: Index| !self.reserved.contains_key(&Key::new(name.clone(), revision.clone(), index));
            let found = indexes.entries.iter().find(|(index, entry)| !entry.claimed && free(**index));
            found.map(|(index, entry)| (*index, entry.clone()))
        });
        if let Some((index, before)) = unclaimed {
            let key = Key::new(name, revision, index);
            return Ok(self.reserve_over(key, *before, description, spec, now));
        }
        let index = self.next_index(&name, &revision)?;
        let entry = Entry {
            version: 1,
            process: ProcessId(self.new_id()),
            cache: self.cache(&name, &revision),
            former: None,
            description,
            spec: Arc::new(spec),
            origin,
            created_at: now,
            claimed: true,
        };
        Ok(self.reserve(Key::new(name, revision, index), entry, None, true))
    }

    /// A restart of one entry with what the body says: the process is replaced when the new one has started.
    ///
    /// # Errors
    /// There is no such entry, or it is being started.
    pub fn reserve_restart(&mut self, key: &Key, body: StartBody, now: Timestamp) -> Result<Reservation, Refusal> {
        let before = self.get(key).cloned().ok_or_else(|| Refusal::not_found(format!("no `{key}`")))?;
        if self.reserved.contains_key(key) {
            return Err(busy(key));
        }
        Ok(self.reserve_over(key.clone(), before, body.description, body.spec, now))
    }

    /// Has as many indexes as wanted: new ones like the lowest one, after the highest one; or the highest ones dropped.
    ///
    /// # Errors
    /// Invalid for a count of 0 or above [`MAX_COUNT`], not found, or a conflict while one of them is being started.
    pub fn reserve_scale(
        &mut self,
        name: &FunctionName,
        revision: &Revision,
        count: Index,
        now: Timestamp,
    ) -> Result<Scale, Refusal> {
        if !(1..=MAX_COUNT).contains(&count.get()) {
            return Err(Refusal::invalid(format!("count: expected 1 to {MAX_COUNT}, found `{count}`")));
        }
        let wanted = count.get() as usize;
        let (_, indexes) = self.function(name)?.1.find(name, revision.as_str())?;
        let first = indexes.entries.first_key_value().map(|(_, entry)| Entry::clone(entry));
        let surplus = indexes.entries.iter().skip(wanted);
        let down: Vec<Write> = surplus
            .map(|(index, entry)| Write::Remove {
                key: Key::new(name.clone(), revision.clone(), *index),
                expected: entry.version,
            })
            .collect();
        let missing = wanted.saturating_sub(indexes.entries.len());
        self.check_not_reserved(name, revision, None)?;
        let Some(first) = first.filter(|_| missing > 0) else {
            return Ok(if down.is_empty() { Scale::Same } else { Scale::Down(Change { writes: down }) });
        };
        let mut reservations = Vec::with_capacity(missing);
        for _ in 0..missing {
            let index = match self.next_index(name, revision) {
                Ok(index) => index,
                Err(refusal) => {
                    reservations.into_iter().for_each(|reservation| self.release(reservation));
                    return Err(refusal);
                }
            };
            let process = ProcessId(self.new_id());
            let entry = Entry { version: 1, process, former: None, created_at: now, claimed: true, ..first.clone() };
            let key = Key::new(name.clone(), revision.clone(), index);
            reservations.push(self.reserve(key, entry, None, true));
        }
        Ok(Scale::Up(reservations))
    }

    /// Gives up a reservation: all is as before.
    pub fn release(&mut self, reservation: Reservation) {
        self.reserved.remove(&reservation.key);
    }

    /// A key whose entry is to be replaced. An equal specification keeps the process, its state and its other names.
    fn reserve_over(
        &mut self,
        key: Key,
        before: Entry,
        description: String,
        spec: Spec,
        now: Timestamp,
    ) -> Reservation {
        let expected = Some(before.version);
        let next = Entry { version: before.version + 1, description, claimed: true, ..before };
        if *next.spec == spec {
            return self.reserve(key, next, expected, false);
        }
        let process = ProcessId(self.new_id());
        let entry = Entry { process, former: None, spec: Arc::new(spec), created_at: now, ..next };
        self.reserve(key, entry, expected, true)
    }

    fn reserve(&mut self, key: Key, entry: Entry, expected: Option<u64>, is_new: bool) -> Reservation {
        let reserved = Reserved { process: entry.process, cache: entry.cache, origin: entry.origin };
        self.reserved.insert(key.clone(), reserved);
        Reservation { key, entry, expected, is_new }
    }

    fn next_index(&self, name: &FunctionName, revision: &Revision) -> Result<Index, Refusal> {
        let registered = self.indexes(name, revision).and_then(|indexes| indexes.entries.last_key_value());
        let highest =
            registered.map(|(index, _)| *index).max(self.reservations(name, revision).map(|(key, _)| key.index).max());
        match highest {
            None => Ok(Index::FIRST),
            Some(highest) => highest
                .next()
                .ok_or_else(|| Refusal::conflict(format!("`{name}/{revision}` has no index left after `{highest}`"))),
        }
    }

    /// The cache of a revision: that of its lowest index.
    fn cache(&mut self, name: &FunctionName, revision: &Revision) -> CacheId {
        let registered = self.indexes(name, revision).and_then(|indexes| indexes.entries.first_key_value());
        let found = registered.map(|(_, entry)| entry.cache);
        let found = found.or_else(|| self.reservations(name, revision).next().map(|(_, reserved)| reserved.cache));
        found.unwrap_or_else(|| CacheId(self.new_id()))
    }

    /// A revision belongs to who started it.
    fn check_origin(&self, name: &FunctionName, revision: &Revision, origin: Origin) -> Result<(), Refusal> {
        let registered = self.indexes(name, revision).and_then(|indexes| indexes.entries.first_key_value());
        let owner = registered.map(|(_, entry)| entry.origin);
        let owner = owner.or_else(|| self.reservations(name, revision).next().map(|(_, reserved)| reserved.origin));
        match owner {
            Some(owner) if owner != origin => Err(Refusal::conflict(format!(
                "`{name}/{revision}` was started by {}; {} cannot start it too",
                owner.label(),
                origin.label()
            ))),
            _ => Ok(()),
        }
    }

    /// While a process is being started, its key stays.
    pub(super) fn check_not_reserved(
        &self,
        name: &FunctionName,
        revision: &Revision,
        index: Option<Index>,
    ) -> Result<(), Refusal> {
        let mut held = self.reservations(name, revision).map(|(key, _)| key);
        match held.find(|key| index.is_none_or(|index| index == key.index)) {
            Some(key) => Err(busy(key)),
            None => Ok(()),
        }
    }

    fn reservations(&self, name: &FunctionName, revision: &Revision) -> impl Iterator<Item = (&Key, &Reserved)> {
        let from = Key::new(name.clone(), revision.clone(), Index::FIRST);
        let to = Key::new(name.clone(), revision.clone(), Index::MAX);
        self.reserved.range(from..=to)
    }
}

fn busy(key: &Key) -> Refusal {
    Refusal::conflict(format!("`{key}` is being started; try again when that is done"))
}
