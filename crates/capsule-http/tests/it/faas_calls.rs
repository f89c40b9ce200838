//! Calls of hosted functions: what they see, what clients see, and where paths lead.

use capsule_test::process::Stream;
use capsule_test::stub::{Answer, Gate, HttpStub};
use serde_json::{Value, json};

use crate::faas_support::{Faas, TOKEN, module_path, refusal, start_body};
use crate::support::{eventually, metric_of};

/// The request document that `mirror.wat` got.
fn mirrored(faas: &Faas, method: &str, path: &str, headers: &[(&str, &str)]) -> Value {
    let answer = faas.server.connect().unwrap().send(method, path, headers, b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn a_function_sees_the_same_alone_and_hosted() {
    let faas = Faas::start(&[]);
    faas.start_function("mirror", "mirror.wat", &[]);
    let base = faas.server.url("");
    for (path, uri, seen, query) in [
        ("/functions/mirror", "/", "/", ""),
        ("/functions/mirror?a=1", "/?a=1", "/", "a=1"),
        ("/functions/mirror/default/0/api/x?a=1&b", "/api/x?a=1&b", "/api/x", "a=1&b"),
        ("/functions/mirror/default/0//x%2Fy/", "//x%2Fy/", "//x%2Fy/", ""),
    ] {
        let document = mirrored(&faas, "GET", path, &[]);
        assert_eq!(document["URI"], json!(format!("{base}{uri}")));
        assert_eq!((&document["Path"], &document["Query"]), (&json!(seen), &json!(query)));
        assert_eq!(document["Target"], json!(path));
    }
}

#[test]
fn headers_go_through_but_no_token_and_no_hops() {
    let faas = Faas::start(&[]);
    faas.start_function("mirror", "mirror.wat", &[]);
    let bearer = format!("Bearer {TOKEN}");
    let sent = [
        ("CAPSULE_FAAS_TOKEN", TOKEN),
        ("Authorization", &*bearer),
        ("X-Capsule-Hops", "1.2"),
        ("traceparent", "00-1-2-3"),
        ("X-Request-Id", "abc-1"),
        ("X-Own", "yes"),
    ];
    let document = mirrored(&faas, "PUT", "/functions/mirror", &sent);
    let list = document["HeaderList"].as_array().unwrap();
    let mut names: Vec<String> = list.iter().map(|pair| pair[0].as_str().unwrap().to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["content-length", "host", "traceparent", "x-own", "x-request-id"]);
    assert_eq!((&document["RequestId"], &document["Method"]), (&json!("abc-1"), &json!("PUT")));
    assert!(!document.to_string().contains(TOKEN));
    // The function's own credentials are its own.
    let document = mirrored(&faas, "GET", "/functions/mirror", &[("Authorization", "Bearer mine")]);
    assert!(document["Headers"].as_str().unwrap().contains("Bearer mine"));
}

#[test]
fn answers_say_who_gave_them() {
    let faas = Faas::start(&["--accessLog"]);
    faas.start_function("answer/blue", "answer.wat", &[]);
    let document = r#"{"TextBody":"aGk=","StatusCode":201,"Headers":{"X-Capsule-Revision":"forged","X-Own":"1"}}"#;
    let mut connection = faas.server.connect().unwrap();
    let sent = connection.send("POST", "/functions/answer/blue", &[("X-Request-Id", "id-7")], document.as_bytes());
    let answer = sent.unwrap();
    assert_eq!((answer.status, answer.text()), (201, "hi".into()));
    assert_eq!(answer.header("x-capsule-revision"), Some("blue"));
    assert_eq!((answer.header("x-request-id"), answer.header("x-own")), (Some("id-7"), Some("1")));
    assert_eq!(answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-capsule-revision")).count(), 1);
    let head = connection.send("HEAD", "/functions/answer/blue", &[], b"").unwrap();
    assert_eq!(head.body, b"");
    let log = faas.server.stop().unwrap().stderr();
    let line = log.lines().find(|line| line.contains("id-7")).unwrap();
    assert!(line.contains(r#"path="/functions/answer/blue" function="answer/blue/0" status=201"#), "{line}");
}

#[test]
fn what_is_not_there_is_not_found() {
    let faas = Faas::start(&["--maxBody=1KiB"]);
    faas.start_function("hello", "hey", &[]);
    for (path, expected) in [
        ("/functions/other", "no function `other`"),
        ("/functions/hello/blue", "function `hello` has no revision `blue`"),
        ("/functions/hello/default/1", "`hello/default` has no index `1`"),
        ("/functions/hello/default/x", "no function `hello/default/x`"),
        ("/functions/a%2Fb", "no function `a%2Fb`"),
        ("/functions/../x", "no function `../x`"),
        ("/functions/", "no function ``"),
        ("/functions", "no function ``"),
        ("/functions/health/other", "no function `other`"),
        ("/notify/other/x", "no function `other`"),
        ("/notify/hello/blue", "function `hello` has no revision `blue`"),
    ] {
        for method in ["GET", "POST"] {
            if path.contains("health") && method == "POST" {
                continue;
            }
            let (status, error) = refusal(&faas.send(method, path, "body"));
            assert_eq!((status, error.as_str()), (404, expected), "{method} {path}");
        }
    }
    let (status, error) = refusal(&faas.send("GET", &format!("/functions/{}", "x".repeat(10_000)), ""));
    assert!(status == 404 && error.len() < 200, "{error}");
    let (status, error) = refusal(&faas.send("POST", "/functions/hello", vec![b'x'; 2000]));
    assert_eq!((status, error.as_str()), (413, "the body exceeds the limit of 1024 bytes (flag `--maxBody`)"));
    // A notification of a function in the server's own process changes nothing.
    assert_eq!(faas.send("POST", "/notify/hello/default", "").status, 200);
    assert_eq!(faas.status("hello/default/0"), "Started");
}

#[test]
fn a_function_that_calls_itself_is_refused_at_once() {
    let faas = Faas::start(&[]);
    let local = format!("-allowHosts={}", faas.server.address());
    for name in ["a", "b"] {
        faas.start_function(name, "services.wat", &[&local, "-callTimeout=60s"]);
    }
    let to = |path: &str, headers: &str, body: &str| {
        let document = json!({"Method": "POST", "URI": faas.server.url(path), "TextBody": body});
        let text = document.to_string();
        if headers.is_empty() {
            format!("h{text}")
        } else {
            format!("h{}", text.replacen('{', &format!("{{{headers},"), 1))
        }
    };
    let forged = r#""Headers":{"X-Capsule-Hops":""}"#;
    for (what, body) in [
        ("itself", to("/functions/a", "", "c")),
        ("through another", to("/functions/b", "", &to("/functions/a", "", "c"))),
        ("with a header of its own", to("/functions/a", forged, "c")),
    ] {
        let (status, text) = faas.call("a", &body);
        assert_eq!(status, 200, "{what}: {text}");
        assert!(text.contains("508") && text.contains("would wait for itself"), "{what}: {text}");
    }
    // Another function is no loop, and nor is a function with more instances.
    assert!(faas.call("a", &to("/functions/b", "", "p")).1.contains("200"));
    faas.start_function("many", "services.wat", &[&local, "-instances=2"]);
    let (_, text) = faas.call("many", &to("/functions/many", "", "p"));
    assert!(text.contains("200") && !text.contains("508"), "{text}");
    // Three within one another, with two instances.
    let (_, text) = faas.call("many", &to("/functions/many", "", &to("/functions/many", "", "p")));
    assert!(text.contains("508"), "{text}");
}

#[test]
fn a_function_in_a_child_process_that_calls_itself_is_refused_too() {
    let faas = Faas::start(&[]);
    let local = format!("-allowHosts={}", faas.server.address());
    for (name, path) in [("a", "capsule-http"), ("b", "")] {
        let body = start_body(name, &module_path("services.wat"), &[&local, "-callTimeout=60s", "-stopAfter=60"], &[]);
        let mut body: Value = serde_json::from_str(&body).unwrap();
        body["path"] = json!(path);
        assert_eq!(faas.admin("POST", "/functions/start", body.to_string()).status, 200);
    }
    let to = |name: &str, body: &str| {
        let uri = faas.server.url(&format!("/functions/{name}"));
        format!("h{}", json!({"Method": "POST", "URI": uri, "TextBody": body}))
    };
    for body in [to("a", "c"), to("b", &to("a", "c"))] {
        let (status, text) = faas.call("a", &body);
        assert!(status == 200 && text.contains("508") && text.contains("would wait for itself"), "{status} {text}");
    }
    assert!(faas.call("b", &to("a", "p")).1.contains("200"));
}

#[test]
fn other_paths_lead_to_the_index_page_or_to_the_module_of_the_command_line() {
    let faas = Faas::start(&[]);
    let version = format!("Capsule {}[faas]", env!("CARGO_PKG_VERSION"));
    for (method, path) in [("GET", "/"), ("POST", "/x/y?z"), ("DELETE", "/functionsx")] {
        let answer = faas.send(method, path, "");
        assert_eq!((answer.status, answer.text()), (200, version.clone()), "{path}");
    }
    faas.start_function("index.page", "mirror.wat", &[]);
    let document = mirrored(&faas, "GET", "/any/path?q=1", &[("CAPSULE_FAAS_TOKEN", TOKEN)]);
    assert_eq!((&document["Path"], &document["Query"]), (&json!("/any/path"), &json!("q=1")));
    assert!(document.get("Target").is_none() && !document.to_string().contains(TOKEN));
    // Its own path works too, and the server's own routes stay.
    assert_eq!(mirrored(&faas, "GET", "/functions/index.page", &[])["Path"], json!("/"));
    assert!(faas.send("GET", "/health", "").text().starts_with(r#"{"awake":1"#));

    let module = format!("--wasm={}", module_path("hey").display());
    let faas = Faas::start(&[&module, "--accessLog"]);
    faas.start_function("index.page", "mirror.wat", &[]);
    assert_eq!(faas.send("POST", "/any", "Bob").text(), "👋 Hey Bob !");
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("CAPSULE_FAAS_TOKEN", TOKEN), ("Authorization", &*bearer), ("X-Request-Id", "way-1")];
    faas.server.connect().unwrap().send("POST", "/any", &headers, b"Bob").unwrap();
    let finished = faas.server.stop().unwrap();
    assert!(finished.stdout().contains("👒: ") && !finished.stdout().contains(TOKEN), "{finished:?}");
    let lines = finished.stderr().lines().filter(|line| line.contains("way-1")).count();
    assert_eq!(lines, 1, "{finished:?}");
}

#[test]
fn a_function_has_its_own_environment_limits_and_cache() {
    let home = tempfile::tempdir().unwrap();
    let env = [("PASSED", "p"), ("HIDDEN", "h"), ("REDIS_PWD", "r")];
    let faas = Faas::start_in(home, &["--passEnv=PASSED,CAPSULE_FAAS_TOKEN,REDIS_PWD", "--callTimeout=20s"], &env);
    let module = module_path("services.wat");
    for (place, own) in [("a", "OWN=a"), ("b", "OWN=b")] {
        assert_eq!(faas.admin("POST", "/functions/start", start_body(place, &module, &[], &[own])).status, 200);
    }
    for name in ["a", "b"] {
        let environment = faas.call(name, "E").1;
        assert!(environment.contains("PASSED=p") && environment.contains(&format!("OWN={name}")), "{environment}");
        for hidden in ["HIDDEN", TOKEN, "REDIS_PWD", "PATH"] {
            assert!(!environment.contains(hidden), "{environment}");
        }
    }
    assert_eq!(faas.call("a", "Skey=of a").0, 200);
    assert_eq!(faas.call("a", "Gkey").1, "of a");
    assert_ne!(faas.call("b", "Gkey").1, "of a");
    // The folder of the server is nobody's unless it is named, and its data is nobody's at all.
    let (status, text) = faas.call("a", "rCargo.toml");
    assert!(status == 500 && text.contains("--dir"), "{status} {text}");
    let data = format!("-dir={}", faas.home.path().display());
    let (status, error) = refusal(&faas.admin("POST", "/functions/start", start_body("c", &module, &[&data], &[])));
    assert!(status == 422 && error.contains("holds files of the server"), "{error}");
    // Private addresses neither.
    let private = json!({"URI": faas.server.url("/health")});
    let (status, text) = faas.call("a", &format!("h{private}"));
    assert!(status == 500 && text.contains("--allowHosts"), "{status} {text}");
    // A limit of its own.
    faas.start_function("slow", "http-tricks.wat", &["-callTimeout=300ms"]);
    assert_eq!(faas.call("slow", "l").0, 504);
    assert_eq!(faas.call("a", "c").0, 200);
}

#[test]
fn health_is_the_functions_own() {
    let faas = Faas::start(&[]);
    faas.start_function("own", "hooks.wat", &[]);
    faas.start_function("plain", "hey", &["-stopAfter=100ms"]);
    let own = faas.send("GET", "/functions/health/own", "");
    assert_eq!(own.status, 200);
    assert!(!own.text().contains("Started"), "{}", own.text());
    let health = || faas.send("GET", "/functions/health/plain/default/0", "");
    crate::support::eventually("the function sleeps", || health().text() == r#"{"status":"Stopped"}"#);
    assert_eq!(faas.status("plain/default/0"), "Stopped");
    assert_eq!(faas.call("plain", "Bob"), (200, "👋 Hey Bob !".into()));
    assert!(faas.capsctl_says(&["health"]).contains("\"status\":\"ok\""));
    faas.server.process.wait_for_line(Stream::Stdout, "plain/default/0 ").unwrap();
}

#[test]
fn who_hangs_up_ends_a_fresh_call_and_no_other() {
    let stub = HttpStub::start().unwrap();
    let gate = Gate::new();
    stub.answer("/", Answer::new(200, "text/plain", "x").behind(&gate));
    let faas = Faas::start(&["--outboundTimeout=none"]);
    let local = format!("-allowHosts={}", stub.url("").trim_start_matches("http://"));
    let body = format!(r#"h{{"URI":"{}","Method":"GET"}}"#, stub.url("/"));
    let calls: Vec<_> = [("kept", "-instances=1"), ("fresh", "-instances=fresh")]
        .into_iter()
        .zip(1..)
        .map(|((name, instances), number)| {
            faas.start_function(name, "services.wat", &[&local, instances, "-callTimeout=none"]);
            let mut connection = faas.server.connect().unwrap();
            let length = body.len();
            let head = format!("POST /functions/{name} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
            connection.write(head.as_bytes()).unwrap();
            stub.wait_for_requests(number).unwrap();
            connection
        })
        .collect();
    let metric = |name: &str| metric_of(&faas.admin("GET", "/metrics", "").text(), name);
    let running = |name| metric(&format!("capsule_function_instances{{function=\"{name}\",revision=\"default\"}}"));
    assert_eq!((running("kept"), running("fresh")), (1, 1));
    drop(calls);
    eventually("the call is cancelled", || running("fresh") == 0);
    eventually("both connections are free, though a call runs", || metric("capsule_connections") == 1);
    gate.open();
    assert_eq!(faas.call("kept", "c"), (200, "\u{1}".into()), "the call before came to its end");
    assert_eq!(running("kept"), 1);
}
