//! The memory of the whole process: a new instance waits for it, and what does not fit is refused; nobody else notices.

use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use serde_json::Value;

use crate::faas_support::{Faas, module_path, start_body};
use crate::support::{eventually, metric, outcome, serve, serve_wat};

const TRICKS: &str = "http-tricks.wat";
const ACCOUNTED: &str = "capsule_memory_accounted_bytes";
const REFUSALS: &str = "capsule_memory_refusals_total";

/// What a server with one instance of the module takes.
fn taken() -> u64 {
    let server = serve(TRICKS, &["--maxTotalMemory=1GiB"]);
    assert_eq!(metric(&server, "capsule_memory_ceiling_bytes"), 1 << 30);
    metric(&server, ACCOUNTED)
}

#[test]
fn memory_past_the_ceiling_is_refused_to_the_guest_and_the_flag_named() {
    let limit = taken() + 40 * 65536;
    let server = serve(TRICKS, &[&format!("--maxTotalMemory={limit}")]);
    let (status, text) = outcome(&server.post("/", "g").unwrap());
    assert_eq!(status, 500);
    assert_eq!(
        text,
        format!(
            "the module trapped: wasm `unreachable` instruction executed in `handle` (it was refused memory: the process is \
             at its limit of {limit} bytes, flag `--maxTotalMemory`)"
        )
    );
    assert_eq!(metric(&server, REFUSALS), 1);
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    eventually("its memory came back", || metric(&server, ACCOUNTED) == limit - 40 * 65536);
}

#[test]
fn an_instance_that_finds_no_memory_is_503_and_comes_when_there_is() {
    let limit = taken();
    let flags = ["--instances=2", "--queueTimeout=100ms", "--callTimeout=none", &format!("--maxTotalMemory={limit}")];
    let server = serve(TRICKS, &flags);
    let mut looping = server.connect().unwrap();
    looping.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nl").unwrap();
    eventually("the only instance is busy", || server.post("/", "c").unwrap().status == 503);
    let refused = server.post("/", "c").unwrap();
    let expected = format!(
        "there is no room for a new instance: the memory of the process is at its limit of {limit} bytes (flag \
         `--maxTotalMemory`)"
    );
    assert_eq!(outcome(&refused), (503, expected));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(metric(&server, REFUSALS) >= 1);
    assert_eq!(metric(&server, "capsule_instances"), 1);
    // As soon as there is memory for two, there are two.
    let server = serve(TRICKS, &["--instances=2", "--callTimeout=none", &format!("--maxTotalMemory={}", 2 * limit)]);
    let mut looping = server.connect().unwrap();
    looping.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nl").unwrap();
    eventually("a second instance serves", || {
        server.post("/", "c").unwrap().status == 200 && metric(&server, "capsule_instances") == 2
    });
}

/// Every call has an instance of its own, there is room for three, and no call of fifty fails.
#[test]
fn calls_wait_for_memory_within_their_time() {
    let limit = taken() * 3;
    let server = serve(TRICKS, &["--instances=fresh", &format!("--maxTotalMemory={limit}")]);
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..10).map(|_| scope.spawn(|| (0..5).all(|_| server.post("/", "c").unwrap().text() == "1"))).collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap()));
    });
    assert_eq!(metric(&server, "capsule_refused_total"), 0);
}

