//! What a module reaches over the network, through the real server: only what it was given, however it spells it and wherever
//! it is sent on.

use std::sync::atomic::{AtomicBool, Ordering};

use capsule_test::client::Response;
use capsule_test::redis::Redis;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, Gate, HttpStub};
use capsule_test::tls::Certificate;
use serde_json::json;

use crate::faas_support::{Faas, module_path};
use crate::support::{eventually, metric, outcome, serve, serve_with};

const SERVICES: &str = "services.wat";

/// The machine's address where clouds answer with credentials, as attackers spell it.
const METADATA: [&str; 14] = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "0xa9.254.0251.254",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "100.100.100.200",
];

/// This machine and private networks, as attackers spell them.
const PRIVATE: [&str; 20] = [
    "127.0.0.1",
    "127.1",
    "127.8.8.8",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "[fd12::1]",
];

fn get(uri: &str) -> String {
    format!("h{}", json!({"URI": uri, "Method": "GET", "Headers": {}}))
}

#[track_caller]
fn refused(answer: &Response, context: &str) {
    let (status, text) = outcome(answer);
    assert_eq!(status, 500, "{context}: {text}");
    assert!(
        text.starts_with("this module may not reach host `") && text.ends_with("(flag `--allowHosts`)"),
        "{context}: {text}"
    );
}

#[test]
fn no_spelling_of_a_metadata_address_is_reached() {
    let by_default = serve(SERVICES, &[]);
    let every_host = serve(SERVICES, &["--allowHosts=*"]);
    for server in [&by_default, &every_host] {
        for host in METADATA {
            for uri in
                [format!("http://{host}/latest"), format!("http://example.com@{host}:80/"), format!("https://{host}/")]
            {
                refused(&server.post("/", get(&uri)).unwrap(), &uri);
            }
        }
        // What is no host at all.
        for host in
            ["[fe80::1%25eth0]", "[fe80::1%eth0]", "169.254.169.254%00", "300.300.300.300", "[::ffff:169.254.169.254"]
        {
            let (status, text) = outcome(&server.post("/", get(&format!("http://{host}/"))).unwrap());
            assert!(status == 500 && text.starts_with("the URI is not valid"), "{host}: {text}");
        }
    }
}

#[test]
fn each_redirect_is_checked_again() {
    let (stub, other) = (HttpStub::start().unwrap(), HttpStub::start().unwrap());
    other.answer("/", Answer::new(200, "text/plain", "reached"));
    for (path, location) in [
        ("/absolute", "http://169.254.169.254/latest/meta-data".to_owned()),
        ("/short", "//169.254.169.254/".to_owned()),
        ("/decimal", "http://2852039166/".to_owned()),
        ("/mapped", "http://[::ffff:169.254.169.254]/".to_owned()),
        ("/user", format!("http://{}@169.254.169.254/", stub.address())),
        ("/twice", stub.url("/absolute")),
        ("/other", other.url("/")),
        ("/file", "file:///etc/passwd".to_owned()),
    ] {
        let status = if path == "/short" { 307 } else { 302 };
        stub.answer(path, Answer::with_headers(status, &[("Location", &location)], ""));
    }
    let here = stub.address();
    for flags in [vec![], vec![format!("--allowHosts={here}")]] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let server = serve(SERVICES, &flags);
        for path in ["/absolute", "/short", "/decimal", "/mapped", "/user", "/twice"] {
            refused(&server.post("/", get(&stub.url(path))).unwrap(), path);
        }
        let (_, text) = outcome(&server.post("/", get(&stub.url("/file"))).unwrap());
        assert_eq!(text, "the URI has the scheme `file`, expected `http` or `https`");
        let sent_on = server.post("/", get(&stub.url("/other"))).unwrap();
        if flags.is_empty() {
            assert!(sent_on.text().contains("reached"), "{}", sent_on.text());
        } else {
            refused(&sent_on, "another port");
        }
    }
    assert_eq!(other.requests().len(), 1);
}

