//! Candidates under the same load, in turns, each as a ratio of the first one.

use std::path::Path;

use anyhow::{Context as _, Result};
use capsule_test::server::HttpServer;

use super::Options;
use super::load::{CLIENT_CORE, Load, Work, load, median};
use crate::programs;

/// What all candidates get.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    /// Connections that are measured.
    pub(super) connections: &'a [usize],
    /// A script of wrk; GET without it.
    pub(super) script: Option<&'a Path>,
    /// Bytes of bodies that a request moves, both ways together; 0 where that is of no interest.
    pub(super) bytes: usize,
}

impl Plan<'_> {
    /// GET over few connections and over many.
    pub(super) const GET: Plan<'static> = Plan { connections: &[32, 256], script: None, bytes: 0 };
}

/// Something that is measured.
pub(super) struct Candidate<'a> {
    pub(super) name: &'static str,
    /// What is requested of it.
    pub(super) path: &'static str,
    /// Starts the server, pinned, ready for the load.
    pub(super) start: Box<dyn Fn() -> Result<HttpServer> + 'a>,
}

/// Measures and prints. The first candidate is what the others are compared with.
pub(super) fn run(candidates: &[Candidate<'_>], plan: Plan<'_>, options: &Options) -> Result<()> {
    let mut rows = Vec::new();
    for &connections in plan.connections {
        let mut loads: Vec<Vec<(Load, u64)>> = candidates.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds {
            for (candidate, loads) in candidates.iter().zip(&mut loads) {
                let server = (candidate.start)().with_context(|| format!("cannot start `{}`", candidate.name))?;
                let work = |seconds| Work {
                    path: candidate.path,
                    connections,
                    seconds,
                    script: plan.script,
                    cores: CLIENT_CORE,
                };
                load(&server, work(1))?;
                let measured = load(&server, work(options.seconds))?;
                loads.push((measured, programs::resident(&server)?));
            }
        }
        let rate = |loads: &[(Load, u64)]| median(loads.iter().map(|(load, _)| load.requests_per_second).collect());
        let time = |loads: &[(Load, u64)]| {
            median(loads.iter().map(|(load, _)| load.processor_time.as_secs_f64() * 1e6).collect())
        };
        let (first_rate, first_time) = (rate(&loads[0]), time(&loads[0]));
        for (candidate, loads) in candidates.iter().zip(&loads) {
            rows.push(Row {
                name: candidate.name,
                connections,
                rate: rate(loads),
                ratio: rate(loads) / first_rate,
                processor_time: time(loads),
                processor_ratio: first_time / time(loads),
                p50: median(loads.iter().map(|(load, _)| load.p50.as_secs_f64() * 1e6).collect()),
                p99: median(loads.iter().map(|(load, _)| load.p99.as_secs_f64() * 1e6).collect()),
                resident: median(loads.iter().map(|(_, resident)| *resident as f64 / 1024.0).collect()),
            });
        }
    }
    print(&rows, plan.bytes, options.json);
    Ok(())
}

struct Row {
    name: &'static str,
    connections: usize,
    /// Requests per second.
    rate: f64,
    /// Of the first one's rate.
    ratio: f64,
    /// The server's processor time for a request in microseconds.
    processor_time: f64,
    /// The first one's processor time as a share of it.
    processor_ratio: f64,
    /// Microseconds.
    p50: f64,
    /// Microseconds.
    p99: f64,
    /// MiB.
    resident: f64,
}

fn print(rows: &[Row], bytes: usize, json: bool) {
    if !json {
        let moved = if bytes == 0 { "" } else { "      MB/s" };
        println!(
            "server         connections  requests/s  ratio  cpu/request  ratio        p50        p99       RSS{moved}"
        );
    }
    for row in rows {
        let Row { name, connections, rate, ratio, processor_time, processor_ratio, p50, p99, resident } = row;
        let megabytes = rate * bytes as f64 / 1e6;
        let moved = match (bytes, json) {
            (0, _) => String::new(),
            (_, true) => format!(r#","megabytesPerSecond":{megabytes:.0}"#),
            (_, false) => format!(" {megabytes:>9.0}"),
        };
        if json {
            println!(
                r#"{{"server":"{name}","connections":{connections},"requestsPerSecond":{rate:.0},"ratio":{ratio:.3},"cpuMicroseconds":{processor_time:.2},"cpuRatio":{processor_ratio:.3},"p50Microseconds":{p50:.0},"p99Microseconds":{p99:.0},"residentMiB":{resident:.1}{moved}}}"#
            );
        } else {
            println!(
                "{name:<14} {connections:>11} {rate:>11.0} {ratio:>6.2} {processor_time:>10.2}us {processor_ratio:>6.2} \
                 {p50:>8.0}us {p99:>8.0}us {resident:>6.1}MiB{moved}"
            );
        }
    }
}
