//! `bench http`: a module that answers a constant, against a bare hyper server with the same answer.

use anyhow::Result;
use capsule_test::server::HttpServer;

use super::Options;
use super::compare::{self, Candidate, Plan};
use super::load::SERVER_CORE;
use super::peers;
use crate::programs;

/// The cargo alias runs in the root of the project.
const MODULE: &str = "functions/constant/constant.wasm";

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http", "bench-floor"])?;
    let candidate = |name, program: &str, arguments: &'static [&'static str]| {
        let path = folder.join(program);
        let start = move || HttpServer::launch(programs::pinned(path.clone(), SERVER_CORE)?.args(arguments));
        Candidate { name, path: "/", start: Box::new(start) }
    };
    let mut candidates = vec![
        candidate("floor", "bench-floor", &[]),
        candidate("capsule", "capsule-http", &[MODULE, "--httpHost=127.0.0.1"]),
        candidate("capsule fresh", "capsule-http", &[MODULE, "--httpHost=127.0.0.1", "--instances=fresh"]),
    ];
    candidates.extend(peers::reference(options, MODULE));
    candidates.extend(peers::wasmtime(options));
    compare::run(&candidates, Plan::GET, options)
}
