//! The walls: sizes, time, memory, queues, each at its edge.

use std::time::{Duration, Instant};

use capsule_test::process::Stream;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, Gate, HttpStub};

use crate::support::{eventually, metric, module, outcome, run, serve, serve_wat, starts_once};

/// How often a limit was met, as `/metrics` has it.
fn hits(server: &HttpServer, limit: &str) -> u64 {
    metric(server, &format!("capsule_limit_hits_total{{limit=\"{limit}\"}}"))
}

#[test]
fn a_body_is_limited_to_the_byte() {
    let server = serve("mirror.wat", &["--maxBody=1000"]);
    let refused = (413, "the body exceeds the limit of 1000 bytes (flag `--maxBody`)".to_owned());
    assert_eq!(server.post("/", "x".repeat(1000)).unwrap().status, 200);
    assert_eq!(outcome(&server.post("/", "x".repeat(1001)).unwrap()), refused);
    let chunked = |chunks: &[usize]| {
        let mut wire = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for size in chunks {
            wire.extend(format!("{size:x}\r\n{}\r\n", "x".repeat(*size)).bytes());
        }
        wire.extend(b"0\r\n\r\n");
        let mut connection = server.connect().unwrap();
        connection.write(&wire).unwrap();
        outcome(&connection.read_response("POST").unwrap())
    };
    assert_eq!(chunked(&[1, 998, 1]).0, 200);
    assert_eq!(chunked(&[500, 500, 1]), refused);
    assert_eq!(chunked(&[1001]), refused);
    // Announced alone is enough: nothing of the body has to be sent.
    let mut connection = server.connect().unwrap();
    connection.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n").unwrap();
    assert_eq!(outcome(&connection.read_response("POST").unwrap()), refused);
    assert_eq!(hits(&server, "maxBody"), 4);
    // Escaped, the largest body is a document of six times its size: it still reaches the module.
    assert_eq!(server.post("/", "\u{1}".repeat(1000)).unwrap().status, 200);
    assert_eq!(serve("mirror.wat", &["--maxBody=none"]).post("/", vec![b'x'; 11 << 20]).unwrap().status, 200);
    assert_eq!(serve("mirror.wat", &[]).post("/", vec![b'x'; 10 << 20]).unwrap().status, 200);
    assert_eq!(serve("mirror.wat", &[]).post("/", vec![b'x'; (10 << 20) + 1]).unwrap().status, 413);
}

#[test]
fn a_call_past_its_time_is_504_and_its_instance_replaced() {
    let server = serve("http-tricks.wat", &["--callTimeout=2s"]);
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    let begin = Instant::now();
    let late = server.post("/", "l").unwrap();
    assert_eq!(outcome(&late), (504, "the call exceeded its time limit of 2s (flag `--callTimeout`)".to_owned()));
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    eventually("the call that was given up has gone", || metric(&server, "capsule_timeouts_total") > 0);
    assert_eq!(metric(&server, "capsule_timeouts_total"), 1);
    assert_eq!(hits(&server, "callTimeout"), 1);
    assert_eq!(metric(&server, "capsule_http_requests_total{status=\"504\"}"), 1);
}

#[test]
fn waiting_in_a_host_function_counts_too() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/never", Answer::new(200, "text/plain", "late").behind(&Gate::new()));
    let server = serve("services.wat", &["--callTimeout=2s"]);
    let document = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/never"));
    let late = server.post("/", document).unwrap();
    assert_eq!(outcome(&late), (504, "the call exceeded its time limit of 2s (flag `--callTimeout`)".to_owned()));
    assert_eq!(server.post("/", "c").unwrap().body, [0], "the instance is a new one");
}

#[test]
fn a_start_past_its_time_keeps_the_server_from_serving() {
    for export in ["_start", "_initialize", "OnStart"] {
        let guest = module(&format!(
            r#"(module (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8)
            (func (export "{export}") (loop $l (br $l)))
            (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#
        ));
        let path = guest.path().to_str().unwrap();
        let finished = run(&[path, "--callTimeout=100ms", "--httpHost=127.0.0.1"]);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let stderr = finished.stderr();
        assert!(stderr.starts_with(&format!("error: module `{path}`: ")), "{finished:?}");
        assert!(stderr.ends_with("the call exceeded its time limit of 100ms (flag `--callTimeout`)\n"), "{finished:?}");
        assert_eq!(stderr.lines().count(), 1, "{finished:?}");
    }
}

#[test]
fn refused_memory_is_named() {
    let server = serve("http-tricks.wat", &["--maxMemory=4MiB"]);
    let (status, text) = outcome(&server.post("/", "g").unwrap());
    assert_eq!(status, 500);
    assert_eq!(
        text,
        "the module trapped: wasm `unreachable` instruction executed in `handle` (it was refused memory at its limit of \
         4194304 bytes, flag `--maxMemory`)"
    );
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    assert_eq!(hits(&server, "maxMemory"), 1);
    // An argument that finds no room is one more call that memory failed.
    let (status, text) = outcome(&server.post("/", vec![b'x'; 5 << 20]).unwrap());
    assert!(status == 500 && text.contains("flag `--maxMemory`"), "{status} {text}");
}

/// Neither a pool nor one memory of 4 GiB finds room.
#[cfg(target_os = "linux")]
#[test]
fn it_serves_where_address_space_is_short() {
    let module = capsule_test::guests::fixture("http-tricks.wat").unwrap();
    let program = Program::tool("sh", "dash")
        .unwrap()
        .args(["-c", "ulimit -v 4000000; exec \"$0\" --httpHost=127.0.0.1 --httpPort=0 --instances=8 \"$1\""])
        .args([env!("CARGO_BIN_EXE_capsule-http").as_ref(), module.as_os_str()]);
    let server = HttpServer::launch(program).unwrap();
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    let (status, text) = outcome(&server.post("/", "g").unwrap());
    assert!(status == 500 && text.contains("at its limit of 268435456 bytes"), "{status} {text}");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(server.post("/", "c").unwrap().status, 200);
                }
            });
        }
    });
}

