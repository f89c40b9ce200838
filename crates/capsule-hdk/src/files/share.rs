//! How many files are open: in an instance, in a function, in all of them. Descriptors are the process's: what one function may
//! have of them is a share, so that there are always some for the next, and for connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Files that the functions of an engine may have open together.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    limit: usize,
    /// Whether functions share them: none has more than are left for the others.
    fair: bool,
    open: AtomicUsize,
}

impl OpenFiles {
    pub(crate) fn new(limit: usize, fair: bool) -> Arc<OpenFiles> {
        Arc::new(OpenFiles { limit, fair, open: AtomicUsize::new(0) })
    }
}

/// A function's share of them.
#[derive(Debug)]
pub(crate) struct FileShare {
    all: Arc<OpenFiles>,
    own: AtomicUsize,
}

impl FileShare {
    pub(crate) fn new(all: &Arc<OpenFiles>) -> Arc<FileShare> {
        Arc::new(FileShare { all: Arc::clone(all), own: AtomicUsize::new(0) })
    }

    fn take(&self) -> Result<(), TooMany> {
        let OpenFiles { limit, fair, open } = &*self.all;
        let own = self.own.fetch_add(1, Relaxed);
        let taken = open.fetch_update(Relaxed, Relaxed, |open| {
            let left = limit.saturating_sub(open);
            (left > 0 && (!fair || own < left)).then_some(open + 1)
        });
        taken.map(drop).map_err(|_| {
            self.own.fetch_sub(1, Relaxed);
            TooMany::Share(own)
        })
    }
}

/// There are as many already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMany {
    /// In the instance: its limit.
    Instance(usize),
    /// In the function: so many.
    Share(usize),
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TooMany::Instance(limit) => write!(f, "{limit} files are open (flag `--maxFiles`)"),
            TooMany::Share(own) => {
                write!(f, "the function has {own} files open, its share of what the process may have (`ulimit -n`)")
            }
        }
    }
}

/// A file among those that are open, until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedFile {
    /// Files that the instance has open.
    instance: Option<Arc<AtomicUsize>>,
    share: Arc<FileShare>,
}

impl CountedFile {
    /// One that an instance opens.
    pub(crate) fn new(open: &Arc<AtomicUsize>, limit: usize, share: &Arc<FileShare>) -> Result<CountedFile, TooMany> {
        let counted = open.fetch_update(Relaxed, Relaxed, |count| (count < limit).then_some(count + 1));
        counted.map_err(|_| TooMany::Instance(limit))?;
        share.take().inspect_err(|_| {
            open.fetch_sub(1, Relaxed);
        })?;
        Ok(CountedFile { instance: Some(Arc::clone(open)), share: Arc::clone(share) })
    }

    /// A folder that it was given, which is not among those that it has opened.
    pub(crate) fn given(share: &Arc<FileShare>) -> Result<CountedFile, TooMany> {
        share.take()?;
        Ok(CountedFile { instance: None, share: Arc::clone(share) })
    }
}

impl Drop for CountedFile {
    fn drop(&mut self) {
        if let Some(instance) = &self.instance {
            instance.fetch_sub(1, Relaxed);
        }
        self.share.own.fetch_sub(1, Relaxed);
        self.share.all.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(share: &Arc<FileShare>) -> Vec<CountedFile> {
        std::iter::from_fn(|| CountedFile::given(share).ok()).collect()
    }

    #[test]
    fn no_function_has_more_than_are_left() {
        let all = OpenFiles::new(24, true);
        let shares: Vec<_> = (0..4).map(|_| FileShare::new(&all)).collect();
        let held: Vec<_> = shares.iter().map(fill).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [12, 6, 3, 2]);
        assert_eq!(CountedFile::given(&shares[0]).unwrap_err(), TooMany::Share(12));
        drop(held);
        assert_eq!(fill(&shares[3]).len(), 12);
        let alone = OpenFiles::new(24, false);
        assert_eq!(fill(&FileShare::new(&alone)).len(), 24);
    }

    #[test]
    fn what_is_refused_is_not_counted() {
        let (share, instance) = (FileShare::new(&OpenFiles::new(2, false)), Arc::default());
        let open = || CountedFile::new(&instance, 1, &share);
        let held = open().unwrap();
        assert_eq!(open().unwrap_err(), TooMany::Instance(1));
        drop(held);
        let others = fill(&share);
        assert_eq!(open().unwrap_err(), TooMany::Share(2));
        drop(others);
        assert!(open().is_ok());
    }
}
