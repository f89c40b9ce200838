//! `cargo xtask soak`: one server of functions under everything at once, for ten minutes: calls that are right, that trap, hang and
//! fail, large bodies, clients that go away, functions that sleep, move and are published, and a Redis that crashes. No answer may
//! be wrong, no call may fail, and at the end the server has what it had before.

mod calls;
mod load;
mod metrics;
mod report;
mod stage;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::programs;
use load::Load;
use report::Report;
use stage::Stage;
use usage::{Sample, Usage};

const SECONDS: u64 = 600;
/// Before anything is compared: what is made at the first use is there afterwards.
const WARM_UP: Duration = Duration::from_secs(20);

/// What the command is told.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// How long the load lasts.
    seconds: u64,
    /// The folder of the programs.
    programs: Option<PathBuf>,
    /// Print JSON instead of text.
    json: bool,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options> {
        let mut options = Options { seconds: SECONDS, programs: None, json: false };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("--minutes", count)) => options.seconds = 60 * number(count)?,
                Some(("--seconds", count)) => options.seconds = number(count)?,
                Some(("--programs", folder)) => options.programs = Some(folder.into()),
                None if argument == "--json" => options.json = true,
                _ => bail!("unknown option `{argument}`; expected --minutes=N, --seconds=N, --programs=DIR or --json"),
            }
        }
        Ok(options)
    }
}

fn number(text: &str) -> Result<u64> {
    // A day: what is counted and sampled meanwhile has to fit into memory.
    match text.parse() {
        Ok(number @ 1..=86_400) => Ok(number),
        _ => bail!("expected a number from 1 to 86400, found `{text}`"),
    }
}

/// Runs `soak [OPTION...]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::read(arguments)?;
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http"])?;
    soak(&folder, &options)
}

fn soak(folder: &Path, options: &Options) -> Result<()> {
    let mut report = Report::new(options.json);
    report.note(&programs::machine());
    let stage = Stage::start(folder).context("the server and its functions do not start")?;
    let load = Load::new(calls::kinds());
    let watched = under_load(&stage, &load, options, &report);
    report.load(&load);
    match watched {
        Ok(watched) => {
            compare(&stage, &load, &watched, &mut report);
            report.line("end", stage.stop(&load));
        }
        Err(error) => report.line("server", Err(error.context(stage.last_words()))),
    }
    report.note(&programs::machine());
    report.finish(&load)
}

/// What the server used.
struct Watched {
    before: Usage,
    meanwhile: Vec<Sample>,
    after: Usage,
}

fn under_load(stage: &Stage, load: &Load, options: &Options, report: &Report) -> Result<Watched> {
    load.run(stage, WARM_UP, report)?;
    let before = usage::at_rest(stage)?;
    let meanwhile = load.run(stage, Duration::from_secs(options.seconds), report)?;
    // The functions are those that there were.
    load.finish(stage);
    let after = usage::back_to(stage, &before)?;
    Ok(Watched { before, meanwhile, after })
}

fn compare(stage: &Stage, load: &Load, watched: &Watched, report: &mut Report) {
    let Watched { before, meanwhile, after } = watched;
    report.line("metrics", metrics::compared(stage, load));
    report.line("seen", metrics::seen(stage));
    report.line("resident memory", usage::growth(meanwhile));
    report.line("descriptors", usage::same_descriptors(before, after));
    report.line("threads", usage::same_threads(before, after));
    report.note(&format!("at rest: {before}; afterwards {after}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options> {
        Options::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn times_and_folders_are_read() {
        assert_eq!(options(&[]).unwrap(), Options { seconds: 600, programs: None, json: false });
        let some = options(&["--minutes=2", "--programs=x", "--json"]).unwrap();
        assert_eq!(some, Options { seconds: 120, programs: Some("x".into()), json: true });
        assert_eq!(options(&["--seconds=7"]).unwrap().seconds, 7);
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for (word, expected) in [
            ("--minutes=0", "expected a number from 1 to 86400, found `0`"),
            ("--seconds=x", "expected a number from 1 to 86400, found `x`"),
            ("now", "unknown option `now`; expected --minutes=N, --seconds=N, --programs=DIR or --json"),
        ] {
            assert_eq!(options(&[word]).unwrap_err().to_string(), expected, "{word}");
        }
    }
}