#[test]
fn a_result_is_limited() {
    let server = serve("answer.wat", &["--maxResult=100"]);
    let document = |size: usize| format!("{:<size$}", r#"{"JSONBody":1}"#);
    assert_eq!(outcome(&server.post("/", document(99)).unwrap()), (200, "1".to_owned()));
    assert_eq!(
        outcome(&server.post("/", document(100)).unwrap()),
        (500, "the module's result has 101 bytes, the limit is 100 (flag `--maxResult`)".to_owned())
    );
    assert_eq!(metric(&server, "capsule_instances_started_total"), 1, "the instance is sound");
    assert_eq!(hits(&server, "maxResult"), 1);
}

#[test]
fn a_full_queue_is_503_at_once() {
    let stub = HttpStub::start().unwrap();
    let gate = Gate::new();
    stub.answer("/", Answer::new(200, "text/plain", "ok").behind(&gate));
    let server = serve("services.wat", &["--maxQueue=1"]);
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| server.post("/", &body).unwrap());
        stub.wait_for_requests(1).unwrap();
        let waiting = scope.spawn(|| server.post("/", "c").unwrap());
        eventually("a call waits", || metric(&server, "capsule_waiting_calls") == 1);
        let refused = server.post("/", "c").unwrap();
        assert_eq!(
            outcome(&refused),
            (503, "too many calls wait for this function: the limit is 1 (flag `--maxQueue`)".to_owned())
        );
        assert_eq!(refused.header("retry-after"), Some("1"));
        gate.open();
        assert_eq!(running.join().unwrap().status, 200);
        assert_eq!(waiting.join().unwrap().body, [1]);
    });
    assert_eq!(metric(&server, "capsule_refused_total"), 1);
    assert_eq!(hits(&server, "maxQueue"), 1);
}

#[test]
fn waiting_has_a_limit_of_its_own() {
    let server = serve("http-tricks.wat", &["--queueTimeout=100ms", "--callTimeout=none"]);
    let mut running = server.connect().unwrap();
    running.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nl").unwrap();
    eventually("the call runs", || server.post("/", "c").unwrap().status == 503);
    let refused = server.post("/", "c").unwrap();
    let expected = "no instance of this function became free within 100ms (flag `--queueTimeout`)";
    assert_eq!(outcome(&refused), (503, expected.to_owned()));
    assert!(hits(&server, "queueTimeout") >= 2);
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[test]
fn a_start_that_fails_again_backs_off() {
    // The first instance starts; the ones after the trap find the counter in the cache and trap at once.
    let server = serve_wat(&starts_once("(unreachable)"), &[]);
    assert_eq!(server.post("/", "").unwrap().status, 500);
    let (status, text) = outcome(&server.post("/", "").unwrap());
    assert_eq!(status, 500);
    assert!(text.starts_with("the module could not be started: the module trapped: "), "{text}");
    // The pause doubles with each try that comes after it: on the slowest machine too, a call comes within one.
    let mut refused = server.post("/", "").unwrap();
    while refused.status == 500 {
        refused = server.post("/", "").unwrap();
    }
    assert_eq!(outcome(&refused), (503, "the function failed to start and is tried again later".to_owned()));
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn looping_calls_do_not_delay_others() {
    let server = serve("http-tricks.wat", &["--instances=3", "--callTimeout=none"]);
    let mut loops = Vec::new();
    for _ in 0..2 {
        let mut connection = server.connect().unwrap();
        connection.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nl").unwrap();
        loops.push(connection);
    }
    eventually("both loop", || metric(&server, "capsule_instances") >= 2);
    let mut connection = server.connect().unwrap();
    connection.send("POST", "/", &[], b"c").unwrap();
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(connection.send("POST", "/", &[], b"c").unwrap().status, 200);
            begin.elapsed()
        })
        .collect();
    times.sort();
    // A loaded machine is slow now and then; half of the calls are not.
    assert!(times[25] < Duration::from_millis(500), "{times:?}");
    assert!(server.process.output(Stream::Stderr).contains("listening"));
}

/// What is made already is held for those who read it, as far as there is room beside what others do not read.
#[test]
fn a_large_answer_that_finds_no_room_is_refused() {
    let server = serve("large.wat", &["--maxBuffered=16MiB", "--writeTimeout=none"]);
    // More than the system keeps for a client, which reads nothing of it: the answer that it is at is held.
    let mut unread = server.connect().unwrap();
    unread.write(&b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n9".repeat(4)).unwrap();
    eventually("it is held", || metric(&server, "capsule_buffered_bytes") > 9 << 20);
    let refused = server.post("/", "9").unwrap();
    // Its status first: what came instead would be long.
    assert_eq!(refused.status, 503);
    assert_eq!(refused.text(), "the server holds as much for its clients as it may (flag `--maxBuffered`)");
    assert!(refused.header("retry-after").is_some());
    let small = server.post("/", "x").unwrap();
    assert_eq!(small.status, 200, "a small one is not looked at");
    drop(unread);
    eventually("nothing is held", || metric(&server, "capsule_buffered_bytes") < 1 << 20);
    assert_eq!(server.post("/", "9").unwrap().body.len(), (9 << 20) + 2);
}