#[test]
fn the_cache_of_a_function_is_part_of_it() {
    // Puts a MiB of the body under a key as long as the body.
    let wat = r#"(module
        (import "env" "hostCacheSet" (func $set (param i32 i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 20) (data (i32.const 16) "S{}")
        (global $keys (mut i32) (i32.const 0))
        (func (export "malloc") (param i32) (result i32) (i32.const 65536))
        (func (export "allocateBuffer") (param i32) (result i32) (i32.const 1024))
        (func (export "callHandleHTTP") (param i32 i32) (result i64)
          (global.set $keys (i32.add (global.get $keys) (i32.const 1)))
          (i32.store (i32.const 32) (global.get $keys))
          (drop (call $set (i32.const 32) (i32.const 4) (i32.const 65536) (i32.const 1048576) (i32.const 0) (i32.const 4)))
          (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 83))
            (then (return (i64.const 0x1000000003))))
          (i64.or (i64.shl (i64.extend_i32_u (i32.load (i32.const 0))) (i64.const 32)) (i64.extend_i32_u (i32.load (i32.const 4))))))"#;
    let probe = serve_wat(wat, &[]);
    let limit = metric(&probe, ACCOUNTED) + (3 << 20);
    let server = serve_wat(wat, &[&format!("--maxTotalMemory={limit}")]);
    for _ in 0..2 {
        assert_eq!(server.post("/", "").unwrap().status, 200);
    }
    let (status, text) = outcome(&server.post("/", "").unwrap());
    assert_eq!(status, 500);
    let expected = format!("there is no room in the cache: the memory of the process is at its limit of {limit} bytes");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_start_that_does_not_fit_is_refused_unless_somebody_idle_can_go() {
    let faas = Faas::start(&[]);
    let accounted = |faas: &Faas| {
        let text = faas.admin("GET", "/metrics", "").text();
        let value = text.lines().find_map(|line| line.strip_prefix(ACCOUNTED)?.strip_prefix(' ')).unwrap();
        value.parse::<u64>().unwrap()
    };
    faas.start_function("a", "services.wat", &[]);
    let one = accounted(&faas);
    faas.start_function("b", "services.wat", &[]);
    let instance = accounted(&faas) - one;
    drop(faas);

    // Room for two that share their code, and for the text of a module while it is read.
    let flags = ["--queueTimeout=50ms", &format!("--maxTotalMemory={}", one + 2 * instance - 1)];
    let faas = Faas::start(&flags);
    faas.start_function("keeps", "services.wat", &[]);
    assert_eq!(faas.call("keeps", "c").0, 200);
    faas.start_function("sleeps", "services.wat", &["-stopAfter=1h"]);
    assert_eq!(faas.status("sleeps/default/0"), "Started");
    // Idle, and nothing is lost by it: it makes room.
    faas.start_function("more", "services.wat", &[]);
    assert_eq!(faas.status("sleeps/default/0"), "Stopped");
    // Who is left has state, and is never let go.
    let answer = faas.admin("POST", "/functions/start", start_body("last", &module_path("services.wat"), &[], &[]));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    let error = document["error"].as_str().unwrap();
    assert!(error.contains("(flag `--maxTotalMemory`)"), "{error}");
    assert_eq!(faas.keys(), ["keeps/default/0", "more/default/0", "sleeps/default/0"]);
    assert_eq!(faas.call("keeps", "c").1, "\u{1}", "it counted the call before");
    let (status, text) = faas.call("sleeps", "c");
    assert!(status == 503 && text.contains("--maxTotalMemory"), "{status} {text}");
    faas.admin("DELETE", "/functions/drop/more", "");
    eventually("there is room again", || faas.call("sleeps", "c").0 == 200);
}

/// The control group of a container, of version 2: its limit is less than what the machine has.
#[cfg(target_os = "linux")]
#[test]
fn the_default_is_a_share_of_what_there_is() {
    let machine = {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    };
    let found = metric(&serve(TRICKS, &[]), "capsule_memory_ceiling_bytes");
    assert!(found > 0 && found <= machine / 100 * 75, "{found} of {machine}");
    let module = capsule_test::guests::fixture(TRICKS).unwrap();
    let script = "echo 268435456 > /sys/fs/cgroup/memory.max; exec \"$0\" --httpHost=127.0.0.1 \"$@\"";
    let program = Program::tool("sh", "dash")
        .unwrap()
        .args(["-c", script, env!("CARGO_BIN_EXE_capsule-http")])
        .arg(module)
        .on_small_disk("/sys/fs/cgroup", "64k")
        .unwrap();
    let server = HttpServer::launch(program).unwrap();
    assert_eq!(metric(&server, "capsule_memory_ceiling_bytes"), (256 << 20) / 100 * 75);
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    let server = serve(TRICKS, &["--maxTotalMemory=none"]);
    assert!(server.get("/metrics").unwrap().text().contains("\ncapsule_memory_ceiling_bytes +Inf\n"));
}
