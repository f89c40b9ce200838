//! `publish`: the module's bytes, then the function that runs them.

use capsule_test::stub::{Answer, HttpStub};
use serde_json::{Value, json};

use crate::support::{TOKEN, answering, check, done, only_request, run};

const MODULES: &str = "/functions/modules";

fn hash() -> String {
    format!("sha256:{}", "0a".repeat(32))
}

/// What the server answers.
fn stored() -> String {
    format!("{{\"module\":\"{}\"}}\n", hash())
}

#[test]
fn the_bytes_are_sent_and_the_function_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.wasm");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let stub = answering(MODULES, &stored());
    stub.answer("/functions/start", done("hello/blue/1"));
    let wasm = format!("--wasm={}", file.display());
    let words = ["publish", &wasm, "--name=hello", "--revision=blue", "--maxMemory=1MiB", "--env=[\"A=1\"]"];
    let url = stub.url("/functions/hello/blue");
    check(&run(&stub, &words), 0, &format!("hello/blue/1 is started\nurl: {url}\n"), "");

    let requests = stub.requests();
    let [upload, start] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((upload.method.as_str(), upload.target.as_str()), ("PUT", MODULES));
    assert!(upload.body == bytes, "{} bytes arrived", upload.body.len());
    assert_eq!(upload.header("content-length"), Some("3000000"));
    assert_eq!(upload.header("transfer-encoding"), None);
    assert_eq!(upload.header("content-type"), Some("application/wasm"));
    assert_eq!(upload.header("capsule_faas_token"), Some(TOKEN));
    let body: Value = serde_json::from_slice(&start.body).unwrap();
    let args = ["", &format!("-wasm={}", hash()), "-stopAfter=", "-url=", "-maxMemory=1MiB"];
    assert_eq!((&body["args"], &body["env"], &body["revision"]), (&json!(args), &json!(["A=1"]), &json!("blue")));
}

#[test]
fn without_a_name_the_hash_is_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.wasm");
    std::fs::write(&file, "").unwrap();
    let stub = answering(MODULES, &stored());
    check(&run(&stub, &["publish", "--wasm", file.to_str().unwrap()]), 0, &format!("{}\n", hash()), "");
    assert_eq!(only_request(&stub, true).1.header("content-length"), Some("0"));
}

#[test]
fn what_cannot_be_published() {
    let folder = tempfile::tempdir().unwrap();
    let stub = HttpStub::start().unwrap();
    let (missing, here) = (folder.path().join("no.wasm"), folder.path().display().to_string());
    let finished = run(&stub, &["publish", "--wasm", missing.to_str().unwrap(), "--name=hello"]);
    let cause = "No such file or directory (os error 2)";
    check(&finished, 1, "", &format!("error: cannot read `{}`\n  caused by: {cause}\n", missing.display()));
    let finished = run(&stub, &["publish", "--wasm", &here]);
    check(&finished, 1, "", &format!("error: `{here}` is not a file, expected a module\n"));
    assert_eq!(stub.requests(), []);
}

#[test]
fn a_refused_upload_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wasm");
    std::fs::write(&file, "not wasm").unwrap();
    let stub = HttpStub::start().unwrap();
    let words = ["publish", "--name=hello", "--wasm", file.to_str().unwrap()];
    stub.answer(MODULES, Answer::new(422, "application/json", r#"{"error":"not a module","hint":"compile it"}"#));
    let error = format!("error: cannot publish `{}`: the server answered 422 Unprocessable Entity\n", file.display());
    check(&run(&stub, &words), 1, "", &format!("{error}  caused by: not a module\nhint: compile it\n"));

    stub.answer(MODULES, done("thanks"));
    let finished = run(&stub, &words);
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr().contains("expected the hash of the module (`sha256:...`), the server answered `thanks`"));
    assert!(stub.requests().iter().all(|request| request.target == MODULES));
}
