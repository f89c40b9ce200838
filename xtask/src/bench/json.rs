//! `bench json`: a function that reads an order as JSON and answers its sum as JSON, against a native hyper server that does the same.

use anyhow::{Context as _, Result, ensure};
use capsule_test::guests;
use capsule_test::server::HttpServer;

use super::Options;
use super::compare::{self, Candidate, Plan};
use super::load::SERVER_CORE;
use crate::programs;

const ORDER: &str = r#"{"customer":"Bob Morane","items":[{"name":"green tea","price":450,"count":3},{"name":"cup","price":1290,"count":2},{"name":"tea pot","price":3990,"count":1}]}"#;
const SUM: &str = r#"{"customer":"Bob Morane","names":["green tea","cup","tea pot"],"total":7920}"#;

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http", "bench-floor"])?;
    let module = guests::function("json/json.wasm")?.display().to_string();
    let candidate = |name, program: &str, arguments: &[&str]| {
        let (path, arguments) = (folder.join(program), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        let start = move || {
            let server = HttpServer::launch(programs::pinned(path.clone(), SERVER_CORE)?.args(&arguments))?;
            let answer = server.post("/", ORDER).context("no answer")?;
            ensure!(answer.text() == SUM, "it answers {} `{}`, expected `{SUM}`", answer.status, answer.text());
            Ok(server)
        };
        Candidate { name, path: "/", start: Box::new(start) }
    };
    let candidates = [
        candidate("native", "bench-floor", &["json"]),
        candidate("capsule", "capsule-http", &[&module, "--httpHost=127.0.0.1"]),
        candidate("capsule fresh", "capsule-http", &[&module, "--httpHost=127.0.0.1", "--instances=fresh"]),
    ];
    let home = tempfile::tempdir()?;
    let script = home.path().join("order.lua");
    let headers = r#"wrk.headers["Content-Type"] = "application/json""#;
    std::fs::write(&script, format!("wrk.method = \"POST\"\n{headers}\nwrk.body = [[{ORDER}]]\n"))?;
    compare::run(&candidates, Plan { script: Some(&script), ..Plan::GET }, options)
}