#[test]
fn a_list_is_not_talked_around() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::new(200, "text/plain", "reached"));
    let port = stub.address().port();
    let server = serve(SERVICES, &["--allowHosts=allowed.example,*.allowed.example"]);
    for uri in [
        format!("http://allowed.example@127.0.0.1:{port}/"),
        format!("http://allowed.example:80@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/?allowed.example"),
        format!("http://127.0.0.1:{port}/#@allowed.example"),
        format!("http://127.0.0.1:{port}\\@allowed.example/"),
        format!("http://127.0.0.1:{port}/allowed.example"),
        format!("http://localhost:{port}/"),
        format!("http://allowed.example.localhost:{port}/"),
    ] {
        refused(&server.post("/", get(&uri)).unwrap(), &uri);
    }
    assert!(stub.requests().is_empty());
    // A name is allowed wherever it leads, an address by whatever name.
    for allowed in [format!("localhost:{port}"), "LOCALHOST".into(), format!("127.0.0.1:{port}"), "127.0.0.0/8".into()]
    {
        let server = serve(SERVICES, &[&format!("--allowHosts={allowed}")]);
        let answer = server.post("/", get(&format!("http://localhost:{port}/"))).unwrap();
        assert!(answer.text().contains("reached"), "{allowed}: {}", answer.text());
    }
}

/// What a name leads to counts, not what it looks like; and a function says itself whom it needs.
#[test]
fn a_hosted_function_reaches_what_is_public_or_named() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::new(200, "text/plain", "reached"));
    stub.answer("/sends-on", Answer::with_headers(302, &[("Location", "http://169.254.169.254/")], ""));
    let port = stub.address().port();
    let faas = Faas::start(&[]);
    faas.start_function("shut", SERVICES, &[]);
    let wasm = format!("-wasm={}", module_path(SERVICES).display());
    let start = |name: &str, allow: &[&str]| {
        let body = json!({"name": name, "args": ["", wasm], "allowHosts": allow});
        assert_eq!(faas.admin("POST", "/functions/start", body.to_string()).status, 200);
    };
    start("named", &[&format!("localhost:{port}")]);
    start("other", &["localhost:1", "10.0.0.0/8"]);
    let ask = |name: &str, uri: &str| faas.send("POST", &format!("/functions/{name}"), get(uri));
    for host in PRIVATE.iter().chain(&METADATA) {
        refused(&ask("shut", &format!("http://{host}:{port}/")), host);
    }
    // Whether this is a name at all is the resolver's opinion.
    assert_eq!(ask("shut", &format!("http://localhost.:{port}/")).status, 500);
    assert!(stub.requests().is_empty());
    assert!(ask("named", &format!("http://localhost:{port}/")).text().contains("reached"));
    refused(&ask("named", &format!("http://127.0.0.1:{port}/")), "a name is not its address");
    refused(&ask("named", &format!("http://localhost:{port}/sends-on")), "sent on");
    refused(&ask("other", &format!("http://localhost:{port}/")), "another port");
    for host in METADATA {
        refused(&ask("named", &format!("http://{host}/")), host);
    }
}

