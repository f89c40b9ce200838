//! Health, metrics, and what the logs say.

use capsule_test::client::Connection;
use capsule_test::process::Stream;
use capsule_test::program::Program;
use capsule_test::stub::{Answer, Gate, HttpStub};

use crate::support::{eventually, json, metric, outcome, serve, serve_wat};

#[test]
fn without_exports_health_and_metrics_are_the_runners() {
    let server = serve("http-tricks.wat", &[]);
    let health = server.get("/health").unwrap();
    assert_eq!(health.header("content-type"), Some("application/json"));
    let health = json(&health);
    assert_eq!((&health["status"], &health["instances"], &health["traps"]), (&"ok".into(), &1.into(), &0.into()));
    for body in ["c", "c", "f"] {
        server.post("/", body).unwrap();
    }
    let metrics = server.get("/metrics").unwrap();
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.text();
    for line in [
        "# TYPE capsule_http_requests_total counter",
        "capsule_http_requests_total{status=\"200\"} 2",
        "capsule_http_requests_total{status=\"500\"} 1",
        "# TYPE capsule_http_request_duration_seconds histogram",
        "capsule_http_request_duration_seconds_bucket{le=\"+Inf\"} 3",
        "capsule_http_request_duration_seconds_count 3",
        "capsule_traps_total 0",
        "capsule_failures_total 1",
        "capsule_instances 1",
        "capsule_memory_bytes 131072",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
    }
    assert!(text.ends_with('\n'));
}

