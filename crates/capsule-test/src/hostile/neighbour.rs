//! A function beside the hostile one: called all the while, it has to go on counting.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::client::Connection;

/// The name of the function.
pub(super) const NAME: &str = "neighbour";

/// A thread that calls the neighbour, until it is dropped.
pub(super) struct Neighbour {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    seen: Mutex<Served>,
}

/// What was seen of the neighbour.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) calls: usize,
    pub(super) longest: Duration,
    failure: Option<String>,
}

impl Neighbour {
    /// Begins to call it, with this pause between two calls.
    pub(super) fn call(address: SocketAddr, pace: Duration) -> Neighbour {
        let shared = Arc::new(Shared::default());
        let other = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            if let Err(error) = call(&other, address, pace) {
                other.lock().failure = Some(format!("{error:#}"));
            }
        });
        Neighbour { shared, thread: Some(thread) }
    }

    /// What was seen since this was last asked, the call that is under way included. At least one call was begun and answered
    /// since this was asked.
    pub(super) fn served(&self, limit: Duration) -> anyhow::Result<Served> {
        // One that is under way may have been begun before: the second one from now on is certain.
        let (begin, wanted) = (Instant::now(), self.shared.lock().calls + 2);
        loop {
            let mut seen = self.shared.lock();
            if let Some(failure) = &seen.failure {
                bail!("the neighbour was not served: {failure}");
            }
            if seen.calls >= wanted {
                return Ok(std::mem::take(&mut *seen));
            }
            drop(seen);
            ensure!(begin.elapsed() < 2 * limit, "the neighbour waits for an answer for more than {limit:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Served> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn call(shared: &Shared, address: SocketAddr, pace: Duration) -> anyhow::Result<()> {
    let mut connection = Connection::open(address)?;
    let mut counted: Option<(String, u64)> = None;
    while !shared.over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let answer = connection.send("POST", &format!("/functions/{NAME}"), &[], b"count")?;
        let took = begin.elapsed();
        ensure!(answer.status == 200, "it was answered {} `{}`", answer.status, answer.text());
        let document: Value = serde_json::from_slice(&answer.body).context("its answer is no JSON")?;
        let id = document["id"].as_str().context("its answer has no id")?.to_owned();
        let count = document["count"].as_u64().context("its answer has no count")?;
        if let Some((known, last)) = &counted {
            ensure!(*known == id && count == last + 1, "it has lost its state: {document} after {last} of {known}");
        }
        counted = Some((id, count));
        let mut seen = shared.lock();
        seen.calls += 1;
        seen.longest = seen.longest.max(took);
        drop(seen);
        std::thread::sleep(pace);
    }
    Ok(())
}
