//! What one function of a server does is nothing to the others: places, calls at once, starts, downloads. And what each
//! may use is its own: limits by the same names, environment, folders, also in a child process.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::mpsc;

use capsule_test::client::Response;
use capsule_test::stub::{Answer, Gate, HttpStub};
use serde_json::json;

use crate::faas_support::{Faas, module_path, refusal};
use crate::support::{eventually, metric, module, outcome, serve_wat, starts_once};

const SERVICES: &str = "services.wat";

/// Never ends its start.
const LOOPS: &str = r#"(module (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8)
    (func (export "_start") (loop $l (br $l)))
    (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#;

/// As many as there are permits for something that is done so many times at once for each core, and one more.
fn too_many() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * 4 + 1
}

fn body(name: &str, args: &[&str], more: serde_json::Value) -> String {
    let args = [&[""], args].concat();
    let mut body = json!({"name": name, "args": args});
    if let (Some(body), serde_json::Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body.to_string()
}

impl Faas {
    /// Starts a function from a whole body.
    #[track_caller]
    fn start_with(&self, name: &str, module: &str, args: &[&str], more: serde_json::Value) {
        let wasm = format!("-wasm={}", module_path(module).display());
        let answer = self.admin("POST", "/functions/start", body(name, &[&[wasm.as_str()], args].concat(), more));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }

    fn hits(&self, function: &str, limit: &str) -> u64 {
        let name = format!(
            "capsule_function_limit_hits_total{{function=\"{function}\",revision=\"default\",limit=\"{limit}\"}} "
        );
        let text = self.admin("GET", "/metrics", "").text();
        text.lines().find_map(|line| line.strip_prefix(name.as_str())).map_or(0, |value| value.parse().unwrap())
    }

    fn ask(&self, name: &str, body: &str) -> Response {
        self.send("POST", &format!("/functions/{name}"), body)
    }
}

fn get(uri: &str) -> String {
    format!("h{}", json!({"URI": uri, "Method": "GET"}))
}

/// A function that wants a thousand instances gets four, and holds each in a host function. Functions of `module` that are
/// started then are called, and `look` looks at what else has to hold.
fn greedy(faas: &Faas, module: &str, look: impl FnOnce()) {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    stub.answer("/", Answer::new(200, "text/plain", "let go").behind(&gate));
    let allow = json!({"allowHosts": [stub.address().to_string()]});
    faas.start_with("greedy", SERVICES, &["-instances=1000", "-callTimeout=none", "-outboundTimeout=none"], allow);
    let document = get(&stub.url("/"));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..30).map(|_| scope.spawn(|| faas.ask("greedy", &document))).collect();
        stub.wait_for_requests(4).unwrap();
        eventually("the others wait", || waiting(faas) >= 26);
        for late in ["late", "later", "latest"] {
            faas.start_function(late, module, &[]);
            // To services, a letter that asks for nothing.
            assert_eq!(faas.call(late, "c").0, 200);
        }
        look();
        assert_eq!(stub.requests().len(), 4, "it took more than its part");
        gate.open();
        for call in calls {
            assert_eq!(call.join().unwrap().status, 200);
        }
    });
    assert_eq!(stub.requests().len(), 30);
}

/// Eight places in all: with that of `before`, four are as many as are left.
#[test]
fn a_greedy_function_leaves_places_for_the_others() {
    let faas = Faas::start(&["--maxInstances=8"]);
    faas.start_function("before", "hey", &[]);
    greedy(&faas, "hey", || assert_eq!(faas.call("before", "Bob"), (200, "👋 Hey Bob !".into())));
}

