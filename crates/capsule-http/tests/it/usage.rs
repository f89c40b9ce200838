//! What keeps the server from serving: one line that says what, and what to do. Exit code 1, or 2 for a wrong command line.

use std::net::TcpListener;

use capsule_test::DEADLINE;
use capsule_test::guests;
use capsule_test::process::{Finished, Stream};
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, Gate, HttpStub};
use capsule_test::tls::Certificate;
use rustix::process::Signal;

use crate::support::{file, module, run};

/// A sound module with this handler, its memory as given.
fn wat_with(handler: &str, memory: &str) -> String {
    format!(
        r#"(module {memory} (func (export "malloc") (param i32) (result i32) (i32.const 1024))
           (func (export "{handler}") (param i32 i32) (result i64) (i64.const 0)))"#
    )
}

fn check(finished: &Finished, code: i32, stderr: &str) {
    assert_eq!(finished.stderr(), stderr);
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(code), ""));
}

fn module_path() -> String {
    guests::fixture("mirror.wat").unwrap().display().to_string()
}

#[test]
fn without_a_word_it_helps_and_exits_with_2() {
    let finished = run(&[]);
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(2), ""));
    assert!(finished.stderr().contains("\nUsage:\n  capsule-http [FLAGS] MODULE\n"), "{finished:?}");
}

