//! The descriptors of an instance: standard streams, the folders that it was given, and what it has opened, which is limited.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::interface::types::{Errno, Fd};
use crate::files::{Closing, CountedFile, TooMany};
use crate::output::Stream;
use crate::share::Share;

/// What a descriptor stands for.
pub(super) enum Descriptor {
    Stdin,
    Output(Stream),
    /// A folder that the function was given, by its number; opened when something is done in it.
    Given(usize, Option<Folder>),
    /// A folder that the guest has opened.
    Folder(Folder),
    File(OpenFile),
}

/// A folder, and whether it may be changed.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) handle: Arc<File>,
    pub(super) read_only: bool,
    pub(super) _counted: Arc<CountedFile>,
}

/// A file that the guest has opened.
pub(super) struct OpenFile {
    pub(super) file: Closing,
    pub(super) position: u64,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) append: bool,
    /// Asked for, and without meaning for a file.
    pub(super) nonblocking: bool,
    pub(super) read_only: bool,
}

/// The table of an instance.
pub(super) struct Descriptors {
    used: BTreeMap<u32, Descriptor>,
    open: Arc<AtomicUsize>,
    limit: usize,
    share: Arc<Share>,
}

impl Descriptors {
    /// The standard streams and the folders that were given.
    pub(super) fn new(folders: usize, open: &Arc<AtomicUsize>, limit: usize, share: &Arc<Share>) -> Descriptors {
        let first = [Descriptor::Stdin, Descriptor::Output(Stream::Stdout), Descriptor::Output(Stream::Stderr)];
        let given = (0..folders).map(|number| Descriptor::Given(number, None));
        let used = (0..).zip(first.into_iter().chain(given)).collect();
        Descriptors { used, open: Arc::clone(open), limit, share: Arc::clone(share) }
    }

    /// Counts something that is about to be opened.
    pub(super) fn count(&self) -> Result<CountedFile, TooMany> {
        CountedFile::new(&self.open, self.limit, &self.share)
    }

    /// Counts a folder that was given.
    pub(super) fn count_given(&self) -> Result<CountedFile, TooMany> {
        CountedFile::given(&self.share)
    }

    /// Gives something the lowest number that is free.
    pub(super) fn push(&mut self, descriptor: Descriptor) -> Result<Fd, Errno> {
        let taken = (0..).zip(self.used.keys()).take_while(|(number, used)| number == *used).count();
        let number = u32::try_from(taken).map_err(|_| Errno::Nfile)?;
        self.used.insert(number, descriptor);
        Ok(number.into())
    }

    pub(super) fn get(&self, fd: Fd) -> Result<&Descriptor, Errno> {
        self.used.get(&fd.into()).ok_or(Errno::Badf)
    }

    pub(super) fn get_mut(&mut self, fd: Fd) -> Result<&mut Descriptor, Errno> {
        self.used.get_mut(&fd.into()).ok_or(Errno::Badf)
    }

    pub(super) fn file(&self, fd: Fd) -> Result<&OpenFile, Errno> {
        match self.get(fd)? {
            Descriptor::File(file) => Ok(file),
            _ => Err(Errno::Badf),
        }
    }

    pub(super) fn file_mut(&mut self, fd: Fd) -> Result<&mut OpenFile, Errno> {
        match self.get_mut(fd)? {
            Descriptor::File(file) => Ok(file),
            _ => Err(Errno::Badf),
        }
    }

    /// A file with a position: the standard streams have none, which a guest is told.
    pub(super) fn seekable(&mut self, fd: Fd) -> Result<&mut OpenFile, Errno> {
        match self.get_mut(fd)? {
            Descriptor::File(file) => Ok(file),
            Descriptor::Stdin | Descriptor::Output(_) => Err(Errno::Spipe),
            Descriptor::Given(..) | Descriptor::Folder(_) => Err(Errno::Badf),
        }
    }

    pub(super) fn remove(&mut self, fd: Fd) -> Result<Descriptor, Errno> {
        self.used.remove(&fd.into()).ok_or(Errno::Badf)
    }

    /// Gives a descriptor another number, in place of what has it.
    pub(super) fn renumber(&mut self, from: Fd, to: Fd) -> Result<Option<Descriptor>, Errno> {
        let (from, to) = (u32::from(from), u32::from(to));
        if !self.used.contains_key(&from) || !self.used.contains_key(&to) {
            return Err(Errno::Badf);
        }
        if from == to {
            return Ok(None);
        }
        let moved = self.used.remove(&from).ok_or(Errno::Badf)?;
        Ok(self.used.insert(to, moved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Stock;

    fn table() -> Descriptors {
        Descriptors::new(2, &Arc::default(), 3, &Share::new(&Stock::new(9, false)))
    }

    fn numbers(table: &Descriptors) -> Vec<u32> {
        table.used.keys().copied().collect()
    }

    #[test]
    fn the_lowest_free_number_is_given() {
        let mut table = table();
        assert_eq!(numbers(&table), [0, 1, 2, 3, 4]);
        assert_eq!(u32::from(table.push(Descriptor::Stdin).unwrap()), 5);
        table.remove(1.into()).unwrap();
        assert!(table.remove(1.into()).is_err());
        assert_eq!(u32::from(table.push(Descriptor::Stdin).unwrap()), 1);
        assert_eq!(u32::from(table.push(Descriptor::Stdin).unwrap()), 6);
    }

    #[test]
    fn a_descriptor_takes_the_number_of_another() {
        let mut table = table();
        assert!(table.renumber(3.into(), 9.into()).is_err() && table.renumber(9.into(), 3.into()).is_err());
        assert!(table.renumber(3.into(), 3.into()).unwrap().is_none());
        assert!(matches!(table.renumber(3.into(), 1.into()), Ok(Some(Descriptor::Output(Stream::Stdout)))));
        assert!(matches!(table.get(1.into()), Ok(Descriptor::Given(0, None))));
        assert_eq!(numbers(&table), [0, 1, 2, 4]);
    }

    #[test]
    fn what_is_open_is_counted() {
        let table = table();
        let held: Vec<_> = std::iter::from_fn(|| table.count().ok()).collect();
        assert_eq!(held.len(), 3);
        drop(held);
        assert!(table.count().is_ok());
    }
}
