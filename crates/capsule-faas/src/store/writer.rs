//! The one thread that changes the store: it takes all commits that wait, writes them at once, and tells each its result.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, mpsc};

use tokio::sync::oneshot;

use super::disk::Disk;
use super::{ABSENT, Change, Record, Table};
use crate::error::{StoreError, StoreErrorKind};

/// The most commits in one write: bounds how long the first of them waits.
const MAX_BATCH: usize = 1024;

/// Changes that belong together, and whom to tell.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) changes: Vec<Change>,
    pub(super) answer: oneshot::Sender<Result<u64, StoreError>>,
}

pub(super) type Key = (Table, String);

/// A value at its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) value: Vec<u8>,
}

/// New values of keys; `None` removes.
pub(super) type Staged = BTreeMap<Key, Option<Entry>>;

/// Everything that was committed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Of the last commit.
    pub(super) revision: u64,
    pub(super) entries: BTreeMap<Key, Entry>,
}

impl State {
    pub(super) fn records(&self, table: Table) -> Vec<Record> {
        let of_table = self.entries.iter().filter(|((of, _), _)| *of == table);
        of_table
            .map(|((_, key), Entry { revision, value })| Record {
                key: key.clone(),
                revision: *revision,
                value: value.clone(),
            })
            .collect()
    }

    pub(super) fn apply(&mut self, staged: Staged, revision: u64) {
        for (key, entry) in staged {
            match entry {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
        }
        self.revision = revision;
    }
}

/// Serves commits until nobody can make one any more.
pub(super) fn run(commits: &mpsc::Receiver<Commit>, state: &RwLock<State>, mut disk: Option<Disk>) {
    while let Ok(first) = commits.recv() {
        let mut batch = vec![first];
        batch.extend(commits.try_iter().take(MAX_BATCH - 1));
        write(batch, state, disk.as_mut());
    }
}

/// Writes what fits together of the batch, then tells each commit.
fn write(batch: Vec<Commit>, state: &RwLock<State>, disk: Option<&mut Disk>) {
    // Only this thread writes: what is read here stays true.
    let committed = state.read().unwrap_or_else(PoisonError::into_inner);
    let mut revision = committed.revision;
    let mut staged = Staged::new();
    let mut results = Vec::with_capacity(batch.len());
    for Commit { changes, answer } in batch {
        let result = stage(changes, &committed, &mut staged, revision + 1);
        if let Ok(last) = &result {
            revision = *last;
        }
        results.push((answer, result));
    }
    let written = match disk {
        Some(disk) if revision > committed.revision => disk.write(&staged, revision, &committed),
        _ => Ok(()),
    };
    drop(committed);
    if written.is_ok() {
        state.write().unwrap_or_else(PoisonError::into_inner).apply(staged, revision);
    }
    for (answer, result) in results {
        // After a failed write even a conflict is in doubt: it may have been with a commit that failed.
        // Whoever does not wait any more does not want to know.
        let _ = answer.send(written.clone().and(result));
    }
}

/// Adds the changes of one commit to those of the commits before it, all or none, and answers the revision reached.
fn stage(changes: Vec<Change>, committed: &State, staged: &mut Staged, revision: u64) -> Result<u64, StoreError> {
    if changes.is_empty() {
        return Ok(revision - 1);
    }
    let mut own = Staged::new();
    for change in changes {
        let (key, expected, entry) = match change {
            Change::Put { table, key, value, expected } => ((table, key), expected, Some(Entry { revision, value })),
            Change::Delete { table, key, expected } => ((table, key), expected, None),
        };
        if let Some(expected) = expected {
            let found = match own.get(&key).or_else(|| staged.get(&key)) {
                Some(entry) => entry.as_ref(),
                None => committed.entries.get(&key),
            };
            let found = found.map_or(ABSENT, |entry| entry.revision);
            if found != expected {
                return Err(conflict(&key, expected, found));
            }
        }
        own.insert(key, entry);
    }
    staged.append(&mut own);
    Ok(revision)
}

fn conflict((table, key): &Key, expected: u64, found: u64) -> StoreError {
    let at = |revision| if revision == ABSENT { "no value".to_owned() } else { format!("revision {revision}") };
    let (expected, found) = (at(expected), at(found));
    let message = format!("`{key}` in `{}` was changed: expected {expected}, found {found}", table.name());
    StoreError::new(StoreErrorKind::Conflict, message)
}
