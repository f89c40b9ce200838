//! Rounds that the host of a virtual machine disturbed least: it takes processor time away without being asked, and what is measured
//! meanwhile says more about its other guests than about servers.

use anyhow::{Context as _, Result};

/// The part of the machine's processor time that the host may take in a round that counts as quiet.
const QUIET: f64 = 0.005;
/// Rounds that are run at most for each that is asked for.
const MOST: usize = 3;

/// Runs rounds until as many were quiet as are `wanted`, or three times as many have run, and answers the quietest ones: chosen by
/// what the host took, never by what was measured. On a machine of its own none is run twice.
pub(super) fn rounds<T>(wanted: usize, mut run: impl FnMut() -> Result<T>) -> Result<Quiet<T>> {
    let mut rounds: Vec<(f64, T)> = Vec::new();
    while rounds.iter().filter(|(taken, _)| *taken <= QUIET).count() < wanted && rounds.len() < MOST * wanted {
        let before = Times::now()?;
        let measured = run()?;
        rounds.push((Times::now()?.taken_since(&before), measured));
    }
    let run = rounds.len();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds.truncate(wanted);
    let taken = rounds.last().map_or(0.0, |(taken, _)| *taken);
    Ok(Quiet { rounds: rounds.into_iter().map(|(_, measured)| measured).collect(), run, taken })
}

/// Rounds, and how they were chosen.
pub(super) struct Quiet<T> {
    pub(super) rounds: Vec<T>,
    /// How many were run.
    pub(super) run: usize,
    /// The largest part of the machine's processor time that the host took in one of those that were chosen.
    pub(super) taken: f64,
}

impl<T> Quiet<T> {
    /// For people.
    pub(super) fn summary(&self) -> String {
        let percent = self.taken * 100.0;
        format!(
            "the quietest {} of {} rounds: the host took at most {percent:.1} % of them",
            self.rounds.len(),
            self.run
        )
    }
}

/// What the processors have done since the machine was started, in units of the system.
struct Times {
    all: u64,
    /// What the host took.
    stolen: u64,
}

impl Times {
    fn now() -> Result<Times> {
        let text = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Times::parse(&text).with_context(|| format!("/proc/stat says something unexpected:\n{text}"))
    }

    /// `cpu user nice system idle iowait irq softirq steal guest guest_nice`, where user holds guest.
    fn parse(text: &str) -> Option<Times> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let parts: Vec<u64> = line.split_whitespace().take(8).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some(Times { all: parts.iter().sum(), stolen: *parts.get(7)? })
    }

    fn taken_since(&self, before: &Times) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_took_is_read() {
        let before = Times::parse("cpu  100 0 50 800 0 0 10 40 7 0\ncpu0 1 2 3\n").unwrap();
        let after = Times::parse("cpu  150 0 60 820 0 0 10 60 9 0\n").unwrap();
        assert!((after.taken_since(&before) - 0.2).abs() < 1e-9);
        assert!(Times::parse("cpu  1 2 3\n").is_none());
    }

    #[test]
    fn no_more_rounds_are_answered_than_wanted() {
        let mut run = 0;
        let quiet = rounds(2, || {
            run += 1;
            Ok(run)
        })
        .unwrap();
        assert_eq!((quiet.rounds.len(), quiet.run), (2, run));
        assert!((2..=6).contains(&run));
    }
}