#[test]
fn help_names_every_flag_and_variable() {
    let help = run(&["--help"]).success().unwrap().stdout();
    for part in [
        "--wasm=PATH",
        "--url=URL",
        "--authHeaderName=NAME",
        "--authHeaderValue=VALUE",
        "--registry=TEXT",
        "--httpPort=PORT",
        "--httpHost=ADDRESS",
        "--stopAfter=DURATION",
        "--drainTimeout=DURATION",
        "--crt=FILE",
        "--key=FILE",
        "--maxConnections=N",
        "--accessLog",
        "--trustedProxies=A,B",
        "--callTimeout=DURATION",
        "--maxMemory=SIZE",
        "--instances=N",
        "--maxInstances=N",
        "--maxQueue=N",
        "--queueTimeout=DURATION",
        "--maxBody=SIZE",
        "--maxResult=SIZE",
        "--dir=HOST[:GUEST][:ro]",
        "--allowHosts=A,B",
        "--env=NAME=VALUE",
        "--passEnv=A,B",
        "--cacheDir=PATH",
        "--logFormat=FORMAT",
        "--logLevel=LEVEL",
        "REDIS_URI",
        "NGROK_AUTHTOKEN",
        "NGROK_DOMAIN",
        "\n  2  ",
    ] {
        assert!(help.contains(part), "`{part}` is not in the help:\n{help}");
    }
    let version = run(&["--version"]).success().unwrap().stdout();
    assert_eq!(version, concat!("capsule-http ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn all_forms_of_a_flag_mean_the_same() {
    let wasm = module_path();
    for words in [
        vec![wasm.clone()],
        vec![format!("-wasm={wasm}"), "-httpPort=0".into()],
        vec!["--wasm".into(), wasm.clone(), "--httpPort".into(), "0".into(), "--stopAfter=".into()],
        vec!["-stopAfter".into(), "100".into(), wasm.clone(), "--accessLog=true".into(), "--registry=unused".into()],
    ] {
        assert_eq!(HttpServer::start(&words, &[]).unwrap().get("/").unwrap().status, 200);
    }
    // All addresses, unless said otherwise.
    let server = HttpServer::launch(Program::of_workspace("capsule-http").unwrap().arg(&wasm)).unwrap();
    let line = server.process.wait_for_line(Stream::Stderr, "listening").unwrap();
    assert!(line.ends_with(&format!("listening on http://0.0.0.0:{}", server.address().port())), "{line}");
    assert_eq!(server.get("/").unwrap().status, 200);
}

#[test]
fn a_wrong_command_line_names_every_problem() {
    let wasm = module_path();
    for (words, stderr) in [
        (
            &["--httpPort=8080"][..],
            "error: no module is named\nhint: `capsule-http MODULE` or `capsule-http --wasm=MODULE`\n",
        ),
        (&[&wasm, "other.wasm"], "error: unexpected word `other.wasm`: one server serves one module\n"),
        (
            &[&wasm, "--crt=a", "extra"],
            "error: unexpected word `extra`: one server serves one module\nerror: `--crt` is given without `--key`\n",
        ),
        (&[&wasm, "--key=a"], "error: `--key` is given without `--crt`\n"),
        (&[&wasm, "--dir=none", "--dir=."], "error: `--dir=none` is given together with another `--dir`\n"),
        (
            &[&wasm, "--httpHost=localhost"],
            "error: `--httpHost`: expected an IP address such as `127.0.0.1` or `::`, found `localhost`\n",
        ),
        (
            &[&wasm, "--trustedProxies=10.0.0.1,x"],
            "error: `--trustedProxies`: expected an IP address such as `127.0.0.1` or `::`, found `x`\n",
        ),
        (&[&wasm, "--instances=0"], "error: `--instances`: expected a number from 1, `auto` or `fresh`, found `0`\n"),
        (&[&wasm, "--acessLog"], "error: unknown flag `--acessLog`\nhint: did you mean `--accessLog`?\n"),
    ] {
        check(&run(words), 2, stderr);
    }
    let port = run(&[&wasm, "--httpPort=70000"]);
    assert_eq!(port.code, Some(2));
    assert!(port.stderr().starts_with("error: `--httpPort`: expected "), "{port:?}");
    let url = run(&["--url=http://127.0.0.1:1/a.wasm"]);
    assert_eq!(url.code, Some(2), "a download needs a place: {url:?}");
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let finished = run(&[&module_path(), "--httpHost=127.0.0.1", &format!("--httpPort={}", address.port())]);
    check(
        &finished,
        1,
        &format!(
            "error: cannot listen on {address}\n  caused by: Address already in use (os error 98)\n\
             hint: choose another port with `--httpPort`, or another address with `--httpHost`\n"
        ),
    );
    let foreign = run(&[&module_path(), "--httpHost=192.0.2.1"]);
    assert!(
        foreign.code == Some(1) && foreign.stderr().starts_with("error: cannot listen on 192.0.2.1:0\n"),
        "{foreign:?}"
    );
}

#[test]
fn certificates_that_do_not_fit() {
    let [one, other] = [(); 2].map(|()| Certificate::for_localhost().unwrap());
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (crt, key, other_key) = (text(one.crt()), text(one.key()), text(other.key()));
    let (rubbish, empty) = (file(".pem", "rubbish"), file(".pem", ""));
    let (rubbish, empty) = (rubbish.path().to_str().unwrap(), empty.path().to_str().unwrap());
    let broken = file(".pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let broken = broken.path().to_str().unwrap();
    for (crt, key, error) in [
        (&*crt, &*other_key, format!("error: certificate `{crt}` and key `{other_key}` cannot be used\n")),
        ("/no/such.crt", &key, "error: cannot read the certificate `/no/such.crt`: ".into()),
        (rubbish, &key, format!("error: `{rubbish}` has no certificate\n")),
        (empty, &key, format!("error: `{empty}` has no certificate\n")),
        (broken, &key, format!("error: certificate `{broken}` and key `{key}` cannot be used\n")),
        (&crt, "/no/such.key", "error: cannot read the private key `/no/such.key`: ".into()),
        (&crt, rubbish, format!("error: cannot read the private key `{rubbish}`: ")),
        (&key, &crt, format!("error: `{key}` has no certificate\n")),
    ] {
        let finished = run(&[&module_path(), &format!("--crt={crt}"), &format!("--key={key}")]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr().starts_with(&error), "{error}\n{finished:?}");
        assert_eq!(finished.stderr().matches("\nhint: ").count(), 1, "{finished:?}");
    }
}

#[test]
fn modules_that_cannot_be_served() {
    let binary = |bytes: &[u8]| file(".wasm", bytes);
    let memory = r#"(memory (export "memory") 1)"#;
    for (file, error, hint) in [
        (
            binary(b""),
            "`PATH` is not a WebAssembly module: it is empty",
            "expected a file that a compiler made for `wasm32-wasip1`, or WebAssembly text",
        ),
        (
            binary(b"<html>"),
            "`PATH` is not a WebAssembly module: it starts with `<html>`",
            "expected a file that a compiler made for `wasm32-wasip1`, or WebAssembly text",
        ),
        (
            binary(b"\0asm"),
            "`PATH` is not a WebAssembly module: it is truncated after 4 bytes",
            "expected a file that a compiler made for `wasm32-wasip1`, or WebAssembly text",
        ),
        (
            binary(b"\0asm\x0d\0\x01\0"),
            "`PATH` is a WebAssembly component; Capsule runs core modules",
            "compile for `wasm32-wasip1` instead of `wasm32-wasip2`",
        ),
        (
            module(r#"(module (func (export "_start")))"#),
            "module `PATH` exports none of `callHandle`, `callHandleJSON`, `callHandleHTTP`, `callHandleRequest`, `callHandleMessage`",
            "it is a plain WASI command: `capsule` runs it, a server has nothing to call",
        ),
        (
            module("(module)"),
            "module `PATH` does not fit: export `memory` is missing; none of the exports `callHandle`, `callHandleJSON`, `callHandleHTTP`, `callHandleRequest`, `callHandleMessage` is there",
            ABI,
        ),
        (
            module(&wat_with(
                "callHandleHTTP",
                r#"(import "env" "hostTeleport" (func)) (import "env" "hostTalk" (func (param i32) (result i32))) (memory (export "memory") 1)"#,
            )),
            "module `PATH` does not fit: import `env.hostTeleport` is unknown; import `env.hostTalk` has the signature (i32) -> i32, expected (i32, i32, i32, i32) -> i32",
            ABI,
        ),
        (
            module(&wat_with("callHandleHTTP", r#"(memory (export "memory") i64 1)"#)),
            "module `PATH` needs 64-bit memories of WebAssembly, which Capsule refuses: ",
            "switch it off in the compiler",
        ),
        (
            module(&wat_with("callHandleHTTP", r#"(memory (export "memory") 5000)"#)),
            "module `PATH` needs 327680000 bytes of memory, the limit is 268435456",
            "raise it with `--maxMemory`",
        ),
        (
            module(&wat_with("callHandleHttp", memory)),
            "module `PATH` was made for Capsule of 2022 (export `callHandleHttp`), another ABI",
            "build it with a module SDK of v0.0.6 or later",
        ),
    ] {
        let path = file.path().to_str().unwrap();
        let finished = run(&[path, "--httpHost=127.0.0.1"]);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let stderr = finished.stderr();
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{finished:?}");
        assert!(lines[0].starts_with(&format!("error: {}", error.replace("PATH", path))), "{error}\n{finished:?}");
        assert!(lines[1].starts_with(&format!("hint: {hint}")), "{finished:?}");
    }
    let finished = run(&["/no/such.wasm", "--httpHost=127.0.0.1"]);
    let hint = "`--wasm=PATH` names the module; `--url=URL` downloads it to that path first";
    let error = "cannot read module `/no/such.wasm`: No such file or directory (os error 2)";
    check(&finished, 1, &format!("error: {error}\nhint: {hint}\n"));
}

const ABI: &str = "the ABI is described in docs/abi.md; the module may need a newer runner, or to be built anew";

#[test]
fn a_module_for_another_runner() {
    for (handler, advice) in [
        ("callHandle", "it exports `callHandle`: run it with `capsule`"),
        ("callHandleJSON", "it exports `callHandleJSON`, which only programs made with the host SDK call"),
        ("callHandleMessage", "it exports `callHandleMessage`: a runner for messages is the one for it"),
    ] {
        let guest = module(&wat_with(handler, r#"(memory (export "memory") 1)"#));
        let finished = run(&[guest.path().to_str().unwrap(), "--httpHost=127.0.0.1"]);
        let path = guest.path().display();
        check(&finished, 1, &format!("error: module `{path}` has no export `callHandleHTTP`\nhint: {advice}\n"));
    }
}

#[test]
fn modules_that_cannot_be_started() {
    for (body, error) in [
        ("(call $exit (i32.const 3))", "the module ended itself with exit code 3"),
        ("(unreachable)", "the module trapped: wasm `unreachable` instruction executed in `begin`\n"),
    ] {
        let guest = module(&format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func $begin (export "_start") {body})
            (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#
        ));
        let path = guest.path().to_str().unwrap();
        let finished = run(&[path, "--httpHost=127.0.0.1"]);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let error = format!("error: module `{path}`: the module could not be started: {error}");
        assert!(finished.stderr().contains(&error), "{error}\n{finished:?}");
    }
}

#[test]
fn downloads_are_whole_or_not_at_all() {
    let wasm = std::fs::read(guests::function("constant/constant.wasm").unwrap()).unwrap();
    let half = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", wasm.len()).as_bytes(), &wasm[..99]].concat();
    for (answer, cause) in [
        (Answer::new(404, "text/plain", "no"), "the server answered 404 Not Found, expected 200 OK".to_owned()),
        (Answer::new(200, "text/html", "<html>"), "expected a wasm file, found something else (text/html)".to_owned()),
        (Answer::raw(half), format!("the answer ended early, after 99 of {} bytes", wasm.len())),
    ] {
        let (stub, folder) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap());
        stub.answer("/m.wasm", answer);
        let path = folder.path().join("m.wasm");
        let finished = run(&[
            &format!("--url={}", stub.url("/m.wasm")),
            &format!("--wasm={}", path.display()),
            "--httpHost=127.0.0.1",
        ]);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let start = format!("error: cannot download `{}`\n  caused by: {cause}\n", stub.url("/m.wasm"));
        assert!(finished.stderr().starts_with(&start), "{start}\n{finished:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a half file");
    }
    let (stub, folder) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap());
    stub.answer("/m.wasm", Answer::new(200, "application/wasm", &wasm));
    let path = folder.path().join("m.wasm");
    let words = [
        format!("--url={}", stub.url("/m.wasm")),
        format!("--wasm={}", path.display()),
        "--authHeaderName=PRIVATE-TOKEN".into(),
        "--authHeaderValue=secret".into(),
    ];
    let server = HttpServer::start(&words, &[]).unwrap();
    assert_eq!(server.get("/").unwrap().text(), r#"{"message":"hello"}"#);
    assert_eq!(std::fs::read(&path).unwrap(), wasm);
    assert_eq!(stub.requests()[0].header("private-token"), Some("secret"));
    assert!(!server.stop().unwrap().stderr().contains("secret"));
}

#[test]
fn a_signal_ends_a_server_that_is_not_ready_yet() {
    let (stub, folder, gate) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap(), Gate::new());
    stub.answer("/m.wasm", Answer::new(200, "application/wasm", "").behind(&gate));
    let program = Program::of_workspace("capsule-http").unwrap().args(["--httpHost=127.0.0.1"]);
    let path = folder.path().join("m.wasm");
    let process =
        program.args([format!("--url={}", stub.url("/m.wasm")), format!("--wasm={}", path.display())]).start().unwrap();
    stub.wait_for_requests(1).unwrap();
    process.signal(Signal::TERM).unwrap();
    let finished = process.wait(DEADLINE).unwrap();
    assert_eq!((finished.code, finished.signal), (Some(0), None), "{finished:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a half file");
    gate.open();

    let guest = module(
        r#"(module (import "env" "hostPrintString" (func $print (param i32 i32) (result i32)))
        (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "_start") (loop $l (br $l)))
        (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0)))"#,
    );
    let program = Program::of_workspace("capsule-http").unwrap().arg(guest.path());
    let process = program.args(["--callTimeout=none", "--httpHost=127.0.0.1", "--logLevel=debug"]).start().unwrap();
    process.wait_for_line(Stream::Stderr, "starting").unwrap();
    process.signal(Signal::TERM).unwrap();
    assert_eq!(process.wait(DEADLINE).unwrap().code, Some(0));
}
