//! `--url`: the module comes first, whole or not at all.

use std::path::Path;

use capsule_test::process::Finished;
use capsule_test::stub::{Answer, Gate, HttpStub};
use rustix::process::Signal;

use crate::support::{capsule, check, check_error, fixture, hints};

fn module() -> Vec<u8> {
    wat::parse_file(fixture("tricks.wat")).unwrap()
}

fn run(stub: &HttpStub, folder: &Path, words: &[&str]) -> Finished {
    let url = format!("--url={}", stub.url("/module.wasm"));
    capsule().args([url.as_str(), "--wasm=module.wasm"]).args(words).current_dir(folder).run().unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_module_is_saved_and_run() {
    let (stub, folder) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap());
    stub.answer("/module.wasm", Answer::new(200, "application/wasm", module()));
    let words = ["--params=e👋", "--authHeaderName=PRIVATE-TOKEN", "--authHeaderValue=secret"];
    check(&run(&stub, folder.path(), &words), 0, "e👋\n", "");
    assert_eq!(std::fs::read(folder.path().join("module.wasm")).unwrap(), module());
    assert_eq!(files(folder.path()), ["module.wasm"]);
    assert_eq!(stub.requests()[0].header("private-token"), Some("secret"));
}

#[test]
fn what_is_no_module_leaves_everything_as_it_was() {
    let half = {
        let mut wire = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", module().len()).into_bytes();
        wire.extend(&module()[..module().len() / 2]);
        wire
    };
    for (answer, cause, advised) in [
        (Answer::new(404, "text/plain", "no"), "the server answered 404 Not Found, expected 200 OK", true),
        (Answer::new(401, "text/plain", "no"), "the server answered 401 Unauthorized, expected 200 OK", true),
        (Answer::new(500, "text/plain", "no"), "the server answered 500 Internal Server Error, expected 200 OK", false),
        (
            Answer::new(200, "text/html", "<html>Sign in</html>"),
            "expected a wasm file, found something else (text/html)",
            true,
        ),
        (Answer::new(200, "application/wasm", ""), "expected a wasm file, found an answer of 0 bytes", false),
        (
            Answer::raw(half),
            &format!("the answer ended early, after {} of {} bytes", module().len() / 2, module().len()),
            true,
        ),
        (
            Answer::new(200, "application/wasm", &module()[..module().len() - 3]),
            &format!(
                "expected a whole wasm file, found one that is cut off or damaged, of {} bytes",
                module().len() - 3
            ),
            true,
        ),
    ] {
        let (stub, folder) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap());
        stub.answer("/module.wasm", answer);
        for older in [false, true] {
            if older {
                std::fs::write(folder.path().join("module.wasm"), "older").unwrap();
            }
            let finished = run(&stub, folder.path(), &["--params=e"]);
            assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
            let start = format!("error: cannot download `{}`\n  caused by: {cause}\n", stub.url("/module.wasm"));
            assert!(finished.stderr().starts_with(&start), "{start}\n{finished:?}");
            assert_eq!(hints(&finished).len(), usize::from(advised), "{finished:?}");
            if older {
                assert_eq!(files(folder.path()), ["module.wasm"]);
                assert_eq!(std::fs::read(folder.path().join("module.wasm")).unwrap(), b"older");
            } else {
                assert_eq!(files(folder.path()), [""; 0]);
            }
        }
    }
}

#[test]
fn a_server_that_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--url=http://127.0.0.1:1/a.wasm", "--wasm=a.wasm"];
    let finished = capsule().args(words).current_dir(folder.path()).run().unwrap();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr().starts_with("error: cannot download `http://127.0.0.1:1/a.wasm`\n"), "{finished:?}");
    assert_eq!(files(folder.path()), [""; 0]);
    let finished = capsule().args(["--url=ftp://host/a.wasm", "--wasm=a.wasm"]).run().unwrap();
    let error = "`--url`: expected an address such as `https://host/module.wasm`, found `ftp://host/a.wasm`";
    check_error(&finished, 2, error);
}

#[test]
fn a_signal_during_a_download_leaves_no_half_file() {
    let (stub, folder, gate) = (HttpStub::start().unwrap(), tempfile::tempdir().unwrap(), Gate::new());
    stub.answer("/module.wasm", Answer::new(200, "application/wasm", module()).behind(&gate));
    let url = format!("--url={}", stub.url("/module.wasm"));
    let process = capsule().args([url.as_str(), "--wasm=module.wasm"]).current_dir(folder.path()).start().unwrap();
    stub.wait_for_requests(1).unwrap();
    process.signal(Signal::INT).unwrap();
    let finished = process.wait(capsule_test::DEADLINE).unwrap();
    assert_eq!(finished.code, Some(130), "{finished:?}");
    assert_eq!(files(folder.path()), [""; 0]);
    gate.open();
}
