//! The reaper: a thread that drops instances. Giving back a large dirty memory takes milliseconds, which an I/O thread
//! does not have.

use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

/// Something that takes long to drop.
pub(crate) trait Remains: Send {}

impl<T: Send> Remains for T {}

/// Goes with what is dropped, and is dropped after it: who waits for a [`Burial`] hears of it.
pub(crate) struct Mourner(#[expect(dead_code, reason = "held for its drop")] oneshot::Sender<()>);

/// The end of something that somebody waits for.
pub(crate) struct Burial(oneshot::Receiver<()>);

impl Burial {
    pub(crate) fn announce() -> (Mourner, Burial) {
        let (mourner, burial) = oneshot::channel();
        (Mourner(mourner), Burial(burial))
    }

    /// Resolves when the mourner is gone.
    pub(crate) async fn gone(self) {
        let _ = self.0.await;
    }
}

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
