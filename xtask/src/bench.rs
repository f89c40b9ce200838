//! `cargo xtask bench`: figures as ratios against something measured in the same run.
//!
//! A server is pinned to the first core, the load generator (wrk) to the second. Candidates take turns, A B A B, and
//! the medians of the rounds are printed. `density` is about memory and first calls instead, on all cores.

mod compare;
pub(crate) mod density;
mod faas;
mod http;
mod load;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::programs;

/// How much is measured, and what.
pub(crate) struct Options {
    /// Rounds of each candidate; medians of them are reported.
    pub(crate) rounds: usize,
    /// Seconds of load in a round.
    pub(crate) seconds: u32,
    /// Functions in one server.
    pub(crate) functions: usize,
    /// Print JSON instead of a table.
    pub(crate) json: bool,
    /// Where the programs are; the release profile is built when this is not given.
    pub(crate) programs: Option<PathBuf>,
}

/// Runs `bench NAME [OPTION...]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut options = Options { rounds: 5, seconds: 3, functions: 1000, json: false, programs: None };
    let mut names = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--rounds", count)) => options.rounds = count.parse()?,
            Some(("--seconds", count)) => options.seconds = count.parse()?,
            Some(("--functions", count)) => options.functions = count.parse()?,
            Some(("--programs", folder)) => options.programs = Some(folder.into()),
            None if argument == "--json" => options.json = true,
            None if !argument.starts_with('-') => names.push(argument.as_str()),
            _ => bail!(
                "unknown option `{argument}`; expected --rounds=N, --seconds=N, --functions=N, --programs=DIR or --json"
            ),
        }
    }
    let measure = match names[..] {
        [] | ["http"] => http::run,
        ["faas"] => faas::run,
        ["density"] => density::run,
        _ => bail!("unknown benchmark `{}`; expected `http`, `faas` or `density`", names.join(" ")),
    };
    if !options.json {
        println!("{}", programs::machine());
    }
    measure(&options)
}
