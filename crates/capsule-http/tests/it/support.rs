//! Servers with the guests of the tests, and short ways to ask them.

use std::io::Write as _;
use std::time::Instant;

use capsule_test::DEADLINE;
use capsule_test::client::Response;
use capsule_test::guests;
use capsule_test::process::Finished;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use serde_json::Value;

/// A server with a guest of `fixtures/`.
pub(crate) fn serve(fixture: &str, flags: &[&str]) -> HttpServer {
    serve_with(fixture, flags, &[])
}

/// The same with environment variables.
pub(crate) fn serve_with(fixture: &str, flags: &[&str], env: &[(&str, &str)]) -> HttpServer {
    let module = guests::fixture(fixture).unwrap();
    let mut words = vec![format!("--wasm={}", module.display())];
    words.extend(flags.iter().map(|flag| (*flag).to_owned()));
    HttpServer::start(&words, env).unwrap()
}

/// A file with WebAssembly text, for as long as the value lives.
pub(crate) fn module(wat: &str) -> tempfile::NamedTempFile {
    file("module.wat", wat)
}

/// A file with this content; its name ends as given.
pub(crate) fn file(suffix: &str, content: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
    file.write_all(content.as_ref()).unwrap();
    file
}

/// A server with a guest that only one test needs.
pub(crate) fn serve_wat(wat: &str, flags: &[&str]) -> HttpServer {
    let module = module(wat);
    let mut words = vec![module.path().to_str().unwrap()];
    words.extend(flags);
    HttpServer::start(&words, &[]).unwrap()
}

/// Runs the server to its end: for what keeps it from serving.
pub(crate) fn run(words: &[&str]) -> Finished {
    Program::of_workspace("capsule-http").unwrap().args(words).run().unwrap()
}

/// The body as JSON, of an answer that should be 200.
pub(crate) fn json(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// Status and text of an answer.
pub(crate) fn outcome(response: &Response) -> (u16, String) {
    (response.status, response.text())
}

/// The value of a line in `/metrics`, such as `capsule_instances` or `capsule_http_requests_total{status="200"}`.
pub(crate) fn metric(server: &HttpServer, name: &str) -> u64 {
    metric_of(&server.get("/metrics").unwrap().text(), name)
}

/// Of metrics that were asked for before.
pub(crate) fn metric_of(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Asks until the answer is yes.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < DEADLINE, "never came: {what}");
        std::thread::yield_now();
    }
}

/// Allows this process and its children as many open files as the system permits: thousands of connections need them.
pub(crate) fn many_files() {
    capsule_test::descriptors::raise().unwrap();
}

/// A module whose first instance starts. It traps when it is called, and those after it find what it left in the cache and do
/// `then` in their start.
pub(crate) fn starts_once(then: &str) -> String {
    format!(
        r#"(module
        (import "env" "hostCacheGet" (func $get (param i32 i32 i32 i32) (result i32)))
        (import "env" "hostCacheSet" (func $set (param i32 i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2) (data (i32.const 16) "key")
        (func (export "malloc") (param i32) (result i32) i32.const 65536)
        (func (export "allocateBuffer") (param i32) (result i32) i32.const 1024)
        (func (export "OnStart")
          (drop (call $get (i32.const 16) (i32.const 3) (i32.const 0) (i32.const 4)))
          (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 83)) (then {then})))
        (func (export "callHandleHTTP") (param i32 i32) (result i64)
          (drop (call $set (i32.const 16) (i32.const 3) (i32.const 16) (i32.const 3) (i32.const 0) (i32.const 4)))
          (unreachable)))"#
    )
}
