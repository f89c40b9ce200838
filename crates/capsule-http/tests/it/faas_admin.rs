//! Administration: who may, with which methods, and what is refused; the registry is as it was after every refusal.

use capsule_test::process::Stream;
use capsule_test::server::HttpServer;
use serde_json::{Value, json};

use crate::faas_support::{Faas, TOKEN, module_path, refusal, start_body};
use crate::support::run;

/// Every route that needs a token.
const GUARDED: [(&str, &str); 13] = [
    ("POST", "/functions/start"),
    ("GET", "/functions/processes"),
    ("PUT", "/functions/duplicate/hello/default/b"),
    ("DELETE", "/functions/drop/hello"),
    ("DELETE", "/functions/drop/hello/default/0"),
    ("PUT", "/functions/scale/hello/default/2"),
    ("PUT", "/functions/route/hello"),
    ("POST", "/functions/rollback/hello"),
    ("PUT", "/functions/modules"),
    ("POST", "/functions/prune"),
    ("GET", "/functions/logs/hello"),
    ("GET", "/functions/logs/hello?follow=true"),
    ("GET", "/metrics"),
];

#[test]
fn every_guarded_route_needs_the_token() {
    let faas = Faas::start(&["--accessLog"]);
    faas.start_function("hello", "hey", &[]);
    let before = faas.processes();
    for (method, path) in GUARDED {
        let mut connection = faas.server.connect().unwrap();
        for headers in [
            &[][..],
            &[("CAPSULE_FAAS_TOKEN", "wrong")],
            &[("CAPSULE_FAAS_TOKEN", "")],
            &[("Authorization", "Bearer s3cret")],
            &[("Authorization", "Basic s3cret-token")],
        ] {
            let answer = connection.send(method, path, headers, b"").unwrap();
            let (status, error) = refusal(&answer);
            assert!(status == 401 && error.starts_with("the token is "), "{method} {path}: {error}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert!(answer.header("x-capsule-faas").is_some());
            assert!(!answer.text().contains(TOKEN));
        }
    }
    assert_eq!(faas.processes(), before);
    for header in [("CAPSULE_FAAS_TOKEN", TOKEN), ("Authorization", "Bearer s3cret-token")] {
        let answer = faas.server.connect().unwrap().send("GET", "/functions/processes", &[header], b"").unwrap();
        assert_eq!(answer.status, 200);
    }
    // Open to all.
    for path in ["/health", "/functions/health/hello", "/functions/hello"] {
        assert_eq!(faas.send("GET", path, "").status, 200, "{path}");
    }
    let log = faas.server.stop().unwrap().stderr();
    let denied = log.lines().filter(|line| line.contains("audit: act=\"denied\"")).count();
    assert_eq!(denied, GUARDED.len() * 5, "{log}");
    assert!(!log.contains(TOKEN) && !log.contains("wrong\""), "{log}");
}

#[test]
fn without_a_token_administration_is_off() {
    let server = HttpServer::start(&["--faas"], &[]).unwrap();
    server.process.wait_for_line(Stream::Stderr, "administration is off").unwrap();
    for (method, path) in GUARDED {
        let answer = server.connect().unwrap().send(method, path, &[("CAPSULE_FAAS_TOKEN", "")], b"").unwrap();
        let (status, error) = refusal(&answer);
        assert_eq!((status, error.as_str()), (403, "administration is off: the server was started without a token"));
        assert!(answer.text().contains("CAPSULE_FAAS_TOKEN_FILE"));
    }
    assert_eq!(server.get("/").unwrap().text(), format!("Capsule {}[faas]", env!("CARGO_PKG_VERSION")));
}

#[test]
fn two_tokens_are_valid_at_once_and_are_replaced_without_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tokens");
    std::fs::write(&file, "old-token\nnew-token\n").unwrap();
    let path = file.to_str().unwrap().to_owned();
    let faas = Faas::start_in(home, &[], &[("CAPSULE_FAAS_TOKEN", ""), ("CAPSULE_FAAS_TOKEN_FILE", &path)]);
    let status = |token: &str| {
        let headers = [("CAPSULE_FAAS_TOKEN", token)];
        faas.server.connect().unwrap().send("GET", "/functions/processes", &headers, b"").unwrap().status
    };
    assert_eq!((status("old-token"), status("new-token"), status("newest")), (200, 200, 401));
    std::fs::write(&file, "new-token\nnewest\n").unwrap();
    faas.server.process.signal(rustix::process::Signal::HUP).unwrap();
    faas.server.process.wait_for_line(Stream::Stderr, "2 tokens are valid").unwrap();
    assert_eq!((status("old-token"), status("new-token"), status("newest")), (401, 200, 200));
    std::fs::write(&file, "\n").unwrap();
    faas.server.process.signal(rustix::process::Signal::HUP).unwrap();
    faas.server.process.wait_for_line(Stream::Stderr, "the tokens are as before").unwrap();
    assert_eq!(status("newest"), 200);
    let log = faas.server.stop().unwrap().stderr();
    assert!(!log.contains("newest") && !log.contains("old-token"), "{log}");
}

