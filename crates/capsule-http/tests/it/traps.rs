//! A call that goes wrong fails alone, and its instance is replaced.

use capsule_test::process::Stream;

use crate::support::{eventually, metric, outcome, serve, serve_wat};

#[test]
fn every_way_to_fail_has_its_line() {
    let server = serve("http-tricks.wat", &[]);
    for (body, text, replaced) in [
        ("t", "the module trapped: wasm `unreachable` instruction executed in `explode`", true),
        ("s", "the module trapped: call stack exhausted in `recurse`", true),
        ("x", "the module ended itself with exit code 3 in the middle of a call", true),
        ("p", "the module broke the ABI: ", true),
        (
            "o",
            "the module broke the ABI: its result at 0xfffffff0 with length 1000 is outside of its memory of 131072 bytes",
            true,
        ),
        ("z", "the module broke the ABI: ", true),
        ("f", "no", false),
    ] {
        let before = metric(&server, "capsule_instances_started_total");
        assert_eq!(server.post("/", "c").unwrap().status, 200);
        let response = server.post("/", body).unwrap();
        assert_eq!(response.status, 500, "{body}");
        assert!(response.text().starts_with(text), "{body}: {}", response.text());
        assert_eq!(response.text().lines().count(), 1, "{}", response.text());
        assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(server.post("/", "c").unwrap().text() == "1", replaced, "{body}");
        assert_eq!(metric(&server, "capsule_instances_started_total") - before, u64::from(replaced), "{body}");
    }
    assert_eq!(metric(&server, "capsule_http_requests_total{status=\"500\"}"), 7);
    assert_eq!(metric(&server, "capsule_failures_total"), 1);
    // One `OnStart` for each instance, and nothing of a backtrace on stdout.
    let stdout = server.stop().unwrap().success().unwrap().stdout();
    assert_eq!(stdout, "OnStart\n".repeat(7));
}

#[test]
fn the_backtrace_is_in_the_log_alone() {
    let server = serve("http-tricks.wat", &[]);
    let mut connection = server.connect().unwrap();
    let response = connection.send("POST", "/", &[("X-Request-Id", "the-one")], b"t").unwrap();
    assert_eq!(
        outcome(&response),
        (500, "the module trapped: wasm `unreachable` instruction executed in `explode`".into())
    );
    let line = server.process.wait_for_line(Stream::Stderr, "explode").unwrap();
    assert!(line.contains("WARN"), "{line}");
    server.process.wait_for_line(Stream::Stderr, " - handle").unwrap();
    let log = server.process.output(Stream::Stderr);
    assert!(log.contains(" - explode") && log.contains(" - handle") && log.contains("the-one"), "{log}");
}

#[test]
fn other_calls_are_not_affected() {
    let server = serve("http-tricks.wat", &["--instances=2"]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = server.connect().unwrap();
                for _ in 0..100 {
                    assert_eq!(connection.send("POST", "/", &[], b"t").unwrap().status, 500);
                }
            });
            scope.spawn(|| {
                let mut connection = server.connect().unwrap();
                for _ in 0..100 {
                    assert_eq!(connection.send("POST", "/", &[], b"c").unwrap().status, 200);
                }
            });
        }
    });
    assert_eq!(metric(&server, "capsule_traps_total"), 200);
}

/// Resident memory in KiB and open descriptors.
fn held(pid: u32) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    (resident.unwrap().trim().parse().unwrap(), std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

#[test]
#[cfg(target_os = "linux")]
fn a_thousand_traps_leave_nothing_behind() {
    let server = serve("http-tricks.wat", &["--logLevel=info,capsule_http::app=off"]);
    let mut connection = server.connect().unwrap();
    let mut traps = |count: usize| {
        for _ in 0..count {
            assert_eq!(connection.send("POST", "/", &[], b"t").unwrap().status, 500);
        }
        assert_eq!(connection.send("POST", "/", &[], b"c").unwrap().text(), "1");
    };
    let pid = server.process.id();
    traps(200);
    let before = held(pid);
    traps(1000);
    let after = held(pid);
    assert!(after.0 < before.0 + 16 * 1024, "resident memory grew from {} to {} KiB", before.0, after.0);
    assert!(after.1 <= before.1 + 2, "open files grew from {} to {}", before.1, after.1);
    eventually("one instance is left", || metric(&server, "capsule_instances") == 1);
    assert_eq!(metric(&server, "capsule_traps_total"), 1200);
    assert_eq!(metric(&server, "capsule_instances_started_total"), 1201);
}

#[test]
fn a_trap_in_the_allocator_is_one_of_the_call() {
    let server = serve_wat(
        r#"(module (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) unreachable)
        (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#,
        &[],
    );
    for _ in 0..2 {
        let (status, text) = outcome(&server.post("/", "x").unwrap());
        assert_eq!((status, text.as_str()), (500, "the module trapped: wasm `unreachable` instruction executed"));
    }
}

#[test]
fn a_bad_pointer_to_a_host_function_is_a_trap_of_the_call() {
    let server = serve_wat(
        r#"(module
        (import "env" "hostPrintString" (func $print (param i32 i32) (result i32)))
        (memory (export "memory") 2)
        (func (export "malloc") (param i32) (result i32) i32.const 65536)
        (func (export "callHandleHTTP") (param i32 i32) (result i64)
          (drop (call $print (i32.const -16) (i32.const 1000))) (i64.const 0)))"#,
        &[],
    );
    for _ in 0..2 {
        let (status, text) = outcome(&server.get("/").unwrap());
        assert_eq!(status, 500);
        assert!(text.starts_with("the module trapped: host function `hostPrintString`: "), "{text}");
    }
}