#[test]
fn the_modules_own_health_and_metrics() {
    let server = serve("hooks.wat", &[]);
    let health = server.get("/health").unwrap();
    assert_eq!(outcome(&health), (200, r#"{"message":"fine"}"#.to_owned()));
    let text = server.get("/metrics").unwrap().text();
    let own = "# HELP calls Calls.\n# TYPE calls counter\ncalls 7\nlast 2\n# HELP capsule_http_requests_total ";
    assert!(text.starts_with(own), "{text}");
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("capsule_instances ")).collect();
    assert_eq!(
        ours,
        ["# HELP capsule_instances Instances that exist.", "# TYPE capsule_instances gauge", "capsule_instances 1"]
    );
    assert!(!text.contains("capsule_other"), "{text}");
    // Neither is a call.
    assert_eq!(metric(&server, "capsule_http_requests_total{status=\"200\"}"), 0);
}

#[test]
fn hooks_that_fail_are_500_and_a_comment() {
    let server = serve_wat(
        r#"(module (memory (export "memory") 1) (data (i32.const 16) "Fit is\nnot well")
        (func (export "malloc") (param i32) (result i32) i32.const 1024)
        (func (export "OnHealthCheck") (result i64) (i64.const 0x100000000f))
        (func (export "OnMetrics") (result i64) unreachable)
        (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#,
        &[],
    );
    assert_eq!(outcome(&server.get("/health").unwrap()), (500, "it is\nnot well".to_owned()));
    let metrics = server.get("/metrics").unwrap();
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    assert!(
        text.starts_with("# OnMetrics: the module trapped: wasm `unreachable` instruction executed\n# HELP capsule_"),
        "{text}"
    );
    // Metrics trap each time; the module is still healthy enough to say that it is not well.
    assert_eq!(server.get("/health").unwrap().status, 500);
}

#[test]
fn a_busy_module_is_healthy() {
    let stub = HttpStub::start().unwrap();
    let gate = Gate::new();
    stub.answer("/", Answer::new(200, "text/plain", "x").behind(&gate));
    // Every call asks the stub, whose address the guest gets in its environment.
    let wat = r#"(module
        (import "env" "hostGetEnv" (func $env (param i32 i32 i32 i32) (result i32)))
        (import "env" "hostHTTP" (func $http (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2) (global $heap (mut i32) (i32.const 2048))
        (data (i32.const 16) "DOCUMENT") (data (i32.const 32) "S{\"JSONBody\":{\"message\":\"fine\"}}")
        (func $allocate (export "allocateBuffer") (param i32) (result i32)
          (global.set $heap (i32.add (global.get $heap) (local.get 0))) (i32.sub (global.get $heap) (local.get 0)))
        (func (export "malloc") (param i32) (result i32) i32.const 65536)
        (func (export "OnHealthCheck") (result i64) (i64.const 0x2000000020))
        (func (export "callHandleHTTP") (param i32 i32) (result i64)
          (drop (call $env (i32.const 16) (i32.const 8) (i32.const 0) (i32.const 4)))
          (drop (call $http (i32.load (i32.const 0)) (i32.load (i32.const 4)) (i32.const 0) (i32.const 4)))
          (i64.const 0x2000000020)))"#;
    let document = format!("--env=DOCUMENT={{\"URI\":\"{}\",\"Method\":\"GET\"}}", stub.url("/"));
    let server = serve_wat(wat, &[&document]);
    assert_eq!(outcome(&server.get("/health").unwrap()), (200, r#"{"message":"fine"}"#.to_owned()));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| server.get("/").unwrap());
        stub.wait_for_requests(1).unwrap();
        assert_eq!(outcome(&server.get("/health").unwrap()), (200, "busy".to_owned()));
        gate.open();
        assert_eq!(call.join().unwrap().status, 200);
    });
    assert_eq!(outcome(&server.get("/health").unwrap()), (200, r#"{"message":"fine"}"#.to_owned()));
}

#[test]
fn the_access_log_has_a_line_for_every_request() {
    let server = serve("mirror.wat", &["--accessLog", "--logFormat=json", "--trustedProxies=127.0.0.1, 10.0.0.1"]);
    let mut connection = server.connect().unwrap();
    let headers =
        [("X-Request-Id", "one"), ("X-Forwarded-For", "evil, 192.0.2.7, 10.0.0.1"), ("X-Forwarded-Proto", "https")];
    let response = connection.send("POST", "/path?secret=1", &headers, b"x").unwrap();
    assert!(json(&response)["URI"].as_str().unwrap().starts_with("https://127.0.0.1:"));
    let line = server.process.wait_for_line(Stream::Stderr, "\"one\"").unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["method"], "POST");
    assert_eq!(event["path"], "/path");
    assert_eq!(event["status"], 200);
    assert_eq!(event["request_id"], "one");
    assert_eq!(event["client"], "192.0.2.7");
    assert!(event["microseconds"].is_u64(), "{line}");
    assert!(!line.contains("secret"), "{line}");
    connection.send("GET", "/health", &[("X-Request-Id", "two")], b"").unwrap();
    server.process.wait_for_line(Stream::Stderr, "\"two\"").unwrap();
    // Every line of the log is a document, also the first one with the address.
    for line in server.process.output(Stream::Stderr).lines() {
        serde_json::from_str::<serde_json::Value>(line).expect(line);
    }
}

#[test]
fn forwarded_headers_of_strangers_are_not_believed() {
    let server = serve("mirror.wat", &["--accessLog", "--trustedProxies=10.0.0.1"]);
    let mut connection = server.connect().unwrap();
    let headers = [("X-Request-Id", "one"), ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")];
    let response = connection.send("GET", "/", &headers, b"").unwrap();
    assert!(json(&response)["URI"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    let line = server.process.wait_for_line(Stream::Stderr, "one").unwrap();
    assert!(
        line.contains("client=127.0.0.1") && line.contains("method=\"GET\"") && line.contains("status=200"),
        "{line}"
    );
}

#[test]
fn output_of_the_module_comes_in_whole_lines() {
    let server = serve("http-tricks.wat", &["--instances=4"]);
    std::thread::scope(|scope| {
        for letter in ["A", "B", "C", "D"] {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(server.post("/", format!("w{letter}")).unwrap().status, 200);
                }
            });
        }
    });
    // A line without end is ended with its call.
    for _ in 0..2 {
        assert_eq!(server.post("/", "v").unwrap().status, 200);
    }
    let finished = server.stop().unwrap().success().unwrap();
    let stdout = finished.stdout();
    let (mut lines, mut letters) = (0, 0);
    for line in stdout.lines() {
        match line {
            "OnStart" => {}
            "no newline" => lines += 1,
            line => {
                assert!(line.len() == 40 && line.chars().all(|c| line.starts_with(c)), "{line}");
                letters += 1;
            }
        }
    }
    assert_eq!((lines, letters), (2, 400));
    let stderr = finished.stderr();
    let own = stderr.lines().filter(|line| line.len() == 40 && line.chars().all(|c| line.starts_with(c)));
    assert_eq!(own.count(), 400, "{stderr}");
}

#[test]
fn lines_of_a_call_that_takes_long_are_shown_meanwhile() {
    let server = serve_wat(
        r#"(module
        (import "env" "hostPrintString" (func $print (param i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 16) "working")
        (func (export "malloc") (param i32) (result i32) i32.const 1024)
        (func (export "callHandleHTTP") (param i32 i32) (result i64)
          (drop (call $print (i32.const 16) (i32.const 7)))
          (loop $for_ever (br $for_ever)) (i64.const 0)))"#,
        &["--callTimeout=none"],
    );
    server.connect().unwrap().write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    server.process.wait_for_line(Stream::Stdout, "working").unwrap();
}

/// Bytes that a pipe on Linux holds; fewer when lines are cut at its pages.
#[cfg(target_os = "linux")]
const PIPE_IS_FULL: u64 = 32 * 1024;

/// The log goes through a thread of its own: when nobody reads it, calls go on.
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_nobody_reads_holds_up_no_call() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // Open for both, so that neither side waits for the other.
    let pipe = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let module = capsule_test::guests::fixture("mirror.wat").unwrap();
    let process = Program::tool("sh", "dash")
        .unwrap()
        .args(["-c", "exec \"$0\" --httpHost=127.0.0.1 --httpPort=0 --accessLog \"$1\" 2> \"$2\""])
        .args([env!("CARGO_BIN_EXE_capsule-http").as_ref(), module.as_os_str(), path.as_os_str()])
        .start()
        .unwrap();
    // A reader that sees the first lines, and then no more.
    let mut lines = BufReader::with_capacity(1, &pipe).lines();
    let line = lines.find(|line| line.as_ref().unwrap().contains("listening on")).unwrap().unwrap();
    let address: std::net::SocketAddr = line.rsplit_once("http://").unwrap().1.trim().parse().unwrap();
    let mut connection = Connection::open(address).unwrap();
    let target = format!("/{}", "x".repeat(4000));
    eventually("the pipe is full", || {
        assert_eq!(connection.send("GET", &target, &[], b"").unwrap().status, 200);
        rustix::io::ioctl_fionread(&pipe).unwrap() >= PIPE_IS_FULL
    });
    for _ in 0..200 {
        assert_eq!(connection.send("GET", &target, &[], b"").unwrap().status, 200);
    }
    assert!(process.is_running());
}
