//! `bench outbound`: a function that makes one HTTP call to a server that takes 20 ms, called by many clients at once: how long until all
//! are answered, and how many threads the server has meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use capsule_test::client::Connection;
use capsule_test::server::HttpServer;
use capsule_test::{descriptors, guests};

use super::Options;
use super::load::median;
use super::slow::Slow;
use super::table::{Column, Table, column};
use crate::programs;

/// How long the server takes that is called.
const DELAY: Duration = Duration::from_millis(20);
/// Requests at once, each on a connection of its own.
const MANY: usize = 1000;
/// For one instance, whose calls wait for each other.
const FEW: usize = 50;
/// Between two looks at the number of threads.
const LOOK: Duration = Duration::from_millis(5);

const COLUMNS: &[Column] = &[
    column("requests", "requests", "", 0),
    column("first", "firstMilliseconds", "ms", 0),
    column("median", "medianMilliseconds", "ms", 0),
    column("longest", "longestMilliseconds", "ms", 0),
    column("ratio", "ratioToDelay", "", 1),
    column("at once", "atOnce", "", 0),
    column("threads", "threads", "", 0),
    column("RSS", "residentMiB", "MiB", 1),
];

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    descriptors::raise()?;
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http"])?;
    let slow = Slow::start(DELAY)?;
    let flags = ["--maxInstances=1000", "--maxOutboundCalls=1000", "--maxQueue=1024", "--allowHosts=127.0.0.1"];
    if !options.json {
        println!("answers of the other server take {} ms; all with {}", DELAY.as_millis(), flags.join(" "));
    }
    let table = Table::new(options.json, "until the last of all is answered", COLUMNS);
    for (instances, count) in [("fresh", MANY), ("1000", MANY), ("1", FEW)] {
        let program = programs::at(folder.join("capsule-http")).arg(guests::fixture("services.wat")?).args(flags);
        let program = program.args(["--httpHost=127.0.0.1".to_owned(), format!("--instances={instances}")]);
        let server = HttpServer::launch(program)?;
        let mut clients = Clients::open(&server, count, &slow)?;
        let first = clients.all_at_once()?;
        let mut times = Vec::new();
        slow.peak();
        let threads = most_threads(&server, || {
            for _ in 0..options.rounds {
                times.push(clients.all_at_once()?);
            }
            Ok(())
        })?;
        let longest = times.iter().copied().fold(0.0, f64::max);
        let median = median(times);
        let ratio = median / (DELAY.as_secs_f64() * 1e3);
        let resident = programs::resident(&server)? as f64 / 1024.0;
        let figures = [count as f64, first, median, longest, ratio, slow.peak() as f64, threads as f64, resident];
        table.row(&format!("--instances={instances}"), &figures.map(Some));
    }
    Ok(())
}

/// Connections that send the same request.
struct Clients {
    connections: Vec<Connection>,
    request: Vec<u8>,
}

impl Clients {
    fn open(server: &HttpServer, count: usize, slow: &Slow) -> Result<Clients> {
        let body = format!(r#"h{{"URI":"http://{}/","Method":"GET"}}"#, slow.address());
        let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", server.address(), body.len());
        let connections = (0..count).map(|_| server.connect()).collect::<Result<_>>()?;
        Ok(Clients { connections, request: (head + &body).into_bytes() })
    }

    /// Milliseconds from the first request to the last answer.
    fn all_at_once(&mut self) -> Result<f64> {
        let start = Instant::now();
        for connection in &mut self.connections {
            connection.write(&self.request)?;
        }
        for connection in &mut self.connections {
            let answer = connection.read_response("POST")?;
            ensure!(answer.status == 200, "an answer is a {}: {}", answer.status, answer.text());
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

/// The most threads that the server has while something is done.
fn most_threads(server: &HttpServer, act: impl FnOnce() -> Result<()>) -> Result<u64> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(programs::threads(server)?);
                std::thread::sleep(LOOK);
            }
            anyhow::Ok(most)
        });
        let acted = act();
        done.store(true, Ordering::Relaxed);
        let most = look.join().map_err(|_| anyhow!("the thread that counts panicked"))?;
        acted?;
        most.context("cannot count the threads")
    })
}
