//! Where the module's output goes: the process's own stdout and stderr, each write at once.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use capsule_hdk::{Output, Stream};
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

/// Writes through, and keeps the first error of stdout: a module that prints for ever must end with its reader.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    failure: Mutex<Option<io::Error>>,
    failed: Notify,
}

impl Terminal {
    /// Writes to stdout.
    pub(crate) fn print(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.failed.notify_one();
        }
    }

    /// Resolves when stdout cannot be written any more.
    pub(crate) async fn failed(&self) {
        self.failed.notified().await;
    }

    /// The first error of stdout, once. A reader that has seen enough (`| head`) is none.
    ///
    /// # Errors
    /// Stdout could not be written: a full disk, for example.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

impl Output for Terminal {
    fn try_write(&self, stream: Stream, bytes: &[u8]) -> bool {
        match stream {
            Stream::Stdout => self.print(bytes),
            // Nobody is left to tell when stderr is closed.
            Stream::Stderr => drop(io::stderr().lock().write_all(bytes)),
        }
        true
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
