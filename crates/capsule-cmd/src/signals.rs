//! When a server is asked to stop: SIGINT or SIGTERM, or the program itself. And signals that must not stop it.
//!
//! The first request drains, the second one quits. Nothing here stops anything: the program waits for
//! [`Shutdown::requested`] and [`Shutdown::forced`] where it can act on them.

use std::io;

use tokio::sync::watch;

/// From now on, writing to a file past the limit of its size (`ulimit -f`) is an error of that write and no longer the end of the
/// process, as a full disk is. Must be called inside a tokio runtime.
///
/// # Errors
/// The system refuses the handler.
pub fn survive_file_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        // A handler is all it takes, and it stays: who listens does not matter. The number is that of Linux but on MIPS, of the BSDs
        // and of macOS.
        const SIGXFSZ: i32 = 25;
        drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ))?);
    }
    Ok(())
}

/// Tells every holder of a clone that the program should stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// How often stopping was requested.
    requests: watch::Sender<u32>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// One that only [`Shutdown::request`] triggers.
    pub fn new() -> Self {
        Self { requests: watch::Sender::new(0) }
    }

    /// One that signals trigger too: SIGINT and SIGTERM, Ctrl-C elsewhere. From now on they no longer end the process.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let requests = shutdown.clone();
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        Some(()) = interrupt.recv() => tracing::info!("SIGINT received"),
                        Some(()) = terminate.recv() => tracing::info!("SIGTERM received"),
                        else => break,
                    }
                    requests.request();
                }
            });
        }
        #[cfg(not(unix))]
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                requests.request();
            }
        });
        Ok(shutdown)
    }

    /// Asks to stop, as a signal does; the second time to quit.
    pub fn request(&self) {
        self.requests.send_modify(|count| *count = count.saturating_add(1));
    }

    /// True after the first request.
    pub fn is_requested(&self) -> bool {
        *self.requests.borrow() > 0
    }

    /// Waits for the first request; ready at once when there was one.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn requested(&self) {
        self.reached(1).await;
    }

    /// Waits for the second request.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn forced(&self) {
        self.reached(2).await;
    }

    async fn reached(&self, count: u32) {
        let mut requests = self.requests.subscribe();
        // `self` holds the sender, so it cannot be gone.
        let _ = requests.wait_for(|requests| *requests >= count).await;
    }
}
