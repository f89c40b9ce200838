//! `cargo xtask fuzz`: builds the targets of `fuzz/` and runs them one after the other, for a few minutes in all.
//!
//! The targets are built without the address sanitizer: what they fuzz is safe Rust, its mistakes are panics and broken promises,
//! and the engine alone would take several times as long to build and to run. Whoever looks for mistakes in the engine calls
//! `cargo +nightly fuzz run modules` in `fuzz/`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, command};

/// A target's name, and its share of the time.
const TARGETS: [(&str, u32); 5] = [("frames", 1), ("documents", 2), ("flags", 2), ("faas_bodies", 3), ("modules", 7)];
/// How long all of them run together.
const SECONDS: u32 = 300;

/// What `libFuzzer` is told: a run of more than a minute is a finding, and so are more than 4 GB of memory.
const SETTINGS: [&str; 4] = ["-timeout=60", "-max_len=4096", "-rss_limit_mb=4096", "-print_final_stats=1"];

/// Runs `fuzz [--seconds=N] [TARGET...]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::read(arguments)?;
    tools()?;
    let build = |names: &[&str]| step::run(cargo(&[&["build", "-s", "none"], names].concat()));
    if options.targets.len() == TARGETS.len() {
        build(&[])?;
    } else {
        options.targets.iter().try_for_each(|(name, _)| build(&[*name]))?;
    }
    let shares: u32 = options.targets.iter().map(|(_, share)| share).sum();
    let mut findings = 0;
    for (name, share) in &options.targets {
        let seconds = (u64::from(options.seconds) * u64::from(*share) / u64::from(shares)).max(1);
        let seen = fuzz(name, seconds)?;
        println!("{name}: {}", seen.shown());
        findings += usize::from(seen.finding.is_some());
    }
    if findings > 0 {
        bail!("{findings} of {} targets found something", options.targets.len());
    }
    println!("{} targets, nothing found", options.targets.len());
    Ok(())
}

struct Options {
    seconds: u32,
    targets: Vec<(&'static str, u32)>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options> {
        let (mut seconds, mut targets) = (SECONDS, Vec::new());
        for argument in arguments {
            let target = TARGETS.into_iter().find(|(name, _)| name == argument);
            match (argument.split_once('='), target) {
                (Some(("--seconds", count)), _) => {
                    seconds = count.parse().with_context(|| format!("expected a number, found `{argument}`"))?;
                }
                (_, Some(target)) => targets.push(target),
                _ => bail!(
                    "expected `--seconds=N` or one of {}, found `{argument}`",
                    TARGETS.map(|(name, _)| format!("`{name}`")).join(", ")
                ),
            }
        }
        if targets.is_empty() {
            targets = TARGETS.to_vec();
        }
        Ok(Options { seconds, targets })
    }
}

/// Says what is missing.
fn tools() -> Result<()> {
    let mut nightly = command(".", &["cargo", "+nightly", "--version"]);
    let has_nightly = nightly.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let missing: Vec<&str> = [
        (has_nightly, "`rustup toolchain install nightly`"),
        (step::is_installed("cargo-fuzz"), "`cargo install cargo-fuzz`"),
    ]
    .into_iter()
    .filter(|(there, _)| !there)
    .map(|(_, install)| install)
    .collect();
    match missing[..] {
        [] => Ok(()),
        _ => bail!("fuzzing needs the nightly toolchain and cargo-fuzz: {}", missing.join(" and ")),
    }
}

/// `cargo fuzz` in its folder.
fn cargo(words: &[&str]) -> Command {
    command("fuzz", &[&["cargo", "+nightly", "fuzz"], words].concat())
}

/// Runs one target. Its whole output goes to a file beside what it finds.
fn fuzz(name: &str, seconds: u64) -> Result<Seen> {
    let folder = step::root().join("fuzz");
    let (corpus, seeds) = (format!("corpus/{name}"), format!("seeds/{name}"));
    for made in [&corpus, &seeds, "artifacts"] {
        fs::create_dir_all(folder.join(made)).with_context(|| format!("cannot make `fuzz/{made}`"))?;
    }
    let time = format!("-max_total_time={seconds}");
    // A module is generated from many bytes: long inputs from the beginning. 100 is the usual pace.
    let pace = if name == "modules" { "-len_control=0" } else { "-len_control=100" };
    let mut words = vec!["run", "-s", "none", name, &corpus, &seeds, "--", &time, pace];
    words.extend(SETTINGS);
    let mut log = fs::File::create(folder.join(format!("artifacts/{name}.log")))?;
    let begin = Instant::now();
    let mut child = cargo(&words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo fuzz")?;
    let mut seen = Seen::default();
    if let Some(stderr) = child.stderr.take() {
        let mut reader = BufReader::new(stderr);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).context("cannot read the output")? > 0 {
            log.write_all(&bytes)?;
            seen.read(String::from_utf8_lossy(&bytes).trim_end());
            bytes.clear();
        }
    }
    let status = child.wait().context("cannot wait for cargo fuzz")?;
    seen.seconds = begin.elapsed().as_secs();
    if !status.success() && seen.finding.is_none() {
        bail!("`{name}` did not run ({status}); its output is in fuzz/artifacts/{name}.log");
    }
    Ok(seen)
}

