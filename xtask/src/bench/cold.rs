//! `bench cold`: how long first answers take. Of processes that start, with a compile cache and without one, beside a program that does
//! nothing; and of functions in a server that are registered, not in memory, and whose code is in the cache on disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use capsule_test::guests;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use tempfile::TempDir;

use super::Options;
use super::density::{call, register};
use super::load::median;
use super::table::{Column, Table, column};
use crate::faas::{Kept, each};
use crate::programs;
use crate::timings::Timings;

/// Starts in a round.
const STARTS: usize = 10;

const COLUMNS: &[Column] = &[
    column("count", "count", "", 0),
    column("p50", "p50Milliseconds", "ms", 2),
    column("p99", "p99Milliseconds", "ms", 2),
    column("longest", "longestMilliseconds", "ms", 2),
    column("RSS", "residentMiB", "MiB", 1),
];

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    let starts = Starts::new(programs::folder(options.programs.as_deref(), &["capsule", "capsule-http"])?)?;
    let table = Table::new(options.json, "from start to end, or to first answer", COLUMNS);
    let kinds = Starts::kinds();
    let mut measured: Vec<(Timings, Vec<f64>)> = kinds.iter().map(|_| Default::default()).collect();
    // Fills the cache.
    for (_, start) in kinds {
        start(&starts)?;
    }
    for _ in 0..options.rounds * STARTS {
        for ((_, start), (timings, resident)) in kinds.iter().zip(&mut measured) {
            let start = start(&starts)?;
            timings.push(start.time);
            resident.extend(start.resident);
        }
    }
    for ((name, _), (timings, resident)) in kinds.iter().zip(measured) {
        row(&table, name, &timings, (!resident.is_empty()).then(|| median(resident)));
    }
    functions(&starts.folder, options, &table)
}

/// A server that is started again, so that it has no function in memory, and called over one connection.
fn functions(folder: &Path, options: &Options, table: &Table) -> Result<()> {
    let module = std::fs::read(guests::function("hey/hey.wasm")?)?;
    let kept = Kept::start(folder)?;
    register(&kept, &module, options.functions, options.functions, &[])?;
    let kept = kept.stopped_and_started()?;
    let address = kept.server.address();
    let cold = each(address, 1, options.functions, call)?;
    let resident = || Ok::<_, anyhow::Error>(programs::resident(&kept.server)? as f64 / 1024.0);
    row(table, "hosted, first call after a restart", &cold, Some(resident()?));
    let warm = each(address, 1, options.functions, call)?;
    row(table, "hosted, second call", &warm, Some(resident()?));
    Ok(())
}

fn row(table: &Table, name: &str, timings: &Timings, resident: Option<f64>) {
    let time = |percent| Some(timings.percentile(percent).as_secs_f64() * 1e3);
    table.row(name, &[Some(timings.count() as f64), time(50), time(99), time(100), resident]);
}

/// What is started, and where.
struct Starts {
    folder: PathBuf,
    /// Where programs run: a module writes a file there.
    work: TempDir,
    /// For compiled code.
    caches: TempDir,
    /// For the terminal.
    command: PathBuf,
    /// For HTTP.
    module: PathBuf,
}

/// One start.
struct Started {
    time: Duration,
    /// MiB, of what still runs.
    resident: Option<f64>,
}

type Kind = fn(&Starts) -> Result<Started>;

impl Starts {
    fn new(folder: PathBuf) -> Result<Starts> {
        let (command, module) = (guests::function("cli-hello/cli-hello.wasm")?, guests::function("hey/hey.wasm")?);
        Ok(Starts { folder, work: tempfile::tempdir()?, caches: tempfile::tempdir()?, command, module })
    }

    fn kinds() -> [(&'static str, Kind); 5] {
        [
            ("floor: /bin/true", Starts::floor),
            ("capsule cli-hello.wasm", Starts::capsule),
            ("capsule cli-hello.wasm, empty cache", Starts::capsule_compiling),
            ("capsule-http hey.wasm", Starts::server),
            ("capsule-http hey.wasm, empty cache", Starts::server_compiling),
        ]
    }

    fn floor(&self) -> Result<Started> {
        run_once(Program::at("/bin/true"))
    }

    fn capsule(&self) -> Result<Started> {
        self.command(&self.caches.path().join("full"))
    }

    fn capsule_compiling(&self) -> Result<Started> {
        self.command(tempfile::tempdir_in(&self.caches)?.path())
    }

    fn command(&self, cache: &Path) -> Result<Started> {
        let program = Program::at(self.folder.join("capsule")).current_dir(&self.work);
        run_once(program.arg(&self.command).arg("Bob").arg(format!("--cacheDir={}", cache.display())))
    }

    fn server(&self) -> Result<Started> {
        self.answer(&self.caches.path().join("full"))
    }

    fn server_compiling(&self) -> Result<Started> {
        self.answer(tempfile::tempdir_in(&self.caches)?.path())
    }

    fn answer(&self, cache: &Path) -> Result<Started> {
        let program = Program::at(self.folder.join("capsule-http")).current_dir(&self.work);
        let program = program.arg(&self.module).arg("--httpHost=127.0.0.1");
        let start = Instant::now();
        let server = HttpServer::launch(program.arg(format!("--cacheDir={}", cache.display())))?;
        let answer = server.get("/")?;
        let time = start.elapsed();
        ensure!(answer.status == 200, "the first answer is a {}: {}", answer.status, answer.text());
        Ok(Started { time, resident: Some(programs::resident(&server)? as f64 / 1024.0) })
    }
}

/// Until the program's end.
fn run_once(program: Program) -> Result<Started> {
    let start = Instant::now();
    let finished = program.start()?.wait(capsule_test::DEADLINE)?;
    let time = start.elapsed();
    finished.success()?;
    Ok(Started { time, resident: None })
}
