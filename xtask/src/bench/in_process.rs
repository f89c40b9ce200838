//! The part of `bench scaling` without a server: a driver that calls the function through the host SDK from within its process, on one core
//! and on two, in turns.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Options;
use super::load::median;
use super::table::{Column, Table, column};
use crate::programs;

const COLUMNS: &[Column] = &[column("calls/s", "callsPerSecond", "", 0), column("ratio", "ratio", "", 2)];

/// The package of the driver, and the driver.
pub(super) const PACKAGE: &str = "bench-micro";
const DRIVER: &str = "bench-in-process";

/// Measures and prints.
pub(super) fn run(folder: &Path, module: &Path, options: &Options) -> Result<()> {
    let places = [("in process, 1 core", "0"), ("in process, 2 cores", "0,1")];
    let mut rates: [Vec<f64>; 2] = Default::default();
    for _ in 0..options.rounds {
        for ((_, cores), rates) in places.iter().zip(&mut rates) {
            rates.push(rate(folder, module, cores, options.seconds)?);
        }
    }
    let table = Table::new(options.json, "", COLUMNS);
    let [one, two] = rates.map(median);
    for ((name, _), rate) in places.iter().zip([one, two]) {
        table.row(name, &[Some(rate), Some(rate / one)]);
    }
    Ok(())
}

/// Calls in a second.
fn rate(folder: &Path, module: &Path, cores: &str, seconds: u32) -> Result<f64> {
    let driver = programs::pinned(folder.join(DRIVER), cores)?.arg(module).arg(seconds.to_string());
    let limit = Duration::from_secs(seconds.into()) + capsule_test::DEADLINE;
    let printed = driver.start()?.wait(limit)?.success()?.stdout();
    printed.trim().parse().with_context(|| format!("`{DRIVER}` printed `{printed}`, expected calls per second"))
}
