//! What is seen of hosted functions: logs as they come, counters; and how the server ends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use capsule_test::process::Stream;
use rustix::process::Signal;
use serde_json::json;

use crate::faas_support::{Faas, TOKEN, module_path, refusal, start_body};
use crate::support::eventually;

#[test]
fn logs_are_those_of_the_function_and_come_as_they_are_printed() {
    let faas = Faas::start(&[]);
    faas.start_function("a", "services.wat", &[]);
    faas.start_function("b", "services.wat", &[]);
    faas.call("a", "pfirst of a");
    faas.call("b", "ponly of b");
    faas.call("a", "psecond of a");
    let texts =
        |log: &str| -> Vec<String> { log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect() };
    let log = faas.admin("GET", "/functions/logs/a", "");
    assert_eq!(texts(&log.text()), ["a/default/0 first of a", "a/default/0 second of a"]);
    assert_eq!(texts(&faas.capsctl_says(&["logs", "--name=a", "--lines=1"])), ["a/default/0 second of a"]);
    assert_eq!(texts(&faas.admin("GET", "/functions/logs/b/default/0", "").text()), ["b/default/0 only of b"]);
    // The server's own output has them too.
    faas.server.process.wait_for_line(Stream::Stdout, "a/default/0 second of a").unwrap();

    let follower = faas_follower(&faas, &["logs", "--name=a", "--follow", "--lines=1"]);
    follower.wait_for_line(Stream::Stdout, "second of a").unwrap();
    faas.call("b", "pnot this one");
    faas.call("a", "pthird of a");
    follower.wait_for_line(Stream::Stdout, "a/default/0 third of a").unwrap();
    // The stream ends when the function goes ...
    let other = faas_follower(&faas, &["logs", "--name=b", "--follow"]);
    other.wait_for_line(Stream::Stdout, "not this one").unwrap();
    faas.admin("DELETE", "/functions/drop/a", "");
    let seen = follower.wait(capsule_test::DEADLINE).unwrap();
    assert_eq!(seen.code, Some(0));
    faas.call("b", "pone more");
    assert!(!seen.stdout().contains(" b/"), "{seen:?}");
    // ... and when the server does.
    other.wait_for_line(Stream::Stdout, "one more").unwrap();
    assert_eq!(faas.server.stop().unwrap().code, Some(0));
    assert_eq!(other.wait(capsule_test::DEADLINE).unwrap().code, Some(0));
}

#[test]
fn as_many_clients_follow_logs_as_the_server_can_hold() {
    let faas = Faas::start(&[]);
    faas.start_function("a", "services.wat", &[]);
    let request =
        format!("GET /functions/logs/a?follow=true HTTP/1.1\r\nHost: h\r\nCAPSULE_FAAS_TOKEN: {TOKEN}\r\n\r\n");
    let follow = || {
        let mut stream = BufReader::new(TcpStream::connect(faas.server.address()).unwrap());
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut status = String::new();
        stream.read_line(&mut status).unwrap();
        (stream, status.trim_end().to_owned())
    };
    let mut followers: Vec<_> = (0..100).map(|_| follow()).collect();
    assert!(followers.iter().all(|(_, status)| status == "HTTP/1.1 200 OK"));
    let refused = faas.admin("GET", "/functions/logs/a?follow=true", "");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refusal(&refused), (503, "too many clients follow logs".into()));
    assert_eq!(faas.admin("GET", "/functions/logs/a", "").status, 200);
    followers.pop();
    eventually("the place of one that is gone is free", || follow().1 == "HTTP/1.1 200 OK");
}

fn faas_follower(faas: &Faas, words: &[&str]) -> capsule_test::process::Process {
    let capsctl = capsule_test::program::Program::of_workspace("capsctl").unwrap();
    let capsctl = capsctl.env("CAPSULE_MAIN_PROCESS_URL", faas.server.url("")).env("CAPSULE_FAAS_TOKEN", TOKEN);
    capsctl.args(words).start().unwrap()
}

/// The lines of `/metrics` by their names with labels.
fn metrics(faas: &Faas) -> BTreeMap<String, f64> {
    let text = faas.admin("GET", "/metrics", "").text();
    let mut families = Vec::new();
    let mut values = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let family = family.split(' ').next().unwrap().to_owned();
            assert!(!families.contains(&family), "{family} comes twice");
            families.push(family);
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(values.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} comes twice");
        }
    }
    values
}

