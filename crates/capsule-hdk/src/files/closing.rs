//! An open file that is closed on a thread for work that blocks: the last one who has a removed file open gives its room back, and
//! for a large one that takes long.

use std::ops::Deref;
use std::sync::Arc;

use super::{Blocking, Tracked};

/// A file that is closed on one of the function's threads, whoever drops it.
pub(crate) struct Closing {
    /// Taken when it is closed.
    file: Option<Arc<Tracked>>,
    blocking: Blocking,
}

impl Closing {
    pub(crate) fn new(file: Tracked, blocking: &Blocking) -> Closing {
        Closing { file: Some(Arc::new(file)), blocking: blocking.clone() }
    }

    /// Closes it where it is.
    pub(crate) fn now(mut self) {
        drop(self.file.take());
    }
}

impl Deref for Closing {
    type Target = Arc<Tracked>;

    fn deref(&self) -> &Arc<Tracked> {
        self.file.as_ref().expect("it is taken when it is closed")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.blocking.later(move || drop(file));
        }
    }
}
