//! What a global variable of the module means under each instance contract.

use std::collections::{BTreeMap, BTreeSet};

use capsule_test::client::Connection;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, Gate, HttpStub};
use serde_json::Value;

use crate::support::{eventually, json, many_files, metric, serve};

const CONNECTIONS: usize = 500;
const ROUNDS: usize = 20;
const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";

/// The id of the instance and its count, from an answer of `counter.wat`.
fn counted(answer: &Value) -> (String, u64) {
    (answer["id"].as_str().unwrap().to_owned(), answer["count"].as_u64().unwrap())
}

fn read(connection: &mut Connection) -> (String, u64) {
    counted(&json(&connection.read_response("POST").unwrap()))
}

fn connections(server: &HttpServer) -> Vec<Connection> {
    (0..CONNECTIONS).map(|_| server.connect().unwrap()).collect()
}

#[test]
fn ten_thousand_calls_count_to_ten_thousand() {
    many_files();
    let server = serve("counter.wat", &[]);
    let mut connections = connections(&server);
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        for connection in &mut connections {
            connection.write(REQUEST).unwrap();
        }
        seen.extend(connections.iter_mut().map(|connection| read(connection).1));
    }
    assert_eq!(seen, (1..=10_000).collect());
    assert_eq!(metric(&server, "capsule_http_requests_total{status=\"200\"}"), 10_000);
    assert_eq!(metric(&server, "capsule_instances_started_total"), 1);
}

#[test]
fn calls_of_clients_that_hang_up_are_counted_too() {
    many_files();
    // Who hangs up comes back, while the call may still wait: there may be more of them than connections.
    let server = serve("counter.wat", &["--maxQueue=none"]);
    let mut connections = connections(&server);
    let (mut seen, mut hung_up) = (BTreeSet::new(), 0);
    for round in 0..ROUNDS {
        let leaves = |index: usize| (index + round).is_multiple_of(10);
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.write(REQUEST).unwrap();
            if leaves(index) {
                *connection = server.connect().unwrap();
                hung_up += 1;
            }
        }
        let staying = connections.iter_mut().enumerate().filter(|(index, _)| !leaves(*index));
        seen.extend(staying.map(|(_, connection)| read(connection).1));
    }
    assert_eq!((hung_up, seen.len()), (1_000, 9_000), "no count is answered twice");
    // A request that is cut off in its body is none.
    for _ in 0..50 {
        server.connect().unwrap().write(&REQUEST[..REQUEST.len() - 1]).unwrap();
    }
    eventually("all calls ended", || metric(&server, "capsule_waiting_calls") == 0);
    assert_eq!(counted(&json(&server.get("/").unwrap())).1, 10_001);
    assert_eq!(metric(&server, "capsule_instances_started_total"), 1);
}

#[test]
fn several_instances_count_for_themselves_and_lose_nothing() {
    many_files();
    let server = serve("counter.wat", &["--instances=4"]);
    let mut connections = connections(&server);
    let mut counts: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for connection in &mut connections {
            connection.write(REQUEST).unwrap();
        }
        for connection in &mut connections {
            let (id, count) = read(connection);
            assert!(counts.entry(id).or_default().insert(count), "a count twice");
        }
    }
    assert!(counts.len() <= 4, "{counts:?}");
    for counts in counts.values() {
        assert_eq!(counts.last().copied(), Some(counts.len() as u64), "a count is missing");
    }
    assert_eq!(counts.values().map(BTreeSet::len).sum::<usize>(), 10_000);
    assert_eq!(metric(&server, "capsule_instances_started_total"), counts.len() as u64);
}

#[test]
fn instances_beyond_the_first_are_made_when_calls_would_wait() {
    let stub = HttpStub::start().unwrap();
    let gate = Gate::new();
    stub.answer("/", Answer::new(200, "text/plain", "x").behind(&gate));
    let server = serve("services.wat", &["--instances=3"]);
    assert_eq!(metric(&server, "capsule_instances"), 1);
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| server.post("/", &body).unwrap().status)).collect();
        stub.wait_for_requests(3).unwrap();
        eventually("the fourth waits", || metric(&server, "capsule_waiting_calls") == 1);
        assert_eq!(metric(&server, "capsule_instances"), 3);
        gate.open();
        assert_eq!(calls.into_iter().map(|call| call.join().unwrap()).collect::<Vec<_>>(), [200; 4]);
    });
}

#[test]
fn fresh_sees_the_start_in_every_call() {
    let server = serve("counter.wat", &["--instances=fresh"]);
    let mut ids = BTreeSet::new();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = server.connect().unwrap();
                    (0..25)
                        .map(|_| counted(&json(&connection.send("POST", "/", &[], b"x").unwrap())))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for (id, count) in calls.into_iter().flat_map(|call| call.join().unwrap()) {
            assert_eq!(count, 1);
            ids.insert(id);
        }
    });
    assert_eq!(ids.len(), 100);
    eventually("nothing is left", || metric(&server, "capsule_instances") == 0);
}

#[test]
fn who_hangs_up_in_the_middle_of_a_call_does_not_end_it() {
    let stub = HttpStub::start().unwrap();
    let gate = Gate::new();
    stub.answer("/", Answer::new(200, "text/plain", "x").behind(&gate));
    let server = serve("services.wat", &[]);
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    let mut connection = server.connect().unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    connection.write(head.as_bytes()).unwrap();
    stub.wait_for_requests(1).unwrap();
    drop(connection);
    gate.open();
    assert_eq!(server.post("/", "c").unwrap().body, [1], "the call came to its end");
    assert_eq!(metric(&server, "capsule_instances_started_total"), 1);
}

#[test]
fn who_hangs_up_ends_a_fresh_call() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::new(200, "text/plain", "x").behind(&Gate::new()));
    let server = serve("services.wat", &["--instances=fresh", "--callTimeout=none", "--outboundTimeout=none"]);
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    // Also one who has begun with another request, which nobody reads before the first one is answered.
    for (more, number) in [("", 1), ("X", 2), ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 3)] {
        let mut connection = server.connect().unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        connection.write(head.as_bytes()).unwrap();
        stub.wait_for_requests(number).unwrap();
        connection.write(more.as_bytes()).unwrap();
        assert_eq!(metric(&server, "capsule_instances"), 1);
        drop(connection);
        eventually("the call is cancelled", || metric(&server, "capsule_instances") == 0);
    }
}

#[test]
fn who_has_nothing_more_to_send_gets_all_of_a_large_answer() {
    let server = serve("large.wat", &["--instances=fresh"]);
    for _ in 0..5 {
        let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
        let request = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\n9";
        std::io::Write::write_all(&mut stream, request).unwrap();
        let mut answer = vec![0; 64];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        assert!(answer.len() > 9 << 20, "{} bytes", answer.len());
    }
}
