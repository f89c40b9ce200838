//! The example functions for the terminal, each in Rust and in Go: exact output.

use std::path::{Path, PathBuf};

use capsule_test::guests;
use capsule_test::redis::{Redis, Reply};
use capsule_test::stub::{Answer, HttpStub};

use crate::support::{capsule, check};

/// The committed Rust variant, and the Go variant built now.
fn variants(name: &str) -> [PathBuf; 2] {
    [guests::function(&format!("{name}/{name}.wasm")).unwrap(), guests::function_in_go(name).unwrap()]
}

#[test]
fn hello() {
    for module in variants("cli-hello") {
        let folder = tempfile::tempdir().unwrap();
        let run = |words: &[&str], message: &str| {
            capsule().arg(&module).args(words).env("MESSAGE", message).current_dir(folder.path()).run().unwrap()
        };
        let printed = "Environment variable → MESSAGE: 🎉 hello\n📝: 👋 Hello World! 🌍\n👋 Hello Bob Morane\n";
        check(&run(&["Bob Morane"], "🎉 hello"), 0, printed, "");
        let file = std::fs::read_to_string(folder.path().join("hello.txt")).unwrap();
        assert_eq!(file, "👋 Hello World! 🌍");
        let printed = "Environment variable → MESSAGE: \n📝: 👋 Hello World! 🌍\n👋 Hello \n";
        check(&run(&[], ""), 0, printed, "");
        // Without a folder it fails, with the reason where the result would be.
        let refused = run(&["Bob", "--dir=none"], "m");
        assert_eq!((refused.code, refused.stderr().as_str()), (Some(1), ""), "{refused:?}");
        assert!(refused.stdout().starts_with("Environment variable → MESSAGE: m\n"), "{refused:?}");
        assert!(refused.stdout().contains("--dir"), "{refused:?}");
    }
}

#[test]
fn hey_people() {
    let stub = HttpStub::start_on(3000).unwrap();
    stub.answer("/json", Answer::new(200, "application/json; charset=utf-8", "{\"message\":\"hey\"}"));
    stub.answer("/html", Answer::new(200, "text/html", "<h1 id=\"a\">hey</h1>"));
    stub.answer("/", Answer::new(201, "application/json", "{\"ok\":true}"));
    let printed = "📝 JSONBody: {\"message\":\"hey\"}\n📝 TextBody: \n🅿️ StatusCode: 200\n\
                   📝 JSONBody: \n📝 TextBody: \"<h1 id=\\\"a\\\">hey</h1>\"\n🅿️ StatusCode: 200\n\
                   📝 JSONBody: {\"ok\":true}\n📝 TextBody: \n🅿️ StatusCode: 201\n👋 Hello \n";
    for (index, module) in variants("hey-people").iter().enumerate() {
        check(&capsule().arg(module).run().unwrap(), 0, printed, "");
        let requests = stub.requests();
        let asked: Vec<_> = requests[3 * index..].iter().map(|r| (r.method.as_str(), r.target.as_str())).collect();
        assert_eq!(asked, [("GET", "/json"), ("GET", "/html"), ("POST", "/")]);
        assert_eq!(requests[3 * index + 2].text(), "{\"msg\":\"hello\"}");
    }
}

fn check_keys(module: &Path, variables: &[(&str, String)]) {
    let finished = capsule().arg(module).envs(variables.iter().cloned()).run().unwrap().success().unwrap();
    let stdout = finished.stdout();
    let lines: Vec<&str> = stdout.lines().collect();
    let [value, keys @ .., result] = &lines[..] else { panic!("{finished:?}") };
    assert_eq!((*value, *result), ("📝: 👋 hello world 🌍", "👋 Hello"));
    // The order of keys is Redis's.
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    assert_eq!(keys, ["🔑 four", "🔑 one", "🔑 two"]);
}

#[test]
fn mem_db() {
    for module in variants("mem-db") {
        check_keys(&module, &[]);
        // Nothing is left of a run.
        check_keys(&module, &[]);
    }
}

#[test]
fn redis_db() {
    for module in variants("redis-db") {
        let redis = Redis::start().unwrap();
        check_keys(&module, &[("REDIS_URI", redis.url(0))]);
        assert_eq!(redis.command(0, &[b"DBSIZE"]).unwrap(), Reply::Integer(3));
        let away = capsule().arg(&module).env("REDIS_URI", "redis://127.0.0.1:1").run().unwrap();
        assert_eq!((away.code, away.stderr().as_str()), (Some(1), ""), "{away:?}");
    }
}