/// Room for nine instances in all, and nobody is put to sleep for the greedy one.
#[test]
fn a_greedy_function_leaves_memory_for_the_others() {
    let accounted = |faas: &Faas| {
        let text = faas.admin("GET", "/metrics", "").text();
        let value = text.lines().find_map(|line| line.strip_prefix("capsule_memory_accounted_bytes ")).unwrap();
        value.parse::<u64>().unwrap()
    };
    let probe = Faas::start(&[]);
    probe.start_function("a", SERVICES, &[]);
    let one = accounted(&probe);
    probe.start_function("b", SERVICES, &[]);
    let instance = accounted(&probe) - one;
    drop(probe);

    let limit = format!("--maxTotalMemory={}", one + 8 * instance + instance / 2);
    let faas = Faas::start(&["--queueTimeout=60s", &limit]);
    faas.start_function("idle", SERVICES, &["-stopAfter=1h"]);
    greedy(&faas, SERVICES, || assert_eq!(faas.status("idle/default/0"), "Started"));
}

fn waiting(faas: &Faas) -> u64 {
    let text = faas.admin("GET", "/metrics", "").text();
    text.lines().find_map(|line| line.strip_prefix("capsule_waiting_calls ")).map_or(0, |value| value.parse().unwrap())
}

#[test]
fn a_server_without_a_free_place_says_so() {
    let faas = Faas::start(&["--maxInstances=1"]);
    faas.start_function("first", "hey", &[]);
    let wasm = format!("-wasm={}", module_path("hey").display());
    let refused = faas.admin("POST", "/functions/start", body("second", &[&wasm, "-queueTimeout=100ms"], json!({})));
    let expected = "all 1 instances of the server are in use (flag `--maxInstances`)";
    assert_eq!(refusal(&refused), (503, expected.to_owned()));
    assert_eq!(faas.call("first", "Bob").0, 200);
}

/// Twenty connections in all, ten for the calls of one function.
#[test]
fn calls_of_one_function_leave_connections_for_the_others() {
    let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
    stub.answer("/", Answer::new(200, "text/plain", "let go").behind(&gate));
    let faas = Faas::start(&["--maxConnections=20"]);
    faas.start_function("neighbour", "hey", &[]);
    let allow = json!({"allowHosts": [stub.address().to_string()]});
    faas.start_with("greedy", SERVICES, &["-callTimeout=none", "-outboundTimeout=none"], allow);
    let document = get(&stub.url("/"));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..10).map(|_| scope.spawn(|| faas.ask("greedy", &document))).collect();
        stub.wait_for_requests(1).unwrap();
        eventually("the others wait", || waiting(&faas) == 9);
        let refused = faas.ask("greedy", "c");
        let expected =
            "`greedy/default/0` has 10 calls at once, its share of what the server can hold (flag `--maxConnections`)";
        assert_eq!(refusal(&refused), (503, expected.to_owned()));
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(faas.call("neighbour", "Bob").0, 200);
        gate.open();
        for call in calls {
            assert_eq!(call.join().unwrap().status, 200);
        }
    });
    assert_eq!(faas.hits("greedy", "maxConnections"), 1);
    assert_eq!(faas.ask("greedy", "c").status, 200);
}

#[test]
fn starts_that_never_end_keep_no_other_start_waiting() {
    let faas = Faas::start(&["--startTimeout=60s"]);
    let module = module(LOOPS);
    let wasm = format!("-wasm={}", module.path().display());
    let mut hanging = Vec::new();
    for number in 0..too_many() {
        let body = body(&format!("loops-{number}"), &[&wasm, "-callTimeout=none"], json!({}));
        let mut connection = faas.server.connect().unwrap();
        let head = format!(
            "POST /functions/start HTTP/1.1\r\nHost: h\r\nCAPSULE_FAAS_TOKEN: {}\r\nContent-Length: {}\r\n\r\n",
            crate::faas_support::TOKEN,
            body.len()
        );
        connection.write(format!("{head}{body}").as_bytes()).unwrap();
        hanging.push(connection);
    }
    faas.start_function("good", "hey", &[]);
    assert_eq!(faas.call("good", "Bob").0, 200);
    // Nobody waits a minute for the end of the others.
    faas.server.process.kill().unwrap();
}

