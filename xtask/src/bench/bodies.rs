//! `bench bodies`: a function that answers the megabyte that it got, against a bare hyper server that does the same; then what an idle
//! connection takes of memory.

use anyhow::Result;
use capsule_test::guests;
use capsule_test::server::HttpServer;

use super::compare::{self, Candidate, Plan};
use super::load::SERVER_CORE;
use super::{Options, idle, peers};
use crate::programs;

/// Of a body, each way.
const SIZE: usize = 1024 * 1024;
const CONNECTIONS: &[usize] = &[8, 32];

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http", "bench-floor"])?;
    let module = guests::function("echo/echo.wasm")?.display().to_string();
    let candidate = |name, program: &str, arguments: &[&str]| {
        let (path, arguments) = (folder.join(program), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        let start = move || HttpServer::launch(programs::pinned(path.clone(), SERVER_CORE)?.args(&arguments));
        Candidate { name, path: "/", start: Box::new(start) }
    };
    let mut candidates = vec![
        candidate("floor", "bench-floor", &["echo"]),
        candidate("capsule", "capsule-http", &[&module, "--httpHost=127.0.0.1"]),
        candidate("capsule fresh", "capsule-http", &[&module, "--httpHost=127.0.0.1", "--instances=fresh"]),
    ];
    candidates.extend(peers::reference(options, &module));
    let home = tempfile::tempdir()?;
    let script = home.path().join("megabyte.lua");
    let headers = r#"wrk.headers["Content-Type"] = "text/plain""#;
    std::fs::write(&script, format!("wrk.method = \"POST\"\n{headers}\nwrk.body = string.rep(\"a\", {SIZE})\n"))?;
    compare::run(&candidates, Plan { connections: CONNECTIONS, script: Some(&script), bytes: 2 * SIZE }, options)?;
    idle::run(&folder, options)
}
