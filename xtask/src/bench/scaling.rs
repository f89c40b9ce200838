//! `bench scaling`: a function that computes for some 200 us, served by one core and by two; and called from within a process, where
//! no client has a part of them.

use anyhow::Result;
use capsule_test::guests;
use capsule_test::server::HttpServer;

use super::Options;
use super::in_process;
use super::load::{Load, Work, load, median};
use super::table::{Column, Table, column};
use crate::programs;

const CONNECTIONS: usize = 32;

const COLUMNS: &[Column] = &[
    column("requests/s", "requestsPerSecond", "", 0),
    column("ratio", "ratio", "", 2),
    column("cpu/request", "cpuMicroseconds", "us", 1),
    column("client cpu", "clientCpuMicroseconds", "us", 1),
    column("its share", "clientCpuShare", "", 3),
    column("p50", "p50Milliseconds", "ms", 2),
    column("p99", "p99Milliseconds", "ms", 2),
    column("RSS", "residentMiB", "MiB", 1),
];

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http", in_process::PACKAGE])?;
    let module = guests::fixture("compute.wat")?;
    // On what is left of the machine; on two cores the client shares those of the server.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let left = if cores > 2 { format!("2-{}", cores - 1) } else { "0,1".to_owned() };
    let places = [("server on core 0", "0", "1"), ("server on cores 0 and 1", "0,1", left.as_str())];
    let mut measured: [Vec<(Load, u64)>; 2] = Default::default();
    for _ in 0..options.rounds {
        for ((_, server, client), loads) in places.iter().zip(&mut measured) {
            let program = programs::pinned(folder.join("capsule-http"), server)?.arg(&module);
            let server = HttpServer::launch(program.args(["--httpHost=127.0.0.1", "--instances=auto"]))?;
            let work = |seconds| Work { path: "/", connections: CONNECTIONS, seconds, script: None, cores: client };
            load(&server, work(1))?;
            loads.push((load(&server, work(options.seconds))?, programs::resident(&server)?));
        }
    }
    if !options.json {
        println!("--instances=auto, {CONNECTIONS} connections, the client on core 1, then on {left}");
    }
    let table = Table::new(options.json, "", COLUMNS);
    let of =
        |loads: &[(Load, u64)], figure: fn(&Load) -> f64| median(loads.iter().map(|(load, _)| figure(load)).collect());
    let rate = |loads: &[(Load, u64)]| of(loads, |load| load.requests_per_second);
    let first = rate(&measured[0]);
    for ((name, ..), loads) in places.iter().zip(&measured) {
        let figures = [
            rate(loads),
            rate(loads) / first,
            of(loads, |load| load.processor_time.as_secs_f64() * 1e6),
            of(loads, |load| load.client_time.as_secs_f64() * 1e6),
            of(loads, |load| load.client_time.as_secs_f64() * load.requests_per_second),
            of(loads, |load| load.p50.as_secs_f64() * 1e3),
            of(loads, |load| load.p99.as_secs_f64() * 1e3),
            median(loads.iter().map(|(_, resident)| *resident as f64 / 1024.0).collect()),
        ];
        table.row(name, &figures.map(Some));
    }
    in_process::run(&folder, &module, options)
}
