//! The files that this process holds, by their identity: whoever opens one or takes its name away is in the list until he has let
//! go of it. So it is known who is last, and what a file took is given back once, however many functions share its folder.
//!
//! A list for each device: a look at a file may wait for its file system, and only those wait who use that one.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_primitives::fs::Metadata;

use super::{Disk, DiskUse, identity, links};

static DEVICES: Mutex<BTreeMap<u64, Arc<Device>>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Default)]
struct Device {
    files: Mutex<HashMap<u64, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    holders: usize,
    /// Who took the last name away: he is given back what the file took.
    owed: Option<DiskUse>,
    /// Held while the content is changed: two changes at once would both count from the same length.
    turn: Arc<Mutex<()>>,
}

/// A file that somebody holds: open, or about to lose a name.
#[derive(Debug)]
pub(super) struct Hold {
    device: Arc<Device>,
    number: u64,
    turn: Arc<Mutex<()>>,
    /// Taken in `drop` only.
    file: Option<File>,
    disk: Arc<Disk>,
}

/// What became of a file when a name was taken away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It has other names.
    Names,
    /// That was the last.
    Nothing,
    /// Somebody else has taken the last one away.
    Nobody,
}

impl Hold {
    /// Joins the list; none for a file that had lost its last name before: what it took was given back then.
    pub(super) fn new(disk: &Arc<Disk>, file: File, found: &Metadata) -> io::Result<Option<Hold>> {
        let (device, number) = identity(found);
        let device = Arc::clone(lock(&DEVICES).entry(device).or_default());
        let mut files = lock(&device.files);
        if !files.contains_key(&number) && links(&Metadata::from_file(&file)?) == 0 {
            return Ok(None);
        }
        let known = files.entry(number).or_default();
        known.holders += 1;
        let turn = Arc::clone(&known.turn);
        drop(files);
        Ok(Some(Hold { device, number, turn, file: Some(file), disk: Arc::clone(disk) }))
    }

    pub(super) fn file(&self) -> &File {
        self.file.as_ref().expect("it is taken when the hold is dropped")
    }

    pub(super) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// The right to change the content; one at a time in the whole process.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.turn)
    }

    /// To be told when a name of it was taken away.
    pub(super) fn lost_a_name(&self) -> Left {
        let mut files = lock(&self.device.files);
        match (Metadata::from_file(self.file()), files.get_mut(&self.number)) {
            (Ok(found), Some(known)) if links(&found) == 0 => {
                if known.owed.is_some() {
                    return Left::Nobody;
                }
                known.owed = Some(self.disk.use_of().clone());
                Left::Nothing
            }
            _ => Left::Names,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let mut owed = None;
        let mut files = lock(&self.device.files);
        if let Some(known) = files.get_mut(&self.number) {
            known.holders -= 1;
            if known.holders == 0 {
                let known = files.remove(&self.number);
                // Looked at while it is in nobody's hands, and nobody can take it: its last name is gone, or he waits for the list.
                if let Ok(found) = Metadata::from_file(&file)
                    && links(&found) == 0
                    && found.is_file()
                {
                    let to = known.and_then(|known| known.owed).unwrap_or_else(|| self.disk.use_of().clone());
                    owed = Some((to, found.len()));
                }
            }
        }
        drop(files);
        // Its room is free when it is closed, not before.
        drop(file);
        if let Some((to, bytes)) = owed {
            to.give_back(bytes);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