#[test]
fn other_methods_are_refused_and_the_right_one_is_named() {
    let faas = Faas::start(&[]);
    for (method, path) in GUARDED.iter().filter(|(_, path)| *path != "/metrics") {
        let wrong = if *method == "PUT" { "PATCH" } else { "PUT" };
        let answer = faas.admin(wrong, path, "");
        let (status, error) = refusal(&answer);
        assert_eq!((status, error), (405, format!("expected {method}, found {wrong}")), "{path}");
        let allowed = if path.ends_with("processes") { "GET, HEAD" } else { method };
        assert_eq!(answer.header("allow"), Some(allowed));
        assert_eq!(answer.header("x-capsule-faas"), Some(env!("CARGO_PKG_VERSION")));
    }
    let head = faas.admin("HEAD", "/functions/processes", "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("2"), 0));
}

/// What is wrong with a start body, and the beginning of the error.
fn bad_starts() -> Vec<(String, &'static str)> {
    let hey = module_path("hey");
    let body = |place: &str, args: &[&str]| start_body(place, &hey, args, &[]);
    let long = "x".repeat(10_000);
    let with_path = |path: &str| {
        let mut body: Value = serde_json::from_str(&start_body("a", &hey, &[], &[])).unwrap();
        body["path"] = json!(path);
        body.to_string()
    };
    vec![
        (String::new(), "the body is not JSON"),
        ("{".into(), "the body is not JSON"),
        ("\u{feff}[]".into(), "the body is not JSON"),
        ("[1]".into(), "the body: expected an object"),
        ("{}".into(), "`name`: expected the name of a function"),
        (r#"{"name":"a","args":"-wasm=x"}"#.into(), "`args`: expected an array of strings"),
        (r#"{"name":"a","args":[""],"env":["A"]}"#.into(), "`env[0]`: expected `NAME=value`"),
        (body("a/../b", &[]), "revision: expected 1 to 64"),
        (body("../b", &[]), "name: expected 1 to 64"),
        (json!({"name": "a/b"}).to_string(), "name: expected 1 to 64"),
        (json!({"name": "a\u{1}"}).to_string(), "name: expected 1 to 64"),
        (json!({"name": "a\r\nX: y"}).to_string(), "name: expected 1 to 64"),
        (json!({"name": long}).to_string(), "name: expected 1 to 64"),
        (body("prune", &[]), "name: `prune` is reserved"),
        (body("a/drop", &[]), "revision: `drop` is reserved"),
        (json!({"name": "a", "args": [""]}).to_string(), "`args`: expected `-wasm=FILE`"),
        (body("a", &["-port=1"]), "`args[2]`: unknown flag `-port`"),
        (body("a", &["-logFormat=json"]), "`args[2]`: `-logFormat` configures the server"),
        (body("a", &["-passEnv=HOME"]), "`args[2]`: `-passEnv` configures the server"),
        (body("a", &["-callTimeout=soon"]), "`--callTimeout`: expected a duration"),
        (body("a", &["-wasm=sha256:ab"]), "`-wasm`: expected `sha256:`"),
        (body("a", &[&format!("-wasm=sha256:{}", "0".repeat(64))]), "the module `sha256:0000"),
        (body("a", &["-wasm=/no/such.wasm"]), "cannot read the module `/no/such.wasm`"),
        (body("a", &["-wasm=/dev/zero"]), "cannot read the module `/dev/zero`"),
        (body("a", &["-wasm=/"]), "cannot read the module `/`"),
        (body("a", &["-url=http://127.0.0.1:1/x.wasm"]), "cannot download `http://127.0.0.1:1/x.wasm`"),
        (with_path("/bin/sh"), "`path`: `/bin/sh` is neither"),
        (with_path("../../bin/sh"), "`path`: "),
        (with_path("/no/such"), "`path`: "),
        (start_body("a", &module_path("old-abi.wat"), &[], &[]), "module "),
        (start_body("a", &module_path("command-exit.wat"), &[], &[]), "module "),
    ]
}

#[test]
fn bad_starts_register_nothing() {
    let faas = Faas::start(&[]);
    faas.start_function("hello", "hey", &[]);
    let before = faas.processes();
    for (body, expected) in bad_starts() {
        let (status, error) = refusal(&faas.admin("POST", "/functions/start", &body));
        assert_eq!(status, 422, "{error}");
        assert!(error.starts_with(expected), "{error}");
        assert!(error.len() < 1200, "{error}");
    }
    let broken = faas.home.path().join("broken.wasm");
    for (bytes, expected) in
        [(&b"\0asm\x01\0\0\0\x01\x09"[..], "broken.wasm`"), (b"hello", "is not a WebAssembly module"), (b"", "is ")]
    {
        std::fs::write(&broken, bytes).unwrap();
        let (status, error) = refusal(&faas.admin("POST", "/functions/start", start_body("b", &broken, &[], &[])));
        assert!(status == 422 && error.contains(expected), "{status} {error}");
    }
    // Its start traps.
    std::fs::write(
        &broken,
        r#"(module (memory (export "memory") 1) (func (export "OnStart") unreachable)
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#,
    )
    .unwrap();
    let (status, error) = refusal(&faas.admin("POST", "/functions/start", start_body("b", &broken, &[], &[])));
    assert!(status == 422 && error.contains("trapped"), "{status} {error}");
    let (status, _) = refusal(&faas.admin("POST", "/functions/start", vec![b' '; 1_100_000]));
    assert_eq!(status, 413);
    assert_eq!(faas.processes(), before);
    assert_eq!(faas.call("hello", "Bob"), (200, "👋 Hey Bob !".into()));
}

#[test]
fn what_contradicts_or_is_not_there_is_said() {
    let faas = Faas::start(&[]);
    faas.start_function("hello", "hey", &[]);
    faas.start_function("hello/blue", "hey", &[]);
    let before = faas.processes();
    let weights = |text: &str| text.to_owned();
    for (method, path, body, status, expected) in [
        ("PUT", "duplicate/hello/default/blue", "", 409, "`hello/blue` exists, and is not `hello/default`"),
        ("PUT", "duplicate/hello/green/x", "", 404, "function `hello` has no revision `green`"),
        ("PUT", "duplicate/other/green/x", "", 404, "no function `other`"),
        ("PUT", "duplicate/hello/default/drop", "", 422, "revision: `drop` is reserved for a route of the server"),
        ("PUT", "duplicate/hello/default", "", 404, "expected `/functions/duplicate/name/revision/new`"),
        ("DELETE", "drop/other", "", 404, "no function `other`"),
        ("DELETE", "drop/hello/blue/7", "", 404, "`hello/blue` has no index `7`"),
        ("DELETE", "drop/hello/blue/x", "", 422, "index: expected a number"),
        ("DELETE", "drop/..", "", 422, "name: expected 1 to 64"),
        ("DELETE", "drop", "", 404, "expected `/functions/drop/name"),
        ("PUT", "scale/hello/blue/0", "", 422, ""),
        ("PUT", "scale/hello/blue/x", "", 422, "count: expected a number"),
        ("PUT", "scale/hello/blue/1001", "", 422, ""),
        ("PUT", "scale/hello/green/2", "", 404, "function `hello` has no revision `green`"),
        ("PUT", "route/hello", "{}", 422, "the weights: expected at least one above zero"),
        ("PUT", "route/hello", r#"{"blue":0,"default":0}"#, 422, "the weights: expected at least one above zero"),
        ("PUT", "route/hello", r#"{"green":1}"#, 422, "function `hello` has no revision `green`"),
        ("PUT", "route/hello", r#"{"blue":-1}"#, 422, "`blue`: expected a whole number"),
        ("PUT", "route/hello", "blue=1", 422, "the body is not JSON"),
        ("PUT", "route/other", r#"{"blue":1}"#, 404, "no function `other`"),
        ("POST", "rollback/hello", "", 409, "function `hello` has no route before the current one"),
        ("GET", "logs/other", "", 404, "no function `other`"),
        ("GET", "logs/hello?lines=x", "", 422, "the query: "),
        ("POST", "prune?olderThan=x", "", 422, "`olderThan`: "),
        ("PUT", "modules", "not wasm", 422, ""),
        ("POST", "start/x", "", 404, ""),
    ] {
        let answer = faas.admin(method, &format!("/functions/{path}"), weights(body));
        let (found, error) = refusal(&answer);
        assert_eq!(found, status, "{method} {path}: {error}");
        assert!(error.starts_with(expected), "{method} {path}: {error}");
        assert_eq!(answer.header("x-capsule-faas"), Some(env!("CARGO_PKG_VERSION")), "{path}");
    }
    assert_eq!(faas.processes(), before);
    assert_eq!(faas.admin("PUT", "/functions/route/hello", r#"{"blue":1}"#).status, 200);
    let (status, error) = refusal(&faas.admin("DELETE", "/functions/drop/hello/blue", ""));
    assert!(status == 409 && error.contains("has weight in the route"), "{error}");
}

#[test]
fn every_act_is_one_line_in_the_log() {
    let faas = Faas::start(&[]);
    faas.start_function("hello", "hey", &["-authHeaderValue=v3ry-secret"]);
    faas.admin("PUT", "/functions/duplicate/hello/default/blue", "");
    faas.admin("PUT", "/functions/route/hello", r#"{"blue":1}"#);
    faas.admin("POST", "/functions/rollback/hello", "");
    faas.admin("PUT", "/functions/scale/hello/default/2", "");
    faas.admin("DELETE", "/functions/drop/hello/blue", "");
    faas.admin("DELETE", "/functions/drop/hello/blue", "");
    faas.admin("GET", "/functions/processes", "");
    assert_eq!(faas.processes()["hello/default/0"]["args"][2], json!("-authHeaderValue=***"));
    let log = faas.server.stop().unwrap().stderr();
    let acts: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once("audit: act=")?.1)).collect();
    let shown: Vec<&str> = acts.iter().map(|act| act.split(" client=").next().unwrap()).collect();
    assert_eq!(
        shown,
        [
            r#""start" subject="hello/default/0" status=200"#,
            r#""duplicate" subject="hello/default as blue" status=200"#,
            r#""route" subject="hello" status=200"#,
            r#""rollback" subject="hello" status=200"#,
            r#""scale" subject="hello/default to 2" status=200"#,
            r#""drop" subject="hello/blue" status=200"#,
            r#""drop" subject="hello/blue" status=404"#,
        ]
    );
    assert!(!log.contains("v3ry-secret") && !log.contains(TOKEN), "{log}");
}

#[test]
fn wrong_usage_is_told() {
    for (words, expected) in [
        (&["--functions=f.toml", "a.wasm"][..], "`--functions` is given without `--faas`"),
        (&["--dataDir=d", "a.wasm"], "`--dataDir` is given without `--faas`"),
        (&["--faas", "--metricsPort=x"], "`--metricsPort`: expected a port"),
        (&["--faas", "--maxModule=x"], "`--maxModule`: expected a size"),
        (&["--faas", "a.wasm", "b.wasm"], "unexpected word `b.wasm`"),
    ] {
        let finished = run(words);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr().contains(expected), "{finished:?}");
    }
    let help = run(&["--help"]).stdout();
    for word in
        ["--faas", "--dataDir", "--functions", "--allowPath", "--metricsPort", "--maxModule", "CAPSULE_FAAS_TOKEN_FILE"]
    {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn metrics_need_no_token_on_a_port_of_their_own() {
    let faas = Faas::start(&["--metricsPort=0"]);
    faas.start_function("hello", "hey", &[]);
    faas.call("hello", "Bob");
    let line = faas.server.process.wait_for_line(Stream::Stderr, "metrics without a token on ").unwrap();
    let address = line.split_once("http://").unwrap().1.split('/').next().unwrap().parse().unwrap();
    let get =
        |path: &str| capsule_test::client::Connection::open(address).unwrap().send("GET", path, &[], b"").unwrap();
    let text = get("/metrics").text();
    let calls = r#"capsule_function_calls_total{function="hello",revision="default",outcome="success"} 1"#;
    assert!(text.contains(calls), "{text}");
    assert_eq!(refusal(&get("/functions/processes")).0, 404);
    assert_eq!(faas.server.stop().unwrap().code, Some(0));
}
