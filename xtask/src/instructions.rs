//! `cargo xtask instructions`: a request must not become dearer unnoticed, on whatever machine this runs.
//!
//! Under valgrind the instructions of a request are counted: those of `bench-floor`, and those of `capsule-http` in three ways of serving
//! the same module at the same path. What is compared with [the record](RECORD) is each one's count as a multiple of the floor's, so that
//! another compiler, whose code is better or worse in both, changes little. What differs by more than [`MARGIN`] fails: more is a
//! regression, and less would hide the next one until the record is renewed (`--bless`), in the commit that made it less.
//!
//! What is counted are the programs' own instructions, in the dev profile, in which the tests have built them; another profile has other
//! multiples. What the kernel does is not seen. Valgrind does not know `PAGEMAP_SCAN`, which tells the engine what a fresh instance has to
//! reset: it overwrites all that it would have looked at instead, so that the row `fresh` is dearer here than it is.

mod callgrind;
mod record;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use tempfile::TempDir;

use self::callgrind::{Counted, Valgrind};
use self::record::Record;
use crate::faas::{Client, Start, hosting};
use crate::step::{self, command};

/// Multiples of the floor.
const RECORD: &str = "benches/instructions.toml";

/// How much a multiple may differ from the record's.
const MARGIN: f64 = 0.05;

/// A module that does next to nothing, and the path at which all servers serve it.
const MODULE: &str = "functions/constant/constant.wasm";
const PATH: &str = "/functions/constant";

/// A way of serving, by its name in the record.
type Row = (&'static str, fn(&Stage) -> Result<Counted>);

const ROWS: [Row; 3] = [("direct", Stage::direct), ("hosted", Stage::hosted), ("fresh", Stage::fresh)];

/// Counts, prints and compares. With `--bless` the record is written instead.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut bless = false;
    let mut programs = None;
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--programs", folder)) => programs = Some(PathBuf::from(folder)),
            None if argument == "--bless" => bless = true,
            _ => bail!("unknown option `{argument}`; expected --bless or --programs=DIR"),
        }
    }
    let file = step::root().join(RECORD);
    let record = if bless { Record::default() } else { Record::read(&file)? };
    let stage = Stage::new(programs.as_deref())?;
    let floor = stage.floor()?;
    println!("{:<8}{:>14}{:>10}{:>10}{:>9}", "", "instructions", "multiple", "record", "");
    println!("{:<8}{floor:>14.0}{:>10.3}", "floor", 1.0);
    let mut problems = Vec::new();
    let mut counted = Record::default();
    for (name, count) in ROWS {
        let instructions = count(&stage).with_context(|| format!("`{name}` was not counted"))?;
        let multiple = instructions / floor;
        counted.set(name, multiple);
        if bless {
            println!("{name:<8}{instructions:>14.0}{multiple:>10.3}");
            continue;
        }
        let expected = record.get(name)?;
        let change = (multiple / expected - 1.0) * 100.0;
        println!("{name:<8}{instructions:>14.0}{multiple:>10.3}{expected:>10.3}{change:>+8.1}%");
        problems.extend(verdict(name, expected, multiple));
    }
    if bless {
        return counted.write(&file);
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// What is wrong with a multiple of the floor, and what to do.
fn verdict(name: &str, expected: f64, found: f64) -> Option<String> {
    let change = found / expected - 1.0;
    let percent = change.abs() * 100.0;
    let figures =
        format!("`{name}`: a request takes {found:.3} times the floor's instructions, expected {expected:.3}");
    if change > MARGIN {
        Some(format!(
            "{figures}: {percent:.1} % more. Find out why (`cargo xtask profile`); where it has to be, `cargo xtask instructions --bless` \
             renews {RECORD}, and the commit says what was bought with it"
        ))
    } else if change < -MARGIN {
        Some(format!(
            "{figures}: {percent:.1} % less. Keep what was gained: `cargo xtask instructions --bless` renews {RECORD}"
        ))
    } else {
        None
    }
}

/// The programs, and what they share.
struct Stage {
    programs: PathBuf,
    valgrind: Valgrind,
    /// Compiled code: that of the processor which valgrind shows, and of nobody else.
    cache: TempDir,
    module: String,
}

impl Stage {
    /// Builds the programs unless they are given, and compiles the module.
    fn new(programs: Option<&Path>) -> Result<Stage> {
        let valgrind = Valgrind::new()?;
        let programs = match programs {
            Some(folder) => folder.canonicalize().with_context(|| format!("no folder `{}`", folder.display()))?,
            None => {
                // The same features as for the tests, so that nothing is compiled twice.
                step::run(command(
                    ".",
                    &["cargo", "build", "--locked", "--quiet", "--workspace", "--bins", "--tests"],
                ))?;
                let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
                step::root().join(target).join("debug")
            }
        };
        let module = step::root().join(MODULE).display().to_string();
        let stage = Stage { programs, valgrind, cache: tempfile::tempdir()?, module };
        stage.compile()?;
        Ok(stage)
    }

    /// Fills the cache. A server's compiling child is not followed by valgrind and would compile for another processor than the server's;
    /// `capsule` compiles in its own process.
    fn compile(&self) -> Result<()> {
        let capsule = self.valgrind.plain().arg(self.programs.join("capsule"));
        let finished = self.with_cache(capsule.arg(&self.module).arg("x")).run()?;
        let compiled = std::fs::read_dir(self.cache.path())?.count() > 0;
        ensure!(compiled, "`capsule` under valgrind left no compiled code behind\n{finished:?}");
        Ok(())
    }

    fn with_cache(&self, program: Program) -> Program {
        program.arg(format!("--cacheDir={}", self.cache.path().display()))
    }

    fn floor(&self) -> Result<Counted> {
        let floor = |valgrind: Program| valgrind.arg(self.programs.join("bench-floor"));
        self.valgrind.count(floor, |_| Ok(()), PATH).context("`floor` was not counted")
    }

    fn direct(&self) -> Result<Counted> {
        self.served(&[])
    }

    fn fresh(&self) -> Result<Counted> {
        self.served(&["--instances=fresh"])
    }

    fn served(&self, more: &[&str]) -> Result<Counted> {
        let server = |valgrind| self.server(valgrind).arg(&self.module).arg("--httpHost=127.0.0.1").args(more);
        self.valgrind.count(server, |_| Ok(()), PATH)
    }

    fn hosted(&self) -> Result<Counted> {
        let server = |valgrind| hosting(self.server(valgrind)).arg("--dataDir=none");
        let start = |server: &HttpServer| {
            let start = Start { place: "constant", module: &self.module, args: &[], env: &[] };
            Client::open(server.address())?.start(&start).map(drop)
        };
        self.valgrind.count(server, start, PATH)
    }

    /// Valgrind has room for few memories of 4 GiB.
    fn server(&self, valgrind: Program) -> Program {
        self.with_cache(valgrind.arg(self.programs.join("capsule-http"))).arg("--maxInstances=3")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_the_margin_all_is_well_and_beyond_it_says_what_to_do() {
        for found in [1.5, 1.43, 1.57] {
            assert_eq!(verdict("direct", 1.5, found), None, "{found}");
        }
        let more = verdict("direct", 1.5, 1.8).unwrap();
        let begin = "`direct`: a request takes 1.800 times the floor's instructions, expected 1.500: 20.0 % more. ";
        assert!(more.starts_with(begin) && more.contains("cargo xtask profile"), "{more}");
        let less = verdict("fresh", 10.0, 9.0).unwrap();
        assert!(less.contains(": 10.0 % less. ") && less.contains("cargo xtask instructions --bless"), "{less}");
    }
}
