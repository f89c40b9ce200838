//! The binary, a server that answers as a test says, and what its tests compare.

use capsule_test::process::Finished;
use capsule_test::program::Program;
use capsule_test::stub::{Answer, HttpStub, Request};

/// The token of every test: nothing that is printed may contain it.
pub(crate) const TOKEN: &str = "s3cret-token";

/// `capsctl` for the stub, with the token.
pub(crate) fn capsctl(stub: &HttpStub) -> Program {
    Program::of_workspace("capsctl")
        .unwrap()
        .env("CAPSULE_MAIN_PROCESS_URL", stub.url(""))
        .env("CAPSULE_FAAS_TOKEN", TOKEN)
}

/// A success, as a server of functions answers it.
pub(crate) fn done(text: impl AsRef<[u8]>) -> Answer {
    Answer::with_headers(200, &[("Content-Type", "text/plain"), ("X-Capsule-Faas", "0.1.0")], text)
}

/// A stub that answers this path with this text.
pub(crate) fn answering(path: &str, text: &str) -> HttpStub {
    let stub = HttpStub::start().unwrap();
    stub.answer(path, done(text));
    stub
}

/// Runs it; the token must not be printed.
#[track_caller]
pub(crate) fn run(stub: &HttpStub, words: &[&str]) -> Finished {
    let finished = capsctl(stub).args(words).run().unwrap();
    assert!(!format!("{finished:?}").contains(TOKEN), "{finished:?}");
    finished
}

/// Compares exit code, stdout and stderr.
#[track_caller]
pub(crate) fn check(finished: &Finished, code: i32, stdout: &str, stderr: &str) {
    let found = (finished.code, finished.stdout(), finished.stderr());
    assert_eq!(found, (Some(code), stdout.to_owned(), stderr.to_owned()), "{finished:?}");
}

/// The only request, as `METHOD target`; checks whether it has the token.
#[track_caller]
pub(crate) fn only_request(stub: &HttpStub, with_token: bool) -> (String, Request) {
    let requests = stub.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let request = requests[0].clone();
    assert_eq!(request.header("capsule_faas_token"), with_token.then_some(TOKEN), "{request:?}");
    (format!("{} {}", request.method, request.target), request)
}
