//! Candidates under the same load, in turns, each as a ratio of the first one.

use std::path::Path;

use anyhow::{Context as _, Result};
use capsule_test::server::HttpServer;

use super::Options;
use super::load::{CLIENT_CORE, Load, Work, load, median};
use super::quiet;
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
        let quiet = quiet::rounds(options.rounds, || round(candidates, plan, connections, options))?;
        if !options.json {
            println!("{connections} connections: {}", quiet.summary());
        }
        let of = |number: usize| quiet.rounds.iter().map(move |round| &round[number]);
        let rate = |number| median(of(number).map(|(load, _)| load.requests_per_second).collect());
        let time = |number| median(of(number).map(|(load, _)| load.processor_time.as_secs_f64() * 1e6).collect());
        for (number, candidate) in candidates.iter().enumerate() {
            rows.push(Row {
                name: candidate.name,
                connections,
                rate: rate(number),
                ratio: rate(number) / rate(0),
                processor_time: time(number),
                processor_ratio: time(0) / time(number),
                p50: median(of(number).map(|(load, _)| load.p50.as_secs_f64() * 1e6).collect()),
                p99: median(of(number).map(|(load, _)| load.p99.as_secs_f64() * 1e6).collect()),
                resident: median(of(number).map(|(_, resident)| *resident as f64 / 1024.0).collect()),
                rounds: quiet.run,
                taken: quiet.taken,
            });
        }
    }
    print(&rows, plan.bytes, options.json);
    Ok(())
}

/// Each candidate once, with the memory that it had at the end.
fn round(
    candidates: &[Candidate<'_>],
    plan: Plan<'_>,
    connections: usize,
    options: &Options,
) -> Result<Vec<(Load, u64)>> {
    let measure = |candidate: &Candidate<'_>| {
        let server = (candidate.start)().with_context(|| format!("cannot start `{}`", candidate.name))?;
        let work =
            |seconds| Work { path: candidate.path, connections, seconds, script: plan.script, cores: CLIENT_CORE };
        load(&server, work(1))?;
        Ok((load(&server, work(options.seconds))?, programs::resident(&server)?))
    };
    candidates.iter().map(measure).collect()
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
    /// Rounds that were run, of which the quietest count.
    rounds: usize,
    /// The part of the machine's time that its host took in those, at most.
    taken: f64,
}

fn print(rows: &[Row], bytes: usize, json: bool) {
    if !json {
        let moved = if bytes == 0 { "" } else { "      MB/s" };
        println!(
            "server         connections  requests/s  ratio  cpu/request  ratio        p50        p99       RSS{moved}"
        );
    }
    for row in rows {
        let Row { name, connections, rate, ratio, processor_time, processor_ratio, p50, p99, resident, .. } = row;
        let megabytes = rate * bytes as f64 / 1e6;
        let moved = match (bytes, json) {
            (0, _) => String::new(),
            (_, true) => format!(r#","megabytesPerSecond":{megabytes:.0}"#),
            (_, false) => format!(" {megabytes:>9.0}"),
        };
        if json {
            println!(
                r#"{{"server":"{name}","connections":{connections},"requestsPerSecond":{rate:.0},"ratio":{ratio:.3},"cpuMicroseconds":{processor_time:.2},"cpuRatio":{processor_ratio:.3},"p50Microseconds":{p50:.0},"p99Microseconds":{p99:.0},"residentMiB":{resident:.1}{moved},"roundsRun":{},"hostTook":{:.4}}}"#,
                row.rounds, row.taken
            );
        } else {
            println!(
                "{name:<14} {connections:>11} {rate:>11.0} {ratio:>6.2} {processor_time:>10.2}us {processor_ratio:>6.2} \
                 {p50:>8.0}us {p99:>8.0}us {resident:>6.1}MiB{moved}"
            );
        }
    }
}
