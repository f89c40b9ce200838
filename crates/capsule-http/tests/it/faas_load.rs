//! No call fails: while traffic moves between revisions, and while a function falls asleep and wakes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::faas_support::Faas;
use crate::support::eventually;

#[test]
fn no_call_fails_while_traffic_moves_from_blue_to_green() {
    let faas = Faas::start(&[]);
    faas.start_function("hello/blue", "hey", &[]);
    faas.start_function("hello/green", "faas-hello-orange", &[]);
    faas.start_function("hello/old", "hey", &[]);
    assert_eq!(faas.admin("PUT", "/functions/route/hello", r#"{"blue":1}"#).status, 200);
    let (over, calls, failures) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (blue, green) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = faas.server.connect().unwrap();
                while !over.load(Ordering::Relaxed) {
                    let answer = connection.send("POST", "/functions/hello", &[], b"Bob").unwrap();
                    let revision = answer.header("x-capsule-revision").unwrap_or("none").to_owned();
                    match (answer.status, revision.as_str(), answer.text().as_str()) {
                        (200, "blue", "👋 Hey Bob !") => blue.fetch_add(1, Ordering::Relaxed),
                        (200, "green", "🟠 👋 Hey Bob !") => green.fetch_add(1, Ordering::Relaxed),
                        other => {
                            failures.lock().unwrap().push(format!("{other:?}"));
                            return;
                        }
                    };
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Each act happens in the middle of calls: some before it, some after it.
        let some_more = |what: &str| {
            let so_far = calls.load(Ordering::Relaxed);
            eventually(what, || calls.load(Ordering::Relaxed) >= so_far + 200 || !failures.lock().unwrap().is_empty());
        };
        let admin = |method: &str, path: &str, body: &str| {
            some_more(path);
            let answer = faas.admin(method, &format!("/functions/{path}"), body);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        };
        for round in 0..3 {
            admin("PUT", "route/hello", r#"{"blue":90,"green":10}"#);
            admin("PUT", "scale/hello/green/3", "");
            admin("PUT", "route/hello", r#"{"blue":1,"green":9}"#);
            admin("PUT", "route/hello", r#"{"green":1}"#);
            admin("DELETE", "drop/hello/blue", "");
            admin("PUT", "scale/hello/green/1", "");
            if round == 0 {
                admin("DELETE", "drop/hello/old", "");
            }
            some_more("calls of green alone");
            faas.start_function("hello/blue", "hey", &[]);
            admin("PUT", "route/hello", r#"{"blue":1}"#);
            admin("POST", "rollback/hello", "");
            admin("POST", "rollback/hello", "");
            admin("PUT", "route/hello", r#"{"blue":1}"#);
        }
        some_more("the last calls");
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(failures.into_inner().unwrap(), [""; 0]);
    assert!(blue.into_inner() > 0 && green.into_inner() > 0);
}

#[test]
fn no_call_fails_while_a_function_falls_asleep() {
    let faas = Faas::start(&[]);
    faas.start_function("hello", "hey", &["-stopAfter=40ms"]);
    let mut connection = faas.server.connect().unwrap();
    // Calls come just before, at and after the moment at which it falls asleep. A pause of the test, not a wait for something.
    for round in 0..60 {
        let answer = connection.send("POST", "/functions/hello", &[], b"Bob").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "👋 Hey Bob !"), "round {round}");
        let pause = Instant::now() + Duration::from_millis(36 + round % 9);
        while Instant::now() < pause {
            std::thread::yield_now();
        }
    }
    let woken = r#"capsule_function_cold_start_seconds_count{function="hello",revision="default"}"#;
    let text = faas.admin("GET", "/metrics", "").text();
    let count: u64 = text.lines().find_map(|line| line.strip_prefix(woken)).unwrap().trim().parse().unwrap();
    assert!(count > 1, "it never slept");
}