#[test]
fn redis_of_a_function_is_held_to_the_same_list() {
    let redis = Redis::start().unwrap();
    let (address, port) = (redis.address().to_string(), redis.address().port());
    let faas = Faas::start(&[]);
    let wasm = format!("-wasm={}", module_path(SERVICES).display());
    let mut number = 0;
    let mut ask = |env: String, allow: &[&str], extra: &str| {
        number += 1;
        let name = format!("f{number}");
        let body = json!({"name": name, "args": ["", wasm, extra], "env": [env], "allowHosts": allow});
        let started = faas.admin("POST", "/functions/start", body.to_string());
        assert_eq!(started.status, 200, "{}", started.text());
        outcome(&faas.send("POST", &format!("/functions/{name}"), "sk=v"))
    };
    let nowhere = [
        format!("REDIS_ADDR={address}"),
        format!("REDIS_ADDR=localhost:{port}"),
        format!("REDIS_URI=redis://localhost:{port}/0"),
        format!("REDIS_URI=redis://[::ffff:127.0.0.1]:{port}/0"),
        format!("REDIS_URI=redis://:s3cret@127.0.0.1:{port}/0"),
        "REDIS_URI=redis://169.254.169.254:80/".to_owned(),
        "REDIS_ADDR=169.254.169.254:80".to_owned(),
    ];
    for env in nowhere {
        let (status, text) = ask(env.clone(), &[], "");
        assert!(status == 500 && text.contains("(flag `--allowHosts`)") && !text.contains("s3cret"), "{env}: {text}");
    }
    let (_, text) = ask("REDIS_ADDR=169.254.169.254:80".into(), &["*"], "");
    assert!(text.contains("(flag `--allowHosts`)"), "{text}");
    assert_eq!(redis.get(0, "k").unwrap(), None);
    assert_eq!(ask(format!("REDIS_ADDR={address}"), &[&address], "").0, 200);
    assert_eq!(ask(format!("REDIS_ADDR=localhost:{port}"), &[], "-allowHosts=localhost").0, 200);
    assert_eq!(redis.get(0, "k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn credentials_do_not_leave_an_encrypted_connection() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::new(200, "text/plain", "reached"));
    let certificate = Certificate::for_localhost().unwrap();
    let (crt, key) = (certificate.crt(), certificate.key());
    let flags = [format!("--crt={}", crt.display()), format!("--key={}", key.display())];
    // It answers what the request says: to go on, without encryption.
    let far = serve("answer.wat", &[&flags[0], &flags[1]]);
    let server = serve_with(SERVICES, &[], &[("SSL_CERT_FILE", crt.to_str().unwrap())]);
    for status in [302, 307] {
        let sent_on =
            json!({"StatusCode": status, "TextBody": "LQ==", "Headers": {"Location": stub.url("/")}}).to_string();
        let document = json!({
            "URI": format!("https://user:s3cret@localhost:{}/", far.address().port()),
            "Method": "POST",
            "TextBody": sent_on,
            "Headers": {"Authorization": "s3cret", "Cookie": "s3cret", "Proxy-Authorization": "s3cret", "X-Own": "kept"},
        });
        let answer = server.post("/", format!("h{document}")).unwrap();
        assert!(answer.text().contains("reached"), "{}", answer.text());
    }
    for request in stub.requests() {
        assert_eq!(request.header("x-own"), Some("kept"));
        assert!(!format!("{:?}", request.headers).contains("s3cret"), "{request:?}");
    }
    assert_eq!(stub.requests().len(), 2);
}

#[test]
fn a_proxy_of_the_environment_is_no_way_around() {
    let (stub, proxy) = (HttpStub::start().unwrap(), HttpStub::start().unwrap());
    stub.answer("/", Answer::new(200, "text/plain", "reached"));
    let url = proxy.url("");
    let server = serve_with(SERVICES, &[], &[("HTTP_PROXY", &url), ("http_proxy", &url), ("ALL_PROXY", &url)]);
    assert!(server.post("/", get(&stub.url("/"))).unwrap().text().contains("reached"));
    refused(&server.post("/", get("http://169.254.169.254/")).unwrap(), "through a proxy");
    assert!(proxy.requests().is_empty());
}

fn limit(server: &HttpServer, name: &str) -> u64 {
    metric(server, &format!("capsule_limit_hits_total{{limit=\"{name}\"}}"))
}

#[test]
fn requests_at_once_wait_within_the_call() {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    stub.answer("/slow", Answer::new(200, "text/plain", "slow").behind(&gate));
    stub.answer("/", Answer::new(200, "text/plain", "reached"));
    let flags = ["--instances=3", "--maxOutboundCalls=1", "--callTimeout=1s", "--outboundTimeout=none"];
    let server = serve(SERVICES, &flags);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.post("/", get(&stub.url("/slow"))).unwrap());
        stub.wait_for_requests(1).unwrap();
        // It learns in time that there is no permit: the answer is its own, not the end of its call.
        let late = server.post("/", get(&stub.url("/"))).unwrap();
        let expected = "1 outbound requests are under way (flag `--maxOutboundCalls`)";
        assert!(
            [(500, expected.to_owned()), (504, "the call exceeded its time limit of 1s (flag `--callTimeout`)".into())]
                .contains(&outcome(&late)),
            "{}",
            late.text()
        );
        assert_eq!(slow.join().unwrap().status, 504);
    });
    assert_eq!(limit(&server, "maxOutboundCalls"), 1);
    // One that gets its permit in time goes on.
    std::thread::scope(|scope| {
        let (first, second) = (Gate::new(), HttpStub::start().unwrap());
        second.answer("/", Answer::new(200, "text/plain", "first").behind(&first));
        let slow = scope.spawn({
            let (server, uri) = (&server, second.url("/"));
            move || server.post("/", get(&uri)).unwrap()
        });
        second.wait_for_requests(1).unwrap();
        let waiting = scope.spawn(|| server.post("/", get(&stub.url("/"))).unwrap());
        eventually("the second call runs", || metric(&server, "capsule_instances") >= 2);
        first.open();
        assert_eq!((slow.join().unwrap().status, waiting.join().unwrap().status), (200, 200));
    });
}

