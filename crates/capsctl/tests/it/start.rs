//! `start`: the body that the server gets, and what is made of its answer.

use serde_json::{Value, json};

use crate::support::{answering, capsctl, check, only_request, run};

const PATH: &str = "/functions/start";

/// The body that these words send; the server answers `hello/REVISION/0`.
#[track_caller]
fn body(words: &[&str], revision: &str) -> Value {
    let stub = answering(PATH, &format!("hello/{revision}/0"));
    let finished = run(&stub, words);
    let url = stub.url(&format!("/functions/hello/{revision}"));
    check(&finished, 0, &format!("hello/{revision}/0 is started\nurl: {url}\n"), "");
    let (found, sent) = only_request(&stub, true);
    assert_eq!(found, "POST /functions/start");
    assert_eq!(sent.header("content-type"), Some("application/json; charset=utf-8"));
    serde_json::from_slice(&sent.body).unwrap()
}

#[test]
fn the_references_flags() {
    let words = [
        "--cmd=start",
        "--name=hello",
        "--revision=green",
        "--description=the green one",
        "--path=/usr/local/bin/capsule-http",
        "--stopAfter=10",
        "--env=[\"MESSAGE=🟢\",\"GREETING=a=b\"]",
        "--wasm=./hello.wasm",
        "--url=https://example.com/hello.wasm",
    ];
    assert_eq!(
        body(&words, "green"),
        json!({
            "name": "hello",
            "revision": "green",
            "description": "the green one",
            "path": "/usr/local/bin/capsule-http",
            "args": ["", "-wasm=./hello.wasm", "-stopAfter=10", "-url=https://example.com/hello.wasm"],
            "env": ["MESSAGE=🟢", "GREETING=a=b"],
        })
    );
}

#[test]
fn what_is_not_given_is_empty() {
    let words = ["start", "-name", "hello", "-wasm", "a.wasm", "-revision=", "-stopAfter=", "-env="];
    assert_eq!(
        body(&words, "default"),
        json!({
            "name": "hello",
            "revision": "default",
            "description": "",
            "path": "",
            "args": ["", "-wasm=a.wasm", "-stopAfter=", "-url="],
            "env": [],
        })
    );
}

#[test]
fn limits_and_capabilities_are_passed_on() {
    let words = [
        "start",
        "--name=hello",
        "--wasm=a.wasm",
        "--call-timeout=2s",
        "--maxMemory=64MiB",
        "--instances=auto",
        "--dir=/data:/in:ro",
        "--dir=/tmp",
        "--allowHosts=api.example.com",
        "--redisPrefix=h:",
    ];
    let args = [
        "",
        "-wasm=a.wasm",
        "-stopAfter=",
        "-url=",
        "-callTimeout=2s",
        "-maxMemory=64MiB",
        "-instances=auto",
        "-dir=/data:/in:ro",
        "-dir=/tmp",
        "-allowHosts=api.example.com",
    ];
    let body = body(&words, "default");
    assert_eq!((&body["args"], &body["redisPrefix"]), (&json!(args), &json!("h:")));
}

#[test]
fn the_header_of_the_download() {
    let words = ["start", "--name=hello", "--url=http://x/a.wasm", "--authHeaderName=PRIVATE-TOKEN"];
    let args = |body: Value| body["args"].as_array().unwrap()[4..].to_vec();
    let given = [&words[..], &["--authHeaderValue=t0ken"]].concat();
    let expected = [json!("-authHeaderName=PRIVATE-TOKEN"), json!("-authHeaderValue=t0ken")];
    assert_eq!(args(body(&given, "default")), expected);

    let stub = answering(PATH, "hello/default/0");
    let with_variable = capsctl(&stub).env("CAPSULE_AUTH_HEADER_VALUE", "t0ken");
    assert_eq!(with_variable.clone().args(words).run().unwrap().code, Some(0));
    let sent: Value = serde_json::from_slice(&only_request(&stub, true).1.body).unwrap();
    assert_eq!(args(sent), expected);

    // Without a name the variable belongs to some other program.
    let stub = answering(PATH, "hello/default/0");
    let with_variable = capsctl(&stub).env("CAPSULE_AUTH_HEADER_VALUE", "t0ken");
    assert_eq!(with_variable.args(&words[..3]).run().unwrap().code, Some(0));
    assert!(!only_request(&stub, true).1.text().contains("t0ken"));
}

#[test]
fn an_environment_that_is_no_array_is_a_failure() {
    let stub = answering(PATH, "hello/default/0");
    let array = "`env`: expected a JSON array such as `[\"NAME=value\"]`";
    for (env, message) in [
        ("A=s3cret", array),
        (r#"{"A":"s3cret"}"#, array),
        (r#"["A=1",2]"#, array),
        ("[\"A=s3cret\"", array),
        (r#"["s3cret"]"#, "`env[0]`: expected `NAME=value`, found a text without `=`"),
        (r#"["A=1","=s3cret"]"#, "`env[1]`: expected `NAME=value`, found a text without a name"),
    ] {
        let finished = run(&stub, &["start", "--name=hello", "--wasm=a.wasm", "--env", env]);
        check(&finished, 1, "", &format!("error: {message}\n"));
    }
    assert_eq!(stub.requests(), []);
}

#[test]
fn an_answer_that_is_no_key_of_the_function_is_a_failure() {
    let hint = "is it a `capsule-http --faas`? `CAPSULE_MAIN_PROCESS_URL` or `--server` says where it is";
    for answer in ["", "Capsule v0.4.2[faas]", "hello/default", "hello/blue/0", "other/default/0", "hello/default/x"] {
        let stub = answering(PATH, answer);
        let error = format!(
            "cannot start `hello/default`: expected a key such as `hello/default/0`, the server answered `{answer}`"
        );
        let finished = run(&stub, &["start", "--name=hello", "--wasm=a.wasm"]);
        check(&finished, 1, "", &format!("error: {error}\nhint: {hint}\n"));
    }
}
