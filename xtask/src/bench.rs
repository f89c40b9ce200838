//! `cargo xtask bench`: figures as ratios against something measured in the same run.
//!
//! A server is pinned to the first core, the load generator (wrk) to the second. Candidates take turns, A B A B, and
//! the medians of the rounds are printed.

mod http;
mod load;

use anyhow::{Result, bail};

/// How much is measured.
pub(crate) struct Options {
    /// Rounds of each candidate; medians of them are reported.
    pub(crate) rounds: usize,
    /// Seconds of load in a round.
    pub(crate) seconds: u32,
    /// Print JSON instead of a table.
    pub(crate) json: bool,
}

/// Runs `bench NAME [--rounds=N] [--seconds=N] [--json]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut options = Options { rounds: 5, seconds: 3, json: false };
    let mut names = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--rounds", count)) => options.rounds = count.parse()?,
            Some(("--seconds", count)) => options.seconds = count.parse()?,
            None if argument == "--json" => options.json = true,
            None if !argument.starts_with('-') => names.push(argument.as_str()),
            _ => bail!("unknown option `{argument}`; expected --rounds=N, --seconds=N or --json"),
        }
    }
    match names[..] {
        [] | ["http"] => http::run(&options),
        _ => bail!("unknown benchmark `{}`; expected `http`", names.join(" ")),
    }
}