#[test]
fn answers_are_limited_in_size_and_time() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/at", Answer::new(200, "text/plain", "x".repeat(1000)));
    stub.answer("/over", Answer::new(200, "text/plain", "x".repeat(1001)));
    stub.answer("/never", Answer::new(200, "text/plain", "").behind(&Gate::new()));
    let server = serve(SERVICES, &["--maxOutboundBody=1000", "--outboundTimeout=500ms"]);
    assert_eq!(server.post("/", get(&stub.url("/at"))).unwrap().status, 200);
    let over = "the answer exceeds the limit of 1000 bytes (flag `--maxOutboundBody`)";
    assert_eq!(outcome(&server.post("/", get(&stub.url("/over"))).unwrap()), (500, over.into()));
    let late = "the request exceeds the time limit of 500ms (flag `--outboundTimeout`)";
    assert_eq!(outcome(&server.post("/", get(&stub.url("/never"))).unwrap()), (500, late.into()));
    assert_eq!((limit(&server, "maxOutboundBody"), limit(&server, "outboundTimeout")), (1, 1));
}

/// One call holds most of what the host may hold; another finds no room until it is over.
#[test]
fn what_the_host_holds_is_limited_for_all_instances_together() {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 600001\r\n\r\n";
    let most = [head.as_bytes(), &vec![b'x'; 600_000]].concat();
    stub.answer("/slow", Answer::raw(most).then(&gate, "x"));
    stub.answer("/small", Answer::new(200, "text/plain", "small"));
    stub.answer("/large", Answer::new(200, "text/plain", "y".repeat(300_000)));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "z".repeat(500_000)).unwrap();
    let dir = format!("--dir={}:.", folder.path().display());
    let server = serve(SERVICES, &["--instances=4", "--maxHostMemory=2000000", &dir]);
    let full = "the host would hold more than 2000000 bytes for this function (flag `--maxHostMemory`)";
    // Alone, each finds room.
    assert_eq!(server.post("/", get(&stub.url("/large"))).unwrap().status, 200);
    assert_eq!(server.post("/", "rfile").unwrap().body.len(), 500_000);
    let is_open = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let slow = || {
            // One that finds no room, because what is asked for below was there first, comes again.
            loop {
                let answer = outcome(&server.post("/", get(&stub.url("/slow"))).unwrap());
                if answer.1 != full || is_open.load(Ordering::SeqCst) {
                    return answer;
                }
            }
        };
        let slow: Vec<_> = (0..3).map(|_| scope.spawn(slow)).collect();
        // Three times 600,000 bytes are on their way or there, whatever the machine is busy with.
        stub.wait_for_requests(4).unwrap();
        eventually("there is no room", || {
            let (status, text) = outcome(&server.post("/", "rfile").unwrap());
            assert!(status == 200 || text.ends_with(full), "{text}");
            status == 500
        });
        eventually("nor for an answer", || {
            let (status, text) = outcome(&server.post("/", get(&stub.url("/large"))).unwrap());
            assert!(status == 200 || text == full, "{text}");
            status == 500
        });
        assert_eq!(server.post("/", get(&stub.url("/small"))).unwrap().status, 200, "what is small is served");
        is_open.store(true, Ordering::SeqCst);
        gate.open();
        for call in slow {
            let (status, text) = call.join().unwrap();
            // With its document each needs twice its size: one at least finds room.
            assert!(status == 200 || text == full, "{text}");
        }
    });
    assert!(limit(&server, "maxHostMemory") >= 2);
    assert_eq!(server.post("/", "rfile").unwrap().body.len(), 500_000, "it is given back");
}
