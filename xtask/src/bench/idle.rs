//! What a connection takes of memory that had one small request and waits for the next one: the second part of `bench bodies`.

use std::path::Path;

use anyhow::{Result, ensure};
use capsule_test::client::Connection;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use capsule_test::{descriptors, guests};

use super::Options;
use super::load::median;
use super::table::{Column, Table, column};
use crate::programs;

/// Where the system permits so many open files.
const CONNECTIONS: u64 = 5000;

const COLUMNS: &[Column] = &[
    column("connections", "connections", "", 0),
    column("before", "beforeMiB", "MiB", 1),
    column("RSS", "residentMiB", "MiB", 1),
    column("each", "perConnectionKiB", "KiB", 1),
];

/// Measures and prints.
pub(super) fn run(folder: &Path, options: &Options) -> Result<()> {
    let count = descriptors::raise()?.saturating_sub(1000).min(CONNECTIONS);
    let module = guests::function("constant/constant.wasm")?;
    let candidates = [
        ("floor, idle", programs::at(folder.join("bench-floor"))),
        ("capsule, idle", programs::at(folder.join("capsule-http")).arg(module).arg("--httpHost=127.0.0.1")),
    ];
    let mut measured: [Vec<[f64; 2]>; 2] = Default::default();
    for _ in 0..options.rounds {
        for ((_, program), resident) in candidates.iter().zip(&mut measured) {
            resident.push(of(program.clone(), count)?);
        }
    }
    let table = Table::new(options.json, "connections with one request each", COLUMNS);
    for ((name, _), resident) in candidates.iter().zip(&measured) {
        let [before, after] = [0, 1].map(|which| median(resident.iter().map(|round| round[which]).collect()));
        let each = median(resident.iter().map(|[before, after]| (after - before) * 1024.0 / count as f64).collect());
        table.row(name, &[count as f64, before, after, each].map(Some));
    }
    Ok(())
}

/// MiB with one connection, and with all of them.
fn of(program: Program, count: u64) -> Result<[f64; 2]> {
    let server = HttpServer::launch(program)?;
    let connect = || -> Result<Connection> {
        let mut connection = server.connect()?;
        let answer = connection.send("GET", "/", &[], b"")?;
        ensure!(answer.status == 200, "an answer is a {}: {}", answer.status, answer.text());
        Ok(connection)
    };
    let resident = || Ok::<_, anyhow::Error>(programs::resident(&server)? as f64 / 1024.0);
    let first = connect()?;
    let before = resident()?;
    let others = (0..count).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    let after = resident()?;
    drop((first, others));
    Ok([before, after])
}
