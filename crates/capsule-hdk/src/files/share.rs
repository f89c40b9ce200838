//! How many files are open: in an instance, in a function, in all of them. Descriptors are the process's: what one function may
//! have of them is a share, so that there are always some for the next, and for connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::share::{Share, Taken};

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
    _share: Taken,
}

impl CountedFile {
    /// One that an instance opens.
    pub(crate) fn new(open: &Arc<AtomicUsize>, limit: usize, share: &Arc<Share>) -> Result<CountedFile, TooMany> {
        let counted = open.fetch_update(Relaxed, Relaxed, |count| (count < limit).then_some(count + 1));
        counted.map_err(|_| TooMany::Instance(limit))?;
        let taken = share.take().map_err(|own| {
            open.fetch_sub(1, Relaxed);
            TooMany::Share(own)
        })?;
        Ok(CountedFile { instance: Some(Arc::clone(open)), _share: taken })
    }

    /// A folder that it was given, which is not among those that it has opened.
    pub(crate) fn given(share: &Arc<Share>) -> Result<CountedFile, TooMany> {
        let taken = share.take().map_err(TooMany::Share)?;
        Ok(CountedFile { instance: None, _share: taken })
    }
}

impl Drop for CountedFile {
    fn drop(&mut self) {
        if let Some(instance) = &self.instance {
            instance.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Stock;

    #[test]
    fn what_is_refused_is_not_counted() {
        let (share, instance) = (Share::new(&Stock::new(2, false)), Arc::default());
        let open = || CountedFile::new(&instance, 1, &share);
        let held = open().unwrap();
        assert_eq!(open().unwrap_err(), TooMany::Instance(1));
        drop(held);
        let others = [(); 2].map(|()| CountedFile::given(&share).unwrap());
        assert_eq!(open().unwrap_err(), TooMany::Share(2));
        drop(others);
        assert!(open().is_ok());
    }
}
