//! Calls at a steady rate over several connections, each answer looked at.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::faas::Client;
use crate::timings::Timings;

/// Failures that are shown; all are counted.
const SHOWN: usize = 5;

/// A rate, for some time.
pub(super) struct Pace {
    pub(super) connections: usize,
    /// Of all connections together.
    pub(super) calls_per_second: usize,
    pub(super) seconds: u32,
}

/// What came of it when no call failed.
pub(super) struct Seen {
    /// From the moment at which a call was due to its answer: a call that waits for the one before it counts that.
    pub(super) timings: Timings,
    pub(super) calls_per_second: f64,
}

impl Pace {
    /// Makes all calls, late ones too, while `meanwhile` runs on this thread. A client that fails goes on over a new connection.
    pub(super) fn run(
        &self,
        address: SocketAddr,
        call: impl Fn(&mut Client) -> Result<()> + Sync,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Seen> {
        let count = self.calls_per_second * self.seconds as usize;
        let next = AtomicUsize::new(0);
        let failures = Failures::default();
        let begin = Instant::now();
        let work = || {
            let mut timings = Timings::default();
            let mut connected = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return timings;
                }
                let due = begin + Duration::from_secs(1) * number as u32 / self.calls_per_second as u32;
                wait_until(due);
                let outcome = match connected.take().map_or_else(|| Client::open(address), Ok) {
                    Ok(mut client) => call(&mut client).map(|()| client),
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(client) => connected = Some(client),
                    Err(error) => failures.add(&error),
                }
                timings.push(due.elapsed());
            }
        };
        let (timings, meanwhile) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections).map(|_| scope.spawn(work)).collect();
            let meanwhile = meanwhile();
            let mut timings = Timings::default();
            for thread in threads {
                timings.append(thread.join().map_err(|_| anyhow!("a client panicked"))?);
            }
            anyhow::Ok((timings, meanwhile))
        })?;
        let calls_per_second = count as f64 / begin.elapsed().as_secs_f64();
        failures.none_of(count)?;
        meanwhile.context("every call was answered, but an act failed")?;
        Ok(Seen { timings, calls_per_second })
    }
}

/// Calls that failed.
#[derive(Default)]
pub(crate) struct Failures {
    count: AtomicUsize,
    first: Mutex<Vec<String>>,
}

impl Failures {
    pub(crate) fn add(&self, error: &anyhow::Error) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < SHOWN {
            first.push(format!("{error:#}"));
        }
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The first ones.
    pub(crate) fn first(&self) -> String {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).join("; ")
    }

    /// An error that shows the first ones when there are any.
    pub(super) fn none_of(self, calls: usize) -> Result<()> {
        match self.count() {
            0 => Ok(()),
            count => bail!("{count} of {calls} calls failed: {}", self.first()),
        }
    }
}

/// Sleeps up to a moment, or not at all when it is over.
pub(crate) fn wait_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}
