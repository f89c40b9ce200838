//! The example functions: in Rust as they are committed, in Go as they are built now. Both do the same.

use capsule_test::DEADLINE;
use capsule_test::guests;
use capsule_test::redis::{Redis, Reply};
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, HttpStub};
use rustix::process::Signal;

use crate::support::outcome;

const BOB: &str = r#"{"name":"Bob Morane","age":42}"#;
const ISSUE: &str = r#"{"object_kind":"issue","user":{"username":"bob"},"project":{"id":7},
    "object_attributes":{"iid":3,"description":"hello @bot"}}"#;
const NOTE: &str = r#"{"object_kind":"note","user":{"username":"bob"},"project":{"id":7},"issue":{"iid":4},
    "object_attributes":{"note":"@bot?"}}"#;
const GREETED: &str = r#"{"message":"Bob Morane 42","things":{"emoji":"🐯"}}"#;

#[derive(Debug, Clone, Copy)]
enum Language {
    Rust,
    Go,
}

use Language::{Go, Rust};

fn serve(language: Language, function: &str, env: &[(&str, &str)]) -> HttpServer {
    let module = match language {
        Rust => guests::function(&format!("{function}/{function}.wasm")),
        Go => guests::function_in_go(function),
    };
    HttpServer::start(&[module.unwrap().to_str().unwrap()], env).unwrap()
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

/// What it printed, with the time stamps of log lines cut off.
fn printed(server: HttpServer) -> Vec<String> {
    server.process.signal(Signal::TERM).unwrap();
    let stdout = server.process.wait(DEADLINE).unwrap().success().unwrap().stdout();
    stdout.lines().map(str::to_owned).collect()
}

#[test]
fn hello() {
    for language in [Rust, Go] {
        let server = serve(language, "hello", &[]);
        let response = server.post("/hello?x=1", BOB).unwrap();
        assert_eq!(outcome(&response), ok(GREETED));
        assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(outcome(&server.post("/", "no json").unwrap()), ok(r#"{"message":" 0","things":{"emoji":"🐯"}}"#));
        assert_eq!(outcome(&server.get("/health").unwrap()), ok(r#"{"message":"OK"}"#));
        let metrics = server.get("/metrics").unwrap().text();
        let own = "# HELP call counter\n# TYPE call_counter counter\ncall_counter 44\n# HELP capsule_";
        assert!(metrics.starts_with(own), "{metrics}");
        let host = server.address().to_string();
        let lines = printed(server);
        assert_eq!(
            lines[..6],
            [
                "🚗 OnStart".to_owned(),
                "🟢 Counter: 43".to_owned(),
                format!("📝: {BOB}"),
                "🔠: POST".to_owned(),
                format!("🌍: http://{host}/hello?x=1"),
                format!(r#"👒: "Host":"{host}","Content-Length":"30""#),
            ]
        );
        assert!(lines[6].ends_with("Bob Morane 42"), "{lines:?}");
        assert_eq!(lines[7], "🟢 Counter: 44");
        assert_eq!(lines[lines.len() - 2..], ["🚙 OnStop", "🟢 Counter: 44"]);
    }
}

#[test]
fn hello_world() {
    for language in [Rust, Go] {
        let server = serve(language, "hello-world", &[]);
        for _ in 0..2 {
            assert_eq!(outcome(&server.post("/", BOB).unwrap()), ok(GREETED));
        }
        assert_eq!(outcome(&server.get("/health").unwrap()), ok(r#"{"message":"OK"}"#));
        assert!(server.get("/metrics").unwrap().text().contains("\ncall_counter 2\n"));
        let lines = printed(server);
        assert!(
            lines.iter().any(|line| line == "🧮 Counter: 1") && lines.iter().any(|line| line == "🧮 Counter: 2"),
            "{lines:?}"
        );
    }
}

#[test]
fn hello_people() {
    for language in [Rust, Go] {
        let mut redis = Redis::start().unwrap();
        let server = serve(language, "hello-people", &[("REDIS_URI", &redis.url(0))]);
        for _ in 0..2 {
            assert_eq!(outcome(&server.post("/", BOB).unwrap()), ok(GREETED));
        }
        assert_eq!(redis.get(0, "counter").unwrap().as_deref(), Some(&b"2"[..]));
        assert!(server.get("/metrics").unwrap().text().contains("\ncall_counter 2\n"));
        assert_eq!(outcome(&server.get("/health").unwrap()), ok(r#"{"message":"OK"}"#));
        redis.kill().unwrap();
        assert!(server.get("/metrics").unwrap().text().contains("\ncall_counter 0\n"));
        assert_eq!(outcome(&server.post("/", BOB).unwrap()), ok(GREETED));
    }
}

#[test]
fn hey_and_its_relatives() {
    for language in [Rust, Go] {
        let server = serve(language, "hey", &[]);
        let response = server.post("/", "Bob").unwrap();
        assert_eq!(outcome(&response), ok("👋 Hey Bob !"));
        assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(printed(server)[..2], ["📝: Bob", "🔠: POST"]);
        let settings = [("MESSAGE", "m"), ("GREETING", "g")];
        for (function, answer) in [
            ("faas-hello-default", "👋 Hey Bob !"),
            ("faas-hello-orange", "🟠 👋 Hey Bob !"),
            ("faas-hello-blue", "🔵 👋 Hey Bob ! [m g]"),
            ("faas-hello-green", "🟢 👋 Hey Bob ! [m g]"),
            ("faas-html-page", "<h1>👋 Hello World! 🌍</h1>"),
        ] {
            assert_eq!(
                outcome(&serve(language, function, &settings).post("/", "Bob").unwrap()),
                ok(answer),
                "{function}"
            );
        }
        let page = serve(language, "faas-index-page", &[]).get("/").unwrap();
        assert!(page.status == 200 && page.text().to_lowercase().contains("<html"), "{}", page.text());
    }
}

#[test]
fn index_html() {
    for language in [Rust, Go] {
        let page = serve(language, "index-html", &[]).get("/any").unwrap();
        assert!(page.status == 200 && page.text().to_lowercase().contains("<html"), "{}", page.text());
        assert!(page.header("content-type").unwrap().starts_with("text/html"));
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert_eq!(page.header("x-powered-by"), Some("capsule-module-sdk"));
    }
}

#[test]
fn hello_redis_web() {
    for language in [Rust, Go] {
        let redis = Redis::start().unwrap();
        let server = serve(language, "hello-redis-web", &[("REDIS_URI", &redis.url(0))]);
        assert_eq!(outcome(&server.get("/").unwrap()), (500, "redis: nil\nredis: nil".to_owned()));
        redis.command(0, &[b"SET", b"message", b"hi"]).unwrap();
        assert_eq!(outcome(&server.get("/").unwrap()), (500, "redis: nil".to_owned()));
        assert_eq!(redis.command(0, &[b"SET", b"x_handle", b"@k33g_org"]).unwrap(), Reply::Status("OK".into()));
        assert_eq!(outcome(&server.get("/").unwrap()), ok(r#"{"message":"hi","xHandle":"@k33g_org"}"#));
    }
}

#[test]
fn gitlab_webhook() {
    for language in [Rust, Go] {
        let gitlab = HttpStub::start().unwrap();
        for issue in [3, 4] {
            gitlab.answer(&format!("/api/projects/7/issues/{issue}/notes"), Answer::new(201, "application/json", "{}"));
        }
        let api = gitlab.url("/api");
        let env = [
            ("GITLAB_API_URL", &*api),
            ("GITLAB_BOT_TOKEN", "bot-secret"),
            ("GITLAB_BOT_NAME", "@bot"),
            ("WEBHOOK_TOKEN", "t"),
        ];
        let server = serve(language, "gitlab-webhook", &env);
        let mut connection = server.connect().unwrap();
        let mut called = |body: &str, token: &str| {
            outcome(&connection.send("POST", "/", &[("X-Gitlab-Token", token)], body.as_bytes()).unwrap())
        };
        assert_eq!(called(ISSUE, "t"), ok(r#"{"message":"OK"}"#));
        assert_eq!(called(NOTE, "t"), ok(r#"{"message":"OK"}"#));
        assert_eq!(called(r#"{"object_kind":"push"}"#, "t"), ok(r#"{"message":"this is not an issue or note event"}"#));
        assert_eq!(called(ISSUE, "wrong").0, 401);
        let requests = gitlab.requests();
        let sent: Vec<_> =
            requests.iter().map(|request| (&*request.method, &*request.target, request.text())).collect();
        assert_eq!(
            sent,
            [
                ("POST", "/api/projects/7/issues/3/notes", r#"{"body":"😃 Hello @bob"}"#.to_owned()),
                ("POST", "/api/projects/7/issues/4/notes", r#"{"body":"🤗 Hey @bob"}"#.to_owned()),
            ]
        );
        assert_eq!(requests[0].header("private-token"), Some("bot-secret"));
        gitlab.answer("/api/projects/7/issues/3/notes", Answer::new(500, "application/json", "{}"));
        let (status, text) = called(ISSUE, "t");
        assert!(status == 500 && text.starts_with(r#"{"error":"#), "{status} {text}");
    }
}

#[test]
fn constant_and_counter() {
    for language in [Rust, Go] {
        let constant = serve(language, "constant", &[]).get("/").unwrap();
        assert_eq!(outcome(&constant), ok(r#"{"message":"hello"}"#));
        let counter = serve(language, "counter", &[]);
        for expected in ["1", "2"] {
            assert_eq!(outcome(&counter.get("/").unwrap()), ok(expected));
        }
    }
}
