//! What is counted of a process beyond the life of its instances: calls, cold starts, and how long both took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use capsule_faas_model::names::Key;
use capsule_faas_model::record::Status;
use capsule_hdk::Stats;

/// Upper bounds of the buckets of a [`Histogram`], in seconds; the last bucket has none.
pub const BUCKETS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Durations at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Histogram {
    /// Observations in each bucket of [`BUCKETS`] alone, and beyond the last one.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// The sum of all, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Durations as they are observed.
#[derive(Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Durations {
    pub(crate) fn observe(&self, duration: Duration) {
        /// [`BUCKETS`] in nanoseconds.
        const BOUNDS: [u64; BUCKETS.len()] = {
            let mut bounds = [0; BUCKETS.len()];
            let mut index = 0;
            while index < bounds.len() {
                bounds[index] = (BUCKETS[index] * 1e9).round() as u64;
                index += 1;
            }
            bounds
        };
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        let sum = Duration::from_nanos(self.nanoseconds.load(Relaxed)).as_secs_f64();
        Histogram { buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)), sum }
    }
}

/// The counters of one process at one moment, since it was registered or the server started.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ProcessStats {
    /// Its lowest name; a process with two names is counted once.
    pub key: Key,
    /// How it is.
    pub status: Status,
    /// Calls, instances and memory.
    pub calls: Stats,
    /// How long calls took, waiting for an instance included.
    pub latency: Histogram,
    /// How long its starts took: reading or compiling the module, and its own start.
    pub cold_starts: Histogram,
}

/// Adds what only grows; what is there now is taken from `now` alone.
pub(crate) fn add(past: &Stats, now: &Stats) -> Stats {
    let mut sum = gone(*past);
    sum += now;
    sum
}

/// The counters of an instance that is gone: nothing is there now.
pub(crate) fn ended(past: &Stats, last: &Stats) -> Stats {
    gone(add(past, last))
}

fn gone(mut stats: Stats) -> Stats {
    (stats.instances, stats.memory, stats.waiting) = (0, 0, 0);
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let durations = Durations::default();
        for milliseconds in [0, 1, 3, 100, 60_000] {
            durations.observe(Duration::from_millis(milliseconds));
        }
        let histogram = durations.snapshot();
        assert_eq!(histogram.buckets, [1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum - 60.104).abs() < 1e-9, "{}", histogram.sum);
    }
}
