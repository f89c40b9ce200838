//! `--maxCalls`: an instance serves so many calls, then a new one takes its place, and no call notices.

use crate::faas_support::Faas;
use crate::support::{metric, serve};

#[test]
fn a_new_instance_takes_over_after_so_many_calls() {
    let server = serve("http-tricks.wat", &["--maxCalls=3"]);
    let counts: Vec<String> = (0..7).map(|_| server.post("/", "c").unwrap().text()).collect();
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1"]);
    assert_eq!(metric(&server, "capsule_instances_recycled_total"), 2);
    assert_eq!(metric(&server, "capsule_instances_started_total"), 3);
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..20).all(|_| server.post("/", "c").unwrap().status == 200))).collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap()));
    });
    assert_eq!(metric(&server, "capsule_http_requests_total{status=\"200\"}"), 167);
    assert_eq!(metric(&server, "capsule_refused_total"), 0);
    let unlimited = serve("http-tricks.wat", &["--maxCalls=none"]);
    for count in 1..=5 {
        assert_eq!(unlimited.post("/", "c").unwrap().text(), count.to_string());
    }
}

#[test]
fn its_hooks_run_one_after_the_other() {
    let server = serve("hooks.wat", &["--maxCalls=1"]);
    for _ in 0..3 {
        assert_eq!(server.post("/", "").unwrap().status, 200);
    }
    let stdout = server.stop().unwrap().success().unwrap().stdout();
    let hooks: Vec<&str> = stdout.lines().filter(|line| matches!(*line, "OnStart" | "OnStop")).collect();
    assert!(hooks.chunks(2).all(|pair| pair == ["OnStart", "OnStop"]) && hooks.len() >= 6, "{stdout}");
}

#[test]
fn memory_that_has_grown_is_a_reason_too() {
    let server = serve("http-tricks.wat", &["--maxCalls=1000", "--maxMemory=4MiB"]);
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    assert_eq!(server.post("/", "c").unwrap().text(), "2");
    // Its document takes more than 80 % of 64 pages.
    assert_eq!(server.post("/", vec![b' '; 52 << 16]).unwrap().status, 200);
    assert_eq!(server.post("/", "c").unwrap().text(), "1");
    assert_eq!(metric(&server, "capsule_instances_recycled_total"), 1);
}

#[test]
fn each_function_has_its_own() {
    let faas = Faas::start(&["--maxCalls=2"]);
    faas.start_function("two", "http-tricks.wat", &[]);
    faas.start_function("three", "http-tricks.wat", &["-maxCalls=3"]);
    let counts = |name: &str| (0..4).map(|_| faas.call(name, "c").1).collect::<Vec<_>>();
    assert_eq!(counts("two"), ["1", "2", "1", "2"]);
    assert_eq!(counts("three"), ["1", "2", "3", "1"]);
    let text = faas.admin("GET", "/metrics", "").text();
    let recycled = r#"capsule_function_instances_recycled_total{function="three",revision="default"} 1"#;
    assert!(text.contains(recycled), "{text}");
}
