//! `cargo xtask bench`: figures as ratios against something measured in the same run.
//!
//! Where requests are counted, a server is pinned to the first core, the load generator (wrk) to the second. Candidates take turns,
//! A B A B, and the medians of the quietest rounds (`quiet.rs`) are printed. `cold`, `density` and `outbound` are about first calls, memory and waiting
//! instead, on all cores; `micro` is about parts of a call.

mod bodies;
mod cold;
mod compare;
pub(crate) mod density;
mod faas;
mod http;
mod idle;
mod in_process;
mod json;
pub(crate) mod load;
mod micro;
mod outbound;
mod peers;
mod quiet;
mod scaling;
mod slow;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::programs;

const USAGE: &str = "expected --rounds=N, --seconds=N, --functions=N, --modules=N, --memory=SIZE, --programs=DIR, --reference=PATH, --wasmtime=PATH, \
                     --component=PATH or --json";

/// How much is measured, and what.
pub(crate) struct Options {
    /// Rounds of each candidate; medians of them are reported.
    pub(crate) rounds: usize,
    /// Seconds of load in a round.
    pub(crate) seconds: u32,
    /// Functions in one server.
    pub(crate) functions: usize,
    /// Different modules among them, in `density`; as many when it is not given.
    pub(crate) modules: Option<usize>,
    /// What they may take of the server's memory together, in `density`: what `--maxTotalMemory` takes.
    pub(crate) memory: Option<String>,
    /// Print JSON instead of a table.
    pub(crate) json: bool,
    /// Where the programs are; the release profile is built when this is not given.
    pub(crate) programs: Option<PathBuf>,
    /// The reference's `capsule-http`.
    pub(crate) reference: Option<PathBuf>,
    /// `wasmtime`, which serves `component`.
    pub(crate) wasmtime: Option<PathBuf>,
    /// A component of `wasi:http` that answers a constant.
    pub(crate) component: Option<PathBuf>,
}

/// Runs `bench NAME [OPTION...]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut options = Options {
        rounds: 5,
        seconds: 3,
        functions: 1000,
        modules: None,
        memory: None,
        json: false,
        programs: None,
        reference: None,
        wasmtime: None,
        component: None,
    };
    let mut names = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--rounds", count)) => options.rounds = count.parse()?,
            Some(("--seconds", count)) => options.seconds = count.parse()?,
            Some(("--functions", count)) => options.functions = count.parse()?,
            Some(("--modules", count)) => options.modules = Some(count.parse()?),
            Some(("--memory", size)) => options.memory = Some(size.to_owned()),
            Some(("--programs", folder)) => options.programs = Some(folder.into()),
            Some(("--reference", path)) => options.reference = Some(path.into()),
            Some(("--wasmtime", path)) => options.wasmtime = Some(path.into()),
            Some(("--component", path)) => options.component = Some(path.into()),
            None if argument == "--json" => options.json = true,
            None if !argument.starts_with('-') => names.push(argument.as_str()),
            _ => bail!("unknown option `{argument}`; {USAGE}"),
        }
    }
    ensure!(names != ["micro"] || arguments.len() == 1, "`bench micro` takes no options");
    let measure = match names[..] {
        [] | ["http"] => http::run,
        ["faas"] => faas::run,
        ["density"] => density::run,
        ["cold"] => cold::run,
        ["outbound"] => outbound::run,
        ["bodies"] => bodies::run,
        ["scaling"] => scaling::run,
        ["json"] => json::run,
        ["micro"] => micro::run,
        _ => bail!(
            "unknown benchmark `{}`; expected `http`, `faas`, `density`, `cold`, `outbound`, `bodies`, `scaling`, `json` or `micro`",
            names.join(" ")
        ),
    };
    if !options.json {
        println!("{}", programs::machine());
    }
    measure(&options)
}
