//! What the server uses: memory, descriptors, threads; under load, and at rest before and after it.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::stage::Stage;
use crate::drill::pace::wait_until;
use crate::programs;

/// Memory may grow by less than this share after the first minute.
const GROWTH: f64 = 0.10;
const FIRST_MINUTE: Duration = Duration::from_secs(60);
/// Two windows of this length are compared, or of less when there are not two after the first minute.
const WINDOW: Duration = Duration::from_secs(60);
/// Fewer samples do not say anything.
const SHORTEST: Duration = Duration::from_secs(30);
/// More than there were before the load: connections that pools keep, to Redis and to children.
const DESCRIPTORS: usize = 4;
/// More than there were before the load: threads that block come and go as they are needed.
const THREADS: usize = 4;
/// At rest is who has not changed for that long: threads for what blocks go after ten seconds.
const STILL: Duration = Duration::from_secs(12);
const LONGEST: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    /// KiB
    resident: u64,
    descriptors: usize,
    threads: usize,
}

impl Usage {
    pub(super) fn mib(&self) -> f64 {
        mib(self.resident)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB resident, {} descriptors, {} threads", self.mib(), self.descriptors, self.threads)
    }
}

/// Usage at some time after the beginning.
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) usage: Usage,
}

pub(super) fn of(stage: &Stage) -> Result<Usage> {
    let process = Path::new("/proc").join(stage.server().process.id().to_string());
    let count = |folder: &str| anyhow::Ok(std::fs::read_dir(process.join(folder))?.count());
    let read = || {
        let resident = programs::resident(stage.server())?;
        anyhow::Ok(Usage { resident, descriptors: count("fd")?, threads: count("task")? })
    };
    read().context("the server has ended")
}

/// What it uses when nothing is done and nothing changes any more.
pub(super) fn at_rest(stage: &Stage) -> Result<Usage> {
    let begin = Instant::now();
    let (mut last, mut since) = (of(stage)?, begin);
    while since.elapsed() < STILL {
        ensure!(begin.elapsed() < LONGEST, "the server does not come to rest: {last}");
        wait_until(Instant::now() + LOOK);
        let now = of(stage)?;
        if (now.descriptors, now.threads) != (last.descriptors, last.threads) {
            since = Instant::now();
        }
        last = now;
    }
    Ok(last)
}

/// What it uses as soon as descriptors and threads are what they were, or when that takes too long.
pub(super) fn back_to(stage: &Stage, before: &Usage) -> Result<Usage> {
    let begin = Instant::now();
    loop {
        let now = of(stage)?;
        let is_back = now.descriptors <= before.descriptors && now.threads <= before.threads;
        if is_back || begin.elapsed() >= LONGEST {
            return Ok(now);
        }
        wait_until(Instant::now() + LOOK);
    }
}

pub(super) fn same_descriptors(before: &Usage, after: &Usage) -> Result<String> {
    same(before.descriptors, after.descriptors, DESCRIPTORS)
}

pub(super) fn same_threads(before: &Usage, after: &Usage) -> Result<String> {
    same(before.threads, after.threads, THREADS)
}

fn same(before: usize, after: usize, more: usize) -> Result<String> {
    let line = format!("{before} before, {after} after, {more} more are allowed");
    if after > before + more { bail!("{line}") } else { Ok(line) }
}

/// Compares memory just after the first minute with that at the end.
pub(super) fn growth(samples: &[Sample]) -> Result<String> {
    let end = samples.last().context("nobody looked at the memory")?.at;
    let first = peak(samples.iter().filter(|sample| sample.at <= FIRST_MINUTE));
    let window = WINDOW.min(end.saturating_sub(FIRST_MINUTE) / 2);
    if window < SHORTEST {
        return Ok(format!("up to {:.1} MiB; not judged, for which the load has to last two minutes", mib(first)));
    }
    let early = Window::of(samples, FIRST_MINUTE, FIRST_MINUTE + window);
    let late = Window::of(samples, end - window, end);
    let growth = late.median as f64 / early.median as f64 - 1.0;
    let line = format!(
        "first minute up to {:.1} MiB; the {} s after it {early}; the last {} s {late}; growth {:+.1} %",
        mib(first),
        window.as_secs(),
        window.as_secs(),
        growth * 100.0
    );
    if growth < GROWTH { Ok(line) } else { bail!("{line}, which has to be below {:.0} %", GROWTH * 100.0) }
}

/// Memory in a part of the time, in KiB.
struct Window {
    median: u64,
    most: u64,
}

impl Window {
    fn of(samples: &[Sample], from: Duration, to: Duration) -> Window {
        let within = samples.iter().filter(|sample| (from..=to).contains(&sample.at));
        let mut all: Vec<u64> = within.map(|sample| sample.usage.resident).collect();
        all.sort_unstable();
        Window { median: all.get(all.len() / 2).copied().unwrap_or(0), most: all.last().copied().unwrap_or(0) }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "median {:.1}, most {:.1} MiB", mib(self.median), mib(self.most))
    }
}

fn peak<'a>(samples: impl Iterator<Item = &'a Sample>) -> u64 {
    samples.map(|sample| sample.usage.resident).max().unwrap_or(0)
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample a second, `per_second` KiB more each time after the first minute.
    fn samples(seconds: u64, per_second: u64) -> Vec<Sample> {
        let usage =
            |at: u64| Usage { resident: 102_400 + at.saturating_sub(60) * per_second, descriptors: 30, threads: 10 };
        (0..=seconds).map(|at| Sample { at: Duration::from_secs(at), usage: usage(at) }).collect()
    }

    #[test]
    fn growth_is_that_after_the_first_minute() {
        assert_eq!(
            growth(&samples(300, 0)).unwrap(),
            "first minute up to 100.0 MiB; the 60 s after it median 100.0, most 100.0 MiB; \
             the last 60 s median 100.0, most 100.0 MiB; growth +0.0 %"
        );
        // The medians are 180 s apart.
        assert!(growth(&samples(300, 50)).unwrap().ends_with("growth +8.7 %"));
        let error = growth(&samples(300, 60)).unwrap_err().to_string();
        assert!(error.ends_with("growth +10.4 %, which has to be below 10 %"), "{error}");
    }

    #[test]
    fn short_runs_are_not_judged() {
        assert!(growth(&samples(119, 1000)).unwrap().contains("not judged"));
        assert!(growth(&samples(120, 1000)).is_err());
        assert!(growth(&[]).is_err());
    }

    #[test]
    fn a_few_more_are_the_same() {
        assert_eq!(same(30, 34, 4).unwrap(), "30 before, 34 after, 4 more are allowed");
        assert_eq!(same(30, 35, 4).unwrap_err().to_string(), "30 before, 35 after, 4 more are allowed");
        assert!(same(30, 2, 4).is_ok());
    }
}
