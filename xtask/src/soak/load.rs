//! Many clients at once: each does what it does again and again, and what came of it is counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use super::report::Report;
use super::stage::Stage;
use super::usage::{self, Sample};
use crate::drill::blue_green;
use crate::drill::pace::{Failures, wait_until};
use crate::faas::Client;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// The longest that a client sleeps before it looks whether the load is over.
const NAP: Duration = Duration::from_millis(500);

/// Something that clients do.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) clients: u32,
    /// From the beginning of one to that of the next, of one client.
    pub(super) every: Duration,
    /// Does it once.
    pub(super) act: fn(&Stage, &mut Caller) -> Outcome,
    /// What the server counts of it.
    pub(super) counted: Option<Counted>,
}

/// A line of the metrics.
pub(super) struct Counted {
    pub(super) metric: &'static str,
    /// What stands in the labels of each line that is meant.
    pub(super) labels: &'static [&'static str],
    /// How much is counted each time.
    pub(super) each: usize,
}

pub(super) type Outcome = Result<(), Bad>;

/// What may never come of it.
pub(super) enum Bad {
    /// An answer that looks good, and says something else.
    Wrong(Error),
    /// None, or one that says that it failed.
    Failed(Error),
}

impl From<Error> for Bad {
    fn from(error: Error) -> Bad {
        Bad::Failed(error)
    }
}

/// One client.
pub(super) struct Caller {
    pub(super) address: SocketAddr,
    /// Among those of its kind.
    pub(super) number: u32,
    /// How often it has done it before.
    pub(super) round: usize,
    client: Option<Client>,
}

impl Caller {
    /// Its connection, kept from one call to the next as long as they succeed.
    pub(super) fn client(&mut self) -> Result<&mut Client> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::open(self.address)?,
        };
        Ok(self.client.insert(client))
    }
}

/// What came of a kind.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) count: AtomicUsize,
    pub(super) wrong: Failures,
    pub(super) failed: Failures,
}

impl Tally {
    fn add(&self, outcome: &Outcome) {
        self.count.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(()) => {}
            Err(Bad::Wrong(error)) => self.wrong.add(error),
            Err(Bad::Failed(error)) => self.failed.add(error),
        }
    }
}

/// Numbers of all kinds together.
pub(super) struct Sum {
    pub(super) count: usize,
    pub(super) wrong: usize,
    pub(super) failed: usize,
}

pub(super) struct Load {
    pub(super) kinds: Vec<(Kind, Tally)>,
}

impl Load {
    pub(super) fn new(kinds: Vec<Kind>) -> Load {
        Load { kinds: kinds.into_iter().map(|kind| (kind, Tally::default())).collect() }
    }

    /// Has all clients do what they do for some time, and watches the server meanwhile.
    pub(super) fn run(&self, stage: &Stage, time: Duration, report: &Report) -> Result<Vec<Sample>> {
        let (begin, over) = (Instant::now(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for (kind, tally) in &self.kinds {
                for number in 0..kind.clients {
                    let over = &over;
                    scope.spawn(move || work(stage, kind, tally, number, over));
                }
            }
            let samples = self.watch(stage, begin, time, report);
            over.store(true, Ordering::Relaxed);
            samples
        })
    }

    /// What is done in turns is done to its end.
    pub(super) fn finish(&self, stage: &Stage) {
        let Some((kind, tally)) = self.kinds.iter().find(|(kind, _)| kind.name == "acts") else { return };
        let mut caller = Caller { address: stage.address, number: 0, round: 0, client: None };
        while !stage.acts.load(Ordering::Relaxed).is_multiple_of(blue_green::ACTS.len()) {
            tally.add(&(kind.act)(stage, &mut caller));
        }
    }

    /// How often a kind was done.
    pub(super) fn count(&self, name: &str) -> usize {
        let counts = self.kinds.iter().filter(|(kind, _)| kind.name == name);
        counts.map(|(_, tally)| tally.count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn sum(&self) -> Sum {
        let mut sum = Sum { count: 0, wrong: 0, failed: 0 };
        for (_, tally) in &self.kinds {
            sum.count += tally.count.load(Ordering::Relaxed);
            sum.wrong += tally.wrong.count();
            sum.failed += tally.failed.count();
        }
        sum
    }

    fn watch(&self, stage: &Stage, begin: Instant, time: Duration, report: &Report) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut minutes = 1;
        loop {
            let at = begin.elapsed();
            let usage = usage::of(stage)?;
            if at >= MINUTE * minutes {
                report.progress(minutes, &self.sum(), &usage);
                minutes += 1;
            }
            samples.push(Sample { at, usage });
            if at >= time {
                return Ok(samples);
            }
            wait_until((begin + at + SAMPLE).min(begin + time));
        }
    }
}

fn work(stage: &Stage, kind: &Kind, tally: &Tally, number: u32, over: &AtomicBool) {
    let mut caller = Caller { address: stage.address, number, round: 0, client: None };
    // Not all at the same moment.
    let mut due = Instant::now() + kind.every * number / kind.clients;
    loop {
        while Instant::now() < due {
            if over.load(Ordering::Relaxed) {
                return;
            }
            wait_until(due.min(Instant::now() + NAP));
        }
        if over.load(Ordering::Relaxed) {
            return;
        }
        let outcome = (kind.act)(stage, &mut caller);
        if outcome.is_err() {
            caller.client = None;
        }
        tally.add(&outcome);
        caller.round += 1;
        // One that is late does not hurry afterwards.
        due = (due + kind.every).max(Instant::now());
    }
}