#[test]
fn a_start_has_a_limit_of_its_own() {
    let faas = Faas::start(&["--startTimeout=300ms"]);
    let module = module(LOOPS);
    let wasm = format!("-wasm={}", module.path().display());
    for more in [&["-callTimeout=none"][..], &["-callTimeout=none", "-startTimeout=none"], &["-startTimeout=1h"]] {
        let answer =
            faas.admin("POST", "/functions/start", body("loops", &[&[wasm.as_str()], more].concat(), json!({})));
        let (status, error) = refusal(&answer);
        assert_eq!(status, 422);
        assert!(
            error.ends_with("the start exceeded its time limit of 300ms (flag `--startTimeout`)"),
            "{more:?}: {error}"
        );
    }
    let shorter = body("loops", &[&wasm, "-startTimeout=100ms"], json!({}));
    let (_, error) = refusal(&faas.admin("POST", "/functions/start", shorter));
    assert!(error.ends_with("the start exceeded its time limit of 100ms (flag `--startTimeout`)"), "{error}");

    // The first instance starts; the one after the trap finds the counter in the cache and never comes to its end.
    let server = serve_wat(&starts_once("(loop $l (br $l))"), &["--startTimeout=200ms", "--callTimeout=none"]);
    assert_eq!(server.post("/", "").unwrap().status, 500);
    let expected =
        "the module could not be started: the start exceeded its time limit of 200ms (flag `--startTimeout`)"
            .to_owned();
    assert_eq!(outcome(&server.post("/", "").unwrap()), (504, expected));
    assert_eq!(metric(&server, "capsule_limit_hits_total{limit=\"startTimeout\"}"), 1);
}

/// Servers that take a connection and never answer.
#[test]
fn downloads_that_never_end_keep_no_other_start_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("-url=http://{}/f.wasm", silent.local_addr().unwrap());
    let (arrived, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in silent.incoming() {
            let mut stream = stream.unwrap();
            let arrived = arrived.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 64]);
                let _ = arrived.send(());
                // Until the client gives up.
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    let stub = HttpStub::start().unwrap();
    let bytes = std::fs::read(module_path("hey")).unwrap();
    stub.answer("/hey.wasm", Answer::new(200, "application/wasm", bytes));
    let faas = Faas::start(&[]);
    let mut hanging = Vec::new();
    for number in 0..too_many() {
        let body = body(&format!("silent-{number}"), &[&url], json!({}));
        let mut connection = faas.server.connect().unwrap();
        let head = format!(
            "POST /functions/start HTTP/1.1\r\nHost: h\r\nCAPSULE_FAAS_TOKEN: {}\r\nContent-Length: {}\r\n\r\n",
            crate::faas_support::TOKEN,
            body.len()
        );
        connection.write(format!("{head}{body}").as_bytes()).unwrap();
        hanging.push(connection);
    }
    for _ in 0..too_many() {
        arrivals.recv_timeout(capsule_test::DEADLINE).unwrap();
    }
    faas.start_function("good", "hey", &[]);
    assert_eq!(faas.call("good", "Bob").0, 200);
    let url = format!("-url={}", stub.url("/hey.wasm"));
    let answer = faas.admin("POST", "/functions/start", body("downloaded", &[&url], json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text());
    faas.server.process.kill().unwrap();
}

