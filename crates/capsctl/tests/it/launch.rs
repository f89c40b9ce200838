//! `launch`: a file of functions, through the API.

use std::path::Path;

use capsule_test::process::Finished;
use capsule_test::stub::{Answer, HttpStub};
use serde_json::{Value, json};

use crate::support::{TOKEN, capsctl, check, done};

const FILE: &str = r#"
[[function]]
name = "hello"
revision = "blue"
description = "the blue one"
wasm = "blue.wasm"
callTimeout = "2s"
stopAfter = 10
env = { GREETING = "hi" }

[[function]]
name = "hello"
revision = "green"
url = "https://example.com/green.wasm"
args = ["-maxMemory=64MiB"]
redisPrefix = "g:"

[route.hello]
blue = 90
green = 10
"#;

fn launch(stub: &HttpStub, folder: &Path, words: &[&str]) -> Finished {
    capsctl(stub).arg("launch").args(words).current_dir(folder).run().unwrap()
}

#[test]
fn functions_are_started_then_routes_set() {
    let (stub, folder) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("functions.toml"), FILE).unwrap();
    stub.answer_in_turn("/functions/start", ["hello/blue/0", "hello/green/0"].map(done));
    stub.answer("/functions/route/hello", done(""));
    let url = stub.url("/functions/hello");
    let stdout = format!(
        "hello/blue/0 is started\nurl: {url}/blue\nhello/green/0 is started\nurl: {url}/green\n\
         hello is routed to blue=90, green=10\n"
    );
    check(&launch(&stub, folder.path(), &[]), 0, &stdout, "");

    let requests = stub.requests();
    let lines: Vec<String> = requests.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    assert_eq!(lines, ["POST /functions/start", "POST /functions/start", "PUT /functions/route/hello"]);
    assert!(requests.iter().all(|request| request.header("capsule_faas_token") == Some(TOKEN)));
    let bodies: Vec<Value> = requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!(
        bodies[0],
        json!({
            "name": "hello", "revision": "blue", "description": "the blue one", "path": "",
            "args": ["", "-callTimeout=2s", "-stopAfter=10", "-wasm=blue.wasm"], "env": ["GREETING=hi"],
        })
    );
    assert_eq!(bodies[1]["args"], json!(["", "-url=https://example.com/green.wasm", "-maxMemory=64MiB"]));
    assert_eq!((&bodies[1]["redisPrefix"], &bodies[2]), (&json!("g:"), &json!({"blue": 90, "green": 10})));
}

#[test]
fn the_first_failure_ends_it() {
    let (stub, folder) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("mine.toml"), FILE).unwrap();
    let refused = Answer::new(422, "application/json", r#"{"error":"not a module"}"#);
    stub.answer_in_turn("/functions/start", [done("hello/blue/3"), refused]);
    let stdout = format!("hello/blue/3 is started\nurl: {}\n", stub.url("/functions/hello/blue"));
    let stderr = "error: line 11 of `mine.toml`\n  caused by: cannot start `hello/green`: the server answered 422 \
                  Unprocessable Entity\n  caused by: not a module\nhint: of 2 functions 1 were started before this \
                  one, and no route was set\n";
    check(&launch(&stub, folder.path(), &["--file=mine.toml"]), 1, &stdout, stderr);
    assert_eq!(stub.requests().len(), 2);
}

#[test]
fn a_file_with_mistakes_sends_nothing() {
    let (stub, folder) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap());
    let mistakes =
        "[[function]]\nname = \"a/b\"\nwasm = \"x\"\n[[function]]\nname = \"b\"\nwasm = \"x\"\nhttpPort = 1\n";
    std::fs::write(folder.path().join("bad.toml"), mistakes).unwrap();
    let stderr = "error: `bad.toml` cannot be used\n  line 2: name: expected 1 to 64 of the characters A-Z a-z 0-9 . _ -, \
                  found `a/b`\n  line 7: unknown key `httpPort`\n";
    check(&launch(&stub, folder.path(), &["--file=bad.toml"]), 1, "", stderr);

    let missing = "error: cannot read `functions.toml`\n  caused by: No such file or directory (os error 2)\n";
    check(&launch(&stub, folder.path(), &[]), 1, "", missing);
    assert_eq!(stub.requests(), []);
}
