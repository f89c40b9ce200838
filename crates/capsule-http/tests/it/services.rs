//! Host functions through HTTP: Redis, the environment, folders, outbound addresses.

use capsule_test::client::Response;
use capsule_test::redis::Redis;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, HttpStub};
use capsule_test::tls::Certificate;

use crate::support::{json, outcome, serve, serve_with};

const SERVICES: &str = "services.wat";

fn text(server: &HttpServer, body: &str) -> String {
    let response = server.post("/", body).unwrap();
    assert_eq!(response.status, 200, "{body}: {}", response.text());
    response.text()
}

fn failure(response: &Response) -> String {
    assert_eq!(response.status, 500, "{}", response.text());
    response.text()
}

#[test]
fn redis_values_keys_and_databases() {
    let redis = Redis::with_password("hunter2").unwrap();
    let server = serve_with(SERVICES, &[], &[("REDIS_URI", &redis.url(3))]);
    assert_eq!(text(&server, "sone=1"), "one");
    assert_eq!(text(&server, "stwo=a\0b\nc"), "two");
    assert_eq!(redis.get(3, "two").unwrap().as_deref(), Some(&b"a\0b\nc"[..]));
    assert_eq!(redis.get(0, "two").unwrap(), None);
    assert_eq!(server.post("/", "gtwo").unwrap().body, b"a\0b\nc");
    redis.command(3, &[b"SET", b"bytes", b"\xff\0\xfe"]).unwrap();
    assert_eq!(server.post("/", "gbytes").unwrap().body, b"\xff\0\xfe");
    assert_eq!(failure(&server.post("/", "gthree").unwrap()), "redis: nil");
    assert_eq!(text(&server, "kt*"), r#"{"keys":["two"]}"#);
    assert_eq!(text(&server, "kx*"), r#"{"keys":[]}"#);
    assert_eq!(text(&server, "dtwo"), "two");
    assert_eq!(text(&server, "dtwo"), "two");
    assert_eq!(failure(&server.post("/", "gtwo").unwrap()), "redis: nil");
}

#[test]
fn large_redis_values_come_through() {
    let redis = Redis::start().unwrap();
    let server = serve_with(SERVICES, &[], &[("REDIS_ADDR", &redis.address().to_string()), ("REDIS_DEFAULTDB", "2")]);
    let value = "0123456789abcdef".repeat(5 << 16);
    assert_eq!(text(&server, &format!("slarge={value}")), "large");
    assert_eq!(redis.get(2, "large").unwrap().map(|value| value.len()), Some(5 << 20));
    assert_eq!(text(&server, "glarge"), value);
}

#[test]
fn redis_may_go_away_and_come_back() {
    let mut redis = Redis::start().unwrap();
    let server = serve_with(SERVICES, &["--callTimeout=20s"], &[("REDIS_URI", &redis.url(0))]);
    assert_eq!(text(&server, "sk=before"), "k");
    redis.kill().unwrap();
    let away = failure(&server.post("/", "gk").unwrap());
    assert!(!away.is_empty() && !away.contains("trapped"), "{away}");
    assert_eq!(text(&server, "e"), "\"\"", "the module is well");
    redis.restart().unwrap();
    // The connection comes back by itself; until then the failure is one of the call.
    crate::support::eventually("redis is back", || server.post("/", "sk=after").unwrap().status == 200);
    assert_eq!(text(&server, "gk"), "after");
}

#[test]
fn a_redis_that_cannot_be_is_a_failure_of_the_call() {
    for (name, value) in
        [("REDIS_URI", "nonsense"), ("REDIS_URI", "redis://:secret@127.0.0.1:1/0"), ("REDIS_ADDR", "127.0.0.1:1")]
    {
        let server = serve_with(SERVICES, &[], &[(name, value)]);
        let (status, text) = outcome(&server.post("/", "gk").unwrap());
        assert!(status == 500 && !text.contains("trapped") && !text.contains("secret"), "{value}: {text}");
        assert_eq!(server.get("/health").unwrap().status, 200);
    }
}

#[test]
fn the_environment_is_passed_on_without_the_runners_secrets() {
    let secrets = [
        ("CAPSULE_FAAS_TOKEN", "secret-1"),
        ("NGROK_AUTH_TOKEN", ""),
        ("REDIS_URI", "redis://:secret-2@127.0.0.1:1"),
        ("REDIS_PWD", "secret-3"),
        ("CAPSULE_AUTH_HEADER_VALUE", "secret-4"),
    ];
    let env: Vec<(&str, &str)> = secrets.iter().copied().chain([("MESSAGE", "hello"), ("EMPTY", "")]).collect();
    let server = serve_with(SERVICES, &[], &env);
    assert_eq!(text(&server, "eMESSAGE"), "hello");
    for name in
        ["EMPTY", "UNSET", "PATH=x", "", "REDIS_URI", "REDIS_PWD", "CAPSULE_FAAS_TOKEN", "CAPSULE_AUTH_HEADER_VALUE"]
    {
        assert_eq!(text(&server, &format!("e{name}")), "\"\"", "{name}");
    }
    let environ = text(&server, "E");
    assert!(environ.contains("MESSAGE=hello\0"), "{environ}");
    assert!(!environ.contains("secret") && !environ.contains("REDIS_") && !environ.contains("TOKEN"), "{environ}");

    let env: Vec<(&str, &str)> = secrets.iter().copied().chain([("MESSAGE", "hello"), ("OTHER", "other")]).collect();
    let server = serve_with(SERVICES, &["--passEnv=OTHER,REDIS_PWD", "--env=MESSAGE=given", "--env", "A=b=c"], &env);
    for (name, value) in
        [("MESSAGE", "given"), ("OTHER", "other"), ("A", "b=c"), ("REDIS_PWD", "\"\""), ("PATH", "\"\"")]
    {
        assert_eq!(text(&server, &format!("e{name}")), value, "{name}");
    }
    assert!(!server.stop().unwrap().stderr().contains("secret"));
}

#[test]
fn the_token_of_ngrok_is_a_secret_and_a_bad_one_a_warning() {
    let server =
        serve_with(SERVICES, &[], &[("NGROK_AUTHTOKEN", "not-a-token"), ("HTTPS_PROXY", "http://127.0.0.1:1")]);
    assert_eq!(text(&server, "eNGROK_AUTHTOKEN"), "\"\"");
    assert!(!text(&server, "E").contains("not-a-token"));
    assert!(!server.stop().unwrap().success().unwrap().stderr().contains("not-a-token"));
}

#[test]
fn folders_are_lent_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let [lent, other] = ["lent", "other"].map(|name| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), name).unwrap();
        path
    });
    let outside = other.join("file");
    std::os::unix::fs::symlink(&outside, lent.join("link")).unwrap();
    let server = serve(SERVICES, &[&format!("--dir={}:/data", lent.display())]);
    assert_eq!(text(&server, "r/data/file"), "lent");
    assert_eq!(text(&server, "w/data/new=a=b"), "/data/new");
    assert_eq!(std::fs::read_to_string(lent.join("new")).unwrap(), "a=b");
    for path in [outside.to_str().unwrap(), "/etc/passwd", "/data/../other/file", "/data/link", "file", ""] {
        let reason = failure(&server.post("/", format!("r{path}")).unwrap());
        assert!(!reason.contains("trapped") && reason != "other", "{path}: {reason}");
    }
    let refused = failure(&server.post("/", "r/etc/passwd").unwrap());
    assert!(refused.contains("--dir"), "{refused}");

    let server = serve(SERVICES, &[&format!("--dir={}:/data:ro", lent.display())]);
    assert_eq!(text(&server, "r/data/file"), "lent");
    failure(&server.post("/", "w/data/file=x").unwrap());
    assert_eq!(std::fs::read_to_string(lent.join("file")).unwrap(), "lent");

    let server = serve(SERVICES, &["--dir=none"]);
    failure(&server.post("/", format!("r{}", lent.join("file").display())).unwrap());
    failure(&server.post("/", "rCargo.toml").unwrap());
}

