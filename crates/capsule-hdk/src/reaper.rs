//! The reaper: a thread that drops instances. Giving back a large dirty memory takes milliseconds, which an I/O thread
//! does not have.

use std::sync::mpsc::{Sender, channel};

/// Something that takes long to drop.
pub(crate) trait Remains: Send {}

impl<T: Send> Remains for T {}

/// Hands over to the thread; it ends when the last handle is gone.
pub(crate) struct Reaper {
    graves: Sender<Box<dyn Remains>>,
}

impl Reaper {
    pub(crate) fn start() -> std::io::Result<Reaper> {
        let (graves, arrivals) = channel::<Box<dyn Remains>>();
        std::thread::Builder::new().name("capsule-reaper".into()).spawn(move || {
            for remains in arrivals {
                drop(remains);
            }
        })?;
        Ok(Reaper { graves })
    }

    /// Drops `remains` on the reaper's thread.
    pub(crate) fn bury(&self, remains: impl Remains + 'static) {
        // The thread ends with the last sender only; should it be gone, the value is dropped here.
        let _ = self.graves.send(Box::new(remains));
    }
}