/// Each limit by the name that it has on the command line, and counted for the function that meets it.
#[test]
fn every_limit_is_a_functions_own() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/large", Answer::new(200, "text/plain", "x".repeat(1001)));
    stub.answer("/never", Answer::new(200, "text/plain", "").behind(&Gate::new()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x".repeat(2000)).unwrap();
    let dir = format!("-dir={}:.", folder.path().display());
    let faas = Faas::start(&[]);
    faas.start_function("free", "mirror.wat", &[]);
    let allow = json!({"allowHosts": [stub.address().to_string()]});
    let trap = "(it was refused memory at its limit of 4194304 bytes, flag `--maxMemory`)";
    let result = format!("{:<100}", r#"{"JSONBody":1}"#);
    let (large, never) = (get(&stub.url("/large")), get(&stub.url("/never")));
    let value = format!("Sk={}", "x".repeat(200));
    for (limit, value, module, more, request, status, text) in [
        (
            "maxBody",
            "100",
            "mirror.wat",
            "",
            "x".repeat(101).as_str(),
            413,
            "the body exceeds the limit of 100 bytes (flag `--maxBody`)",
        ),
        ("maxResult", "100", "answer.wat", "", &result, 500, "has 101 bytes, the limit is 100 (flag `--maxResult`)"),
        ("maxMemory", "4MiB", "http-tricks.wat", "", "g", 500, trap),
        (
            "callTimeout",
            "300ms",
            "http-tricks.wat",
            "",
            "l",
            504,
            "exceeded its time limit of 300ms (flag `--callTimeout`)",
        ),
        ("maxCache", "200", SERVICES, "", &value, 500, "the cache is full: its limit is 200 bytes (flag `--maxCache`)"),
        (
            "maxHostMemory",
            "1000",
            SERVICES,
            &dir,
            "rfile",
            500,
            "exceeds the limit of 1000 bytes (flag `--maxHostMemory`)",
        ),
        ("maxFiles", "1", SERVICES, &dir, "rfile", 500, "1 files are open (flag `--maxFiles`)"),
        ("maxWritten", "100", SERVICES, &dir, "wnew=x", 500, "beyond the limit of 100 bytes (flag `--maxWritten`)"),
        (
            "maxOutboundBody",
            "1000",
            SERVICES,
            "",
            &large,
            500,
            "exceeds the limit of 1000 bytes (flag `--maxOutboundBody`)",
        ),
        ("outboundTimeout", "300ms", SERVICES, "", &never, 500, "the time limit of 300ms (flag `--outboundTimeout`)"),
    ] {
        let name = format!("f-{limit}");
        let more = if more.is_empty() { vec![] } else { vec![more] };
        faas.start_with(&name, module, &[&[format!("-{limit}={value}").as_str()], &more[..]].concat(), allow.clone());
        if limit == "maxFiles" {
            assert_eq!(faas.ask(&name, "Ofile").status, 200);
        }
        let answer = faas.ask(&name, request);
        assert_eq!(answer.status, status, "{limit}: {}", answer.text());
        assert!(answer.text().contains(text), "{limit}: {}", answer.text());
        assert_eq!(faas.hits(&name, limit), 1, "{limit}");
        assert_eq!(faas.hits("free", limit), 0, "{limit}");
    }
    assert_eq!(faas.ask("f-maxBody", &"x".repeat(100)).status, 200);
    assert_eq!(faas.ask("free", &"x".repeat(101)).status, 200);
    // Where traffic is split, each revision keeps its own.
    faas.start_with("split", "mirror.wat", &["-maxBody=100"], json!({"revision": "small"}));
    faas.start_with("split", "mirror.wat", &["-maxBody=200"], json!({"revision": "large"}));
    assert_eq!(faas.admin("PUT", "/functions/route/split", r#"{"small":1,"large":1}"#).status, 200);
    let mut statuses: Vec<u16> = (0..2).map(|_| faas.ask("split", &"x".repeat(150)).status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 413]);
    assert_eq!(faas.ask("split", &"x".repeat(201)).status, 413);
}

#[test]
fn the_servers_own_environment_is_nobodys_unless_it_is_passed_on() {
    let secrets = [
        ("CAPSULE_FAAS_TOKEN_FILE", ""),
        ("NGROK_API_KEY", "s3cret-1"),
        ("REDIS_PWD", "s3cret-2"),
        ("NATS_CREDS", "s3cret-3"),
        ("MQTT_PASSWORD", "s3cret-4"),
        ("CAPSULE_AUTH_HEADER_VALUE", "s3cret-5"),
        ("CAPSULE_NATS_TOKEN", "s3cret-6"),
        ("MESSAGE", "hello"),
    ];
    for (flags, message) in
        [(&[][..], "\"\""), (&["--passEnv=*"], "hello"), (&["--passEnv=MESSAGE,NATS_CREDS"], "hello")]
    {
        let faas = Faas::start_in(tempfile::tempdir().unwrap(), flags, &secrets);
        faas.start_function("f", SERVICES, &[]);
        assert_eq!(faas.call("f", "eMESSAGE"), (200, message.into()), "{flags:?}");
        for (name, value) in secrets.iter().filter(|(name, _)| *name != "MESSAGE") {
            assert_eq!(faas.call("f", &format!("e{name}")), (200, "\"\"".into()), "{name}={value}");
        }
        assert_eq!(faas.call("f", "eCAPSULE_FAAS_TOKEN").1, "\"\"");
        let (_, environ) = faas.call("f", "E");
        assert!(!environ.contains("s3cret") && !environ.contains("REDIS"), "{environ}");
    }
}

/// What its server has said of limits, folders and variables, a function in a process of its own has too; and what is secret
/// is in nobody's list of processes.
#[test]
fn a_child_process_has_what_its_server_gives() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "lent").unwrap();
    let dir = format!("--dir={}:.:ro", folder.path().display());
    let faas = Faas::start(&["--maxMemory=4MiB", "--maxResult=100KiB", "--maxFiles=1", &dir]);
    let own = json!({"path": env!("CARGO_BIN_EXE_capsule-http")});
    faas.start_with("grows", "http-tricks.wat", &[], own.clone());
    let (status, text) = outcome(&faas.ask("grows", "g"));
    assert!(status == 500 && text.contains("refused memory at its limit of 4194304 bytes"), "{status} {text}");
    faas.start_with("more", "http-tricks.wat", &["-maxMemory=5MiB"], own.clone());
    let (_, text) = outcome(&faas.ask("more", "g"));
    assert!(text.contains("refused memory at its limit of 5242880 bytes"), "{text}");

    let mut given = own;
    given["env"] = json!(["TOKEN=s3cret-1", "REDIS_ADDR=127.0.0.1:1", "REDIS_PWD=s3cret-2"]);
    given["redisPrefix"] = json!("p:");
    faas.start_with("given", SERVICES, &["-env=OTHER=s3cret-3", "-env", "LAST=s3cret-4"], given);
    for (name, value) in [("TOKEN", "s3cret-1"), ("REDIS_PWD", "s3cret-2"), ("OTHER", "s3cret-3"), ("LAST", "s3cret-4")]
    {
        assert_eq!(faas.call("given", &format!("e{name}")), (200, value.into()), "{name}");
    }
    assert_eq!(faas.call("given", "eCAPSULE_FAAS_TOKEN").1, "\"\"");
    assert_eq!(faas.call("given", "rfile"), (200, "lent".into()));
    assert!(faas.call("given", "wfile=x").1.contains("for reading only"));
    assert_eq!((faas.call("given", "Ofile").0, faas.call("given", "Ofile").1), (200, "errno 33".into()));
    let (status, text) = faas.call("given", "sk=v");
    assert!(status == 500 && text.contains("(flag `--allowHosts`)"), "its Redis is held to its list: {text}");
    let processes = faas.processes();
    let pid = &processes["given/default/0"]["pid"];
    let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(words.contains("-moduleName=given") && !words.contains("s3cret"), "{words}");
    assert!(!processes.to_string().contains("s3cret"), "{processes}");
    let log = faas.server.stop().unwrap().stderr();
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn no_function_is_given_a_folder_of_the_servers() {
    let faas = Faas::start(&[]);
    let data = faas.home.path().join("data");
    let wasm = format!("-wasm={}", module_path(SERVICES).display());
    for folder in
        ["/", "/proc", "/proc/self", "/dev", "/usr/..", data.to_str().unwrap(), faas.home.path().to_str().unwrap()]
    {
        let answer =
            faas.admin("POST", "/functions/start", body("f", &[&wasm, &format!("-dir={folder}:/x")], json!({})));
        let (status, error) = refusal(&answer);
        assert!(status == 422 && error.starts_with("`-dir`: `"), "{folder}: {error}");
    }
    assert!(faas.keys().is_empty());
}

/// One that may write to a folder around another function's can put a link in its place: to where compiled code is, or to a
/// folder that is nobody's. Neither is reached, whoever wakes first.
#[test]
fn a_link_of_one_function_leads_no_other_one_anywhere() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    for folder in ["outer/inner", "outer/kept", "nobodys", "cache", "names"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    std::fs::write(at("outer/inner/file"), "inner").unwrap();
    std::fs::write(at("nobodys/file"), "s3cret").unwrap();
    std::os::unix::fs::symlink("../outer/kept", at("names/link")).unwrap();
    let cache = format!("--cacheDir={}", at("cache").display());
    let dir = |path: &str, end: &str| format!("-dir={}{end}", at(path).display());
    let faas = Faas::start(&[&cache]);
    faas.start_with("outer", SERVICES, &[&dir("outer", ":.")], json!({}));
    for (name, place) in [("inside", json!({})), ("child", json!({"path": env!("CARGO_BIN_EXE_capsule-http")}))] {
        faas.start_with(name, SERVICES, &[&dir("outer/inner", ":/b")], place);
        assert_eq!(faas.call(name, "r/b/file"), (200, "inner".into()), "{name}");
    }
    faas.start_with("links", SERVICES, &[&dir("names/link", ":.")], json!({}));
    assert_eq!(faas.call("links", "wfile=through a link of the operator").0, 200);
    assert!(at("outer/kept/file").exists());

    assert_eq!(faas.call("outer", "minner=old").0, 200);
    let known = std::fs::read_dir(at("cache")).unwrap().count();
    let closed = |faas: &Faas, what: &str| {
        for name in ["inside", "child"] {
            for body in ["r/b/file", "w/b/evil.cwasm=code", "ofile", "Wevil.cwasm=code"] {
                let (status, text) = faas.call(name, body);
                assert!(status >= 400 && !text.contains("s3cret"), "{what} {name} {body}: {text}");
            }
        }
        assert_eq!(std::fs::read_dir(at("cache")).unwrap().count(), known, "{what}");
        assert_eq!(std::fs::read_dir(at("nobodys")).unwrap().count(), 1, "{what}");
    };
    for target in ["../cache", "../nobodys"] {
        assert_eq!(faas.call("outer", &format!("l{target}=inner")).0, 200);
        closed(&faas, target);
        assert_eq!(faas.call("outer", "xinner").0, 200);
    }
    assert_eq!(faas.call("outer", "l../nobodys=inner").0, 200);
    // Nor is it followed when a function is started anew, or the server.
    let wasm = format!("-wasm={}", module_path(SERVICES).display());
    let answer = faas.admin("POST", "/functions/start", body("late", &[&wasm, &dir("outer/inner", ":/b")], json!({})));
    let (status, error) = refusal(&answer);
    assert!(status == 422 && error.contains("is a symbolic link, which is not followed"), "{status} {error}");
    let faas = faas.killed_and_started();
    closed(&faas, "after a restart");
    // And one that is to write where a link of the operator leads another function on its way is not given that.
    let answer = faas.admin("POST", "/functions/start", body("all", &[&wasm, &dir("names", ":.")], json!({})));
    assert_eq!(faas.call("links", "rfile").0, 200);
    let again = faas.admin("POST", "/functions/start", body("again", &[&wasm, &dir("names", ":.")], json!({})));
    assert!(answer.status == 422 && again.status == 422, "{} {}", answer.text(), again.text());
}