/// What the output of a run says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    runs: u64,
    seconds: u64,
    /// Edges that were reached.
    coverage: u64,
    /// Inputs that reach different ones.
    corpus: u64,
    /// What broke first.
    reason: Option<String>,
    /// The file of the input that broke it.
    finding: Option<String>,
    /// The next line belongs to the reason.
    goes_on: bool,
}

impl Seen {
    fn read(&mut self, line: &str) {
        if std::mem::take(&mut self.goes_on) {
            self.reason = self.reason.take().map(|reason| format!("{reason} {line}"));
        }
        if let Some((runs, rest)) = line.strip_prefix('#').and_then(|rest| rest.split_once('\t')) {
            self.runs = runs.parse().unwrap_or(self.runs);
            self.coverage = behind(rest, "cov: ").unwrap_or(self.coverage);
            self.corpus = behind(rest, "corp: ").unwrap_or(self.corpus);
        } else if let Some(runs) = behind(line, "stat::number_of_executed_units: ") {
            self.runs = runs;
        } else if let Some(file) = line.split("Test unit written to ").nth(1) {
            self.finding = Some(file.to_owned());
        } else if self.reason.is_none() && (line.contains(" panicked at ") || line.contains("ERROR: libFuzzer: ")) {
            self.goes_on = line.ends_with(':');
            let start = line.find("panicked at").or_else(|| line.find("libFuzzer"));
            self.reason = start.map(|start| line[start..].to_owned());
        }
    }

    fn shown(&self) -> String {
        let Seen { runs, seconds, coverage, corpus, .. } = self;
        let end = match &self.finding {
            None => "nothing found".to_owned(),
            Some(file) => format!("FOUND: {}; the input is {file}", self.reason.as_deref().unwrap_or("a crash")),
        };
        format!("{runs} runs in {seconds} s, coverage {coverage}, corpus {corpus}; {end}")
    }
}

/// The number behind these words.
fn behind(line: &str, words: &str) -> Option<u64> {
    let rest = line.split(words).nth(1)?.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(output: &str) -> String {
        let mut seen = Seen { seconds: 7, ..Seen::default() };
        output.lines().for_each(|line| seen.read(line));
        seen.shown()
    }

    #[test]
    fn the_output_of_a_run_is_summed_up() {
        let quiet = "INFO: Seed: 1\n\
            #2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 27Mb\n\
            #1057\tNEW    cov: 433 ft: 774 corp: 80/3366b lim: 147 exec/s: 0 rss: 27Mb L: 77/140 MS: 2 x-\n\
            Done 2048 runs in 8 second(s)\nstat::number_of_executed_units: 2048\n";
        assert_eq!(seen(quiet), "2048 runs in 7 s, coverage 433, corpus 80; nothing found");
    }

    #[test]
    fn a_finding_is_shown_with_its_input() {
        let panic = "#9\tNEW    cov: 5 ft: 7 corp: 2/3b exec/s: 0\n\
            thread '<unnamed>' (1) panicked at fuzz_targets/frames.rs:67:9:\nassertion failed: exact\nstack backtrace:\n\
            ==1== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='/p/fuzz/artifacts/frames/'; Test unit written to /p/fuzz/artifacts/frames/crash-64\n";
        assert_eq!(
            seen(panic),
            "9 runs in 7 s, coverage 5, corpus 2; FOUND: panicked at fuzz_targets/frames.rs:67:9: assertion failed: exact; \
             the input is /p/fuzz/artifacts/frames/crash-64"
        );
        let slow = "==1== ERROR: libFuzzer: timeout after 60 seconds\nx; Test unit written to a/timeout-1\n";
        assert!(seen(slow).ends_with("FOUND: libFuzzer: timeout after 60 seconds; the input is a/timeout-1"));
    }

    #[test]
    fn targets_and_time_are_chosen() {
        let read = |words: &[&str]| Options::read(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read(&[]).unwrap().targets.len(), TARGETS.len());
        let chosen = read(&["--seconds=9", "flags"]).unwrap();
        assert_eq!((chosen.seconds, chosen.targets), (9, vec![("flags", 2)]));
        assert!(read(&["--seconds=x"]).is_err() && read(&["--fast"]).is_err() && read(&["other"]).is_err());
    }

    #[test]
    fn every_target_of_the_folder_is_known() {
        let manifest = fs::read_to_string(step::root().join("fuzz/Cargo.toml")).unwrap();
        let names: Vec<&str> =
            manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|bin| bin.split('"').next()).collect();
        assert_eq!(names, TARGETS.map(|(name, _)| name));
    }
}