#[test]
fn outbound_addresses_are_those_that_are_allowed() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/", Answer::new(200, "application/json", r#"{"a":1}"#));
    let document = format!(r#"h{{"URI":"{}","Method":"GET","Headers":{{"X-Own":"v"}}}}"#, stub.url("/"));
    let port = stub.address().port();
    for (flags, reached) in [
        (&[][..], true),
        (&["--allowHosts=127.0.0.1"], true),
        (&[&format!("--allowHosts=127.0.0.1:{port}")], true),
        (&["--allowHosts=127.0.0.0/8"], true),
        (&["--allowHosts=127.0.0.1:1"], false),
        (&["--allowHosts=example.com"], false),
        (&["--allowHosts=none"], false),
    ] {
        let server = serve(SERVICES, flags);
        let response = server.post("/", &document).unwrap();
        if reached {
            assert!(response.text().starts_with(r#"{"JSONBody":{"a":1},"#), "{flags:?}: {}", response.text());
        } else {
            let reason = failure(&response);
            assert!(reason.contains("--allowHosts"), "{flags:?}: {reason}");
        }
    }
    assert_eq!(stub.requests().len(), 4);
    assert_eq!(stub.requests()[0].header("x-own"), Some("v"));
    // Where a cloud keeps the credentials of the machine.
    let reason =
        failure(&serve(SERVICES, &[]).post("/", r#"h{"URI":"http://169.254.169.254/","Method":"GET"}"#).unwrap());
    assert!(!reason.contains("timed out"), "{reason}");
}

#[test]
fn the_cache_outlives_an_instance() {
    let server = serve(SERVICES, &[]);
    assert_eq!(text(&server, "Skey=value"), "key");
    assert_eq!(server.post("/", "?").unwrap().status, 500, "an unknown letter traps");
    assert_eq!(server.post("/", "c").unwrap().body, [0]);
    assert_eq!(text(&server, "Gkey"), "value");
    assert_eq!(failure(&server.post("/", "Gother").unwrap()), "key not found");
}

/// An authority of one's own is named by the variables that other programs know too.
#[test]
fn https_to_a_server_whose_authority_is_trusted() {
    let certificate = Certificate::for_localhost().unwrap();
    let (crt, key) = (certificate.crt(), certificate.key());
    let flags = [format!("--crt={}", crt.display()), format!("--key={}", key.display())];
    let far = serve("mirror.wat", &[&flags[0], &flags[1]]);
    let uri = format!("https://localhost:{}/path?q=1", far.address().port());
    let document = format!(r#"h{{"URI":"{uri}","Method":"POST","TextBody":"hello","Headers":{{"X-Own":"v"}}}}"#);
    let trusting = serve_with(SERVICES, &[], &[("SSL_CERT_FILE", crt.to_str().unwrap())]);
    let seen = &json(&trusting.post("/", &document).unwrap())["JSONBody"];
    assert_eq!((&seen["URI"], &seen["Body"]), (&uri.into(), &"hello".into()));
    // Without it nobody is trusted whom the machine does not know.
    let reason = failure(&serve(SERVICES, &[]).post("/", &document).unwrap());
    assert!(reason.contains("localhost") && reason.contains("certificate"), "{reason}");
}

#[test]
fn redis_over_tls() {
    let certificate = Certificate::for_localhost().unwrap();
    let redis = Redis::with_tls(&certificate).unwrap();
    let crt = certificate.crt();
    let uri = ("REDIS_URI", &*redis.tls_url(3));
    let trusting = serve_with(SERVICES, &[], &[uri, ("SSL_CERT_FILE", crt.to_str().unwrap())]);
    assert_eq!(text(&trusting, "sk=over TLS"), "k");
    assert_eq!(redis.get(3, "k").unwrap().as_deref(), Some(&b"over TLS"[..]));
    assert_eq!(text(&trusting, "gk"), "over TLS");
    let reason = failure(&serve_with(SERVICES, &[], &[uri]).post("/", "gk").unwrap());
    assert!(reason.contains("certificate"), "{reason}");
}