#[test]
fn functions_are_counted_by_name_and_revision() {
    let faas = Faas::start(&[]);
    faas.start_function("tricks/blue", "http-tricks.wat", &["-callTimeout=300ms"]);
    faas.start_function("tricks/blue", "http-tricks.wat", &["-callTimeout=300ms"]);
    // In turn: what replaces a broken instance is there at the end.
    for (body, status) in [("t", 500), ("l", 504), ("c", 200), ("c", 200)] {
        assert_eq!(faas.call("tricks/blue", body).0, status, "{body}");
    }
    let labels = r#"{function="tricks",revision="blue"#;
    let found = metrics(&faas);
    let value = |name: &str| found.get(name).copied().unwrap_or_else(|| panic!("{name} is missing: {found:?}"));
    for (outcome, count) in [("success", 2.0), ("trap", 1.0), ("timeout", 1.0), ("failure", 0.0), ("refused", 0.0)] {
        assert_eq!(
            value(&format!("capsule_function_calls_total{labels}\",outcome=\"{outcome}\"}}")),
            count,
            "{outcome}"
        );
    }
    assert_eq!(value(&format!("capsule_function_call_duration_seconds_count{labels}\"}}")), 4.0);
    assert_eq!(value(&format!("capsule_function_call_duration_seconds_bucket{labels}\",le=\"+Inf\"}}")), 4.0);
    assert_eq!(value(&format!("capsule_function_cold_start_seconds_count{labels}\"}}")), 2.0);
    assert_eq!(value(&format!("capsule_function_processes{labels}\"}}")), 2.0);
    assert_eq!(value(&format!("capsule_function_processes_awake{labels}\"}}")), 2.0);
    assert!(value(&format!("capsule_function_memory_bytes{labels}\"}}")) >= 65536.0);
    assert_eq!(value("capsule_http_requests_total{status=\"200\"}"), 2.0);
    assert_eq!(value("capsule_http_requests_total{status=\"504\"}"), 1.0);
    assert_eq!(value("capsule_traps_total"), 1.0);
}

#[test]
fn a_stop_lets_calls_finish_and_runs_on_stop() {
    let faas = Faas::start(&["--drainTimeout=30s"]);
    faas.start_function("life", "hooks.wat", &[]);
    faas.start_function("slow", "http-tricks.wat", &["-callTimeout=10s"]);
    let server = &faas.server;
    std::thread::scope(|scope| {
        let calls = [(); 2].map(|()| scope.spawn(|| server.post("/functions/slow", "l").unwrap()));
        eventually("one call runs, the other waits for it", || metrics(&faas)["capsule_waiting_calls"] >= 1.0);
        server.process.signal(Signal::TERM).unwrap();
        let mut answers = calls.map(|call| call.join().unwrap());
        answers.sort_unstable_by_key(|answer| answer.status);
        assert_eq!(answers.each_ref().map(|answer| answer.status), [503, 504], "{answers:?}");
    });
    let finished = faas.server.process.wait(capsule_test::DEADLINE).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout().contains("life/default/0 "), "{finished:?}");
}

#[test]
fn a_child_process_tells_its_server_that_it_stops() {
    let stub = capsule_test::stub::HttpStub::start().unwrap();
    stub.answer("/notify/hello/blue", capsule_test::stub::Answer::new(200, "text/plain", ""));
    let parent = format!("--parentEndpoint={}", stub.url(""));
    let module = module_path("hey");
    let words = [module.to_str().unwrap(), &parent, "--moduleName=hello", "--moduleRevision=blue"];
    let server = capsule_test::server::HttpServer::start(&words, &[]).unwrap();
    assert_eq!(server.stop().unwrap().code, Some(0));
    let requests = stub.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("POST", "/notify/hello/blue"));
    // A parent that is away holds nothing up.
    let words = [module.to_str().unwrap(), "--parentEndpoint=http://127.0.0.1:1", "--moduleName=hello"];
    let server = capsule_test::server::HttpServer::start(&words, &[]).unwrap();
    assert_eq!(server.stop().unwrap().code, Some(0));
}

#[test]
fn child_processes_are_seen_in_the_list_and_wake_when_they_have_stopped() {
    let faas = Faas::start(&[]);
    let mut body: serde_json::Value =
        serde_json::from_str(&start_body("hello", &module_path("hey"), &["-stopAfter=60"], &[])).unwrap();
    body["path"] = json!("capsule-http");
    assert_eq!(faas.admin("POST", "/functions/start", body.to_string()).text(), "hello/default/0");
    let record = faas.processes()["hello/default/0"].clone();
    assert_ne!(record["pid"], json!(faas.server.process.id()));
    assert_ne!(record["httpPort"], json!(""));
    assert_eq!(faas.call("hello", "Bob"), (200, "👋 Hey Bob !".into()));
    let faas = faas.killed_and_started();
    assert_eq!(faas.call("hello", "Bob"), (200, "👋 Hey Bob !".into()));
    assert_eq!(faas.server.stop().unwrap().code, Some(0));
}
