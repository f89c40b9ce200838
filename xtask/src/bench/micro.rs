//! `bench micro`: the parts of a call one by one, by criterion.

use anyhow::Result;

use super::Options;
use crate::step::{self, command};

/// Runs all of `benches/micro` in the release profile, on one core with nothing else to do where the machine has another one.
pub(super) fn run(_: &Options) -> Result<()> {
    // What it found last is not compared: other work on the machine would be news each time.
    let words =
        ["cargo", "bench", "--locked", "--package", "bench-micro", "--bench", "micro", "--", "--discard-baseline"];
    step::run(command(".", &words))
}
