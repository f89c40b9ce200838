//! How long many things took.

use std::fmt;
use std::time::Duration;

/// The times of many calls.
#[derive(Debug, Default)]
pub(crate) struct Timings(Vec<Duration>);

impl Timings {
    /// The time below which `percent` of them are; zero when there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn append(&mut self, mut other: Timings) {
        self.0.append(&mut other.0);
    }
}

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", milliseconds(50), milliseconds(99), milliseconds(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let timings = Timings((1..=200).rev().map(Duration::from_millis).collect());
        for (percent, expected) in [(0, 1), (50, 100), (99, 198), (100, 200)] {
            assert_eq!(timings.percentile(percent), Duration::from_millis(expected), "{percent}");
        }
        assert_eq!(timings.to_string(), "p50 100.00 ms, p99 198.00 ms, longest 200.00 ms");
        assert_eq!(Timings::default().percentile(99), Duration::ZERO);
    }
}
