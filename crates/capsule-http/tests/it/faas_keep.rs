//! Nothing is lost: what was answered is there after the server was killed, and what was refused or broken off is not.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use capsule_test::client::Connection;
use capsule_test::process::Stream;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use serde_json::{Value, json};

use crate::faas_support::{Faas, TOKEN, module_path, refusal, start_body};
use crate::support::eventually;

#[test]
fn everything_answers_again_after_a_kill() {
    let faas = Faas::start(&[]);
    faas.start_function("hello", "hey", &[]);
    faas.start_function("hello/blue", "faas-hello-orange", &[]);
    let module = module_path("services.wat");
    faas.admin("POST", "/functions/start", start_body("env", &module, &[], &["SECRET=s3cret-value"]));
    faas.admin("PUT", "/functions/duplicate/hello/default/saved", "");
    faas.admin("PUT", "/functions/scale/hello/blue/2", "");
    faas.admin("PUT", "/functions/route/hello", r#"{"blue":1}"#);
    faas.admin("DELETE", "/functions/drop/hello/default", "");
    let keys = faas.keys();
    assert_eq!(keys, ["env/default/0", "hello/blue/0", "hello/blue/1", "hello/saved/0"]);

    // Stored bytes win: the file is gone, and nobody misses it.
    let copy = faas.home.path().join("copy.wasm");
    std::fs::copy(module_path("hey"), &copy).unwrap();
    faas.start_function("copy", copy.to_str().unwrap(), &[]);
    std::fs::write(&copy, "something else").unwrap();

    let faas = faas.killed_and_started();
    assert!(faas.keys().iter().all(|key| faas.status(key) == "Stopped"));
    assert_eq!(faas.call("hello", "Bob"), (200, "🟠 👋 Hey Bob !".into()));
    assert_eq!(faas.call("hello/saved", "Bob"), (200, "👋 Hey Bob !".into()));
    assert_eq!(faas.call("hello/blue/1", "Bob"), (200, "🟠 👋 Hey Bob !".into()));
    assert_eq!(faas.call("copy", "Bob"), (200, "👋 Hey Bob !".into()));
    assert_eq!(faas.call("env", "eSECRET"), (200, "s3cret-value".into()));
    assert!(!faas.processes().to_string().contains("s3cret-value"));

    // The boot script runs again, and nothing changes.
    let before = faas.keys();
    assert_eq!(faas.start_function("hello/blue", "faas-hello-orange", &[]), "hello/blue/0");
    assert_eq!(faas.start_function("hello/blue", "faas-hello-orange", &[]), "hello/blue/1");
    assert_eq!(faas.keys(), before);
    assert_eq!(faas.start_function("hello/blue", "faas-hello-orange", &[]), "hello/blue/2");
    // The history of routes is there too: the one before led to what is gone.
    let (status, error) = refusal(&faas.admin("POST", "/functions/rollback/hello", ""));
    assert!(status == 409 && error.contains("leads to the revision `default`, which is gone"), "{error}");

    // Only the owner reads what holds the environment.
    let store = std::fs::metadata(faas.home.path().join("data/store.redb")).unwrap();
    assert_eq!(store.permissions().mode() & 0o077, 0);
    assert_eq!(faas.server.stop().unwrap().code, Some(0));
}

#[test]
fn a_kill_in_the_middle_of_a_hundred_starts_loses_none_that_was_answered() {
    let faas = Faas::start(&[]);
    let module = module_path("hey");
    let (address, answered) = (faas.server.address(), Mutex::new(BTreeSet::new()));
    let (next, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 100 {
                        return;
                    }
                    let body = start_body(&format!("f{number}"), &module, &[], &[]);
                    let Ok(mut connection) = Connection::open(address) else { return };
                    let sent =
                        connection.send("POST", "/functions/start", &[("CAPSULE_FAAS_TOKEN", TOKEN)], body.as_bytes());
                    // The server is killed at some point: who has no answer has no promise.
                    let Ok(answer) = sent else { return };
                    assert_eq!((answer.status, answer.text()), (200, format!("f{number}/default/0")));
                    let mut answered = answered.lock().unwrap();
                    answered.insert(answer.text());
                    enough.store(answered.len() >= 40, Ordering::Relaxed);
                }
            });
        }
        eventually("forty starts are answered", || enough.load(Ordering::Relaxed));
        faas.server.process.signal(rustix::process::Signal::KILL).unwrap();
    });
    let answered = answered.into_inner().unwrap();
    let faas = faas.killed_and_started();
    let keys: BTreeSet<String> = faas.keys().into_iter().collect();
    assert!(answered.is_subset(&keys), "lost: {:?}", answered.difference(&keys).collect::<Vec<_>>());
    for key in &keys {
        assert_eq!(faas.call(key, "Bob"), (200, "👋 Hey Bob !".into()), "{key}");
    }
    // The script again: those that are there keep their key, the others get theirs.
    for number in 0..100 {
        assert_eq!(faas.start_function(&format!("f{number}"), "hey", &[]), format!("f{number}/default/0"));
    }
    assert_eq!(faas.keys().len(), 100);
}

#[test]
fn one_server_for_one_folder() {
    let faas = Faas::start(&[]);
    let data = format!("--dataDir={}", faas.home.path().join("data").display());
    let second = Program::of_workspace("capsule-http").unwrap().args(["--faas", "--httpPort=0", &data]).run().unwrap();
    assert_eq!(second.code, Some(1));
    let message = second.stderr();
    assert!(message.contains("is in use by another server") && message.contains("hint: stop that server"), "{message}");
}

#[test]
fn folders_that_cannot_be_used() {
    let home = tempfile::tempdir().unwrap();
    let run = |folder: &Path| {
        let data = format!("--dataDir={}", folder.display());
        Program::of_workspace("capsule-http").unwrap().args(["--faas", "--httpPort=0", &data]).run().unwrap()
    };
    std::fs::write(home.path().join("file"), "").unwrap();
    let finished = run(&home.path().join("file"));
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr().contains("cannot use the data folder"), "{finished:?}");
    // A folder of a newer version.
    let faas = Faas::start(&[]);
    let folder = faas.home.path().join("data");
    faas.server.process.signal(rustix::process::Signal::TERM).unwrap();
    eventually("the server ends", || !faas.server.process.is_running());
    std::fs::write(folder.join("schema"), "999\n").unwrap();
    let finished = run(&folder);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr().contains("newer"), "{finished:?}");
}

#[test]
fn without_a_folder_functions_are_kept_in_memory_and_that_is_said() {
    let env = [("CAPSULE_FAAS_TOKEN", TOKEN)];
    let server = HttpServer::start(&["--faas"], &env).unwrap();
    server.process.wait_for_line(Stream::Stderr, "functions are kept in memory").unwrap();
    let body = start_body("hello", &module_path("hey"), &[], &[]);
    let mut connection = server.connect().unwrap();
    assert_eq!(
        connection.send("POST", "/functions/start", &[("CAPSULE_FAAS_TOKEN", TOKEN)], body.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(server.post("/functions/hello", "Bob").unwrap().text(), "👋 Hey Bob !");
}

/// Module files of the data folder.
fn stored(faas: &Faas) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(faas.home.path().join("data/modules")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_module_is_sent_and_started_and_pruned_when_nobody_refers_to_it() {
    let faas = Faas::start(&["--maxModule=1MiB"]);
    let bytes = std::fs::read(module_path("hey")).unwrap();
    let answer = faas.admin("PUT", "/functions/modules", &bytes);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let module = serde_json::from_slice::<Value>(&answer.body).unwrap()["module"].as_str().unwrap().to_owned();
    let sum = Program::tool("sha256sum", "coreutils").unwrap().arg(module_path("hey")).run().unwrap().stdout();
    assert_eq!(module, format!("sha256:{}", &sum[..64]));

    let publish = format!("--wasm={}", module_path("faas-hello-orange").display());
    let url = faas.server.url("/functions/hello/orange");
    let said = faas.capsctl_says(&["publish", &publish, "--name=hello", "--revision=orange"]);
    assert_eq!(said, format!("hello/orange/0 is started\nurl: {url}\n"));
    let body = json!({"name": "hello", "args": ["", format!("-wasm={module}")]}).to_string();
    assert_eq!(faas.admin("POST", "/functions/start", body).text(), "hello/default/0");
    let faas = faas.killed_and_started();
    assert_eq!(faas.call("hello", "Bob"), (200, "👋 Hey Bob !".into()));
    assert_eq!(faas.call("hello/orange", "Bob"), (200, "🟠 👋 Hey Bob !".into()));

    assert_eq!(faas.capsctl_says(&["prune", "--olderThan=0"]), "nothing to remove\n");
    faas.admin("DELETE", "/functions/drop/hello", "");
    // It was stored a moment ago.
    assert_eq!(faas.capsctl_says(&["prune"]), "nothing to remove\n");
    eventually("the module is removed", || {
        faas.capsctl_says(&["prune", "--olderThan=0"]) == format!("{module} is removed\n")
    });
    assert_eq!(stored(&faas).len(), 1);
    assert_eq!(faas.call("hello/orange", "Bob"), (200, "🟠 👋 Hey Bob !".into()));
}

#[test]
fn no_start_waits_for_the_clients_of_uploads() {
    let faas = Faas::start(&[]);
    let module = std::fs::read(module_path("hey")).unwrap();
    let length = module.len();
    let head = format!(
        "PUT /functions/modules HTTP/1.1\r\nHost: h\r\nCAPSULE_FAAS_TOKEN: {TOKEN}\r\nContent-Length: {length}\r\n\r\n"
    );
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut slow: Vec<_> = (0..4 * cores)
        .map(|_| {
            let mut connection = faas.server.connect().unwrap();
            connection.write(&[head.as_bytes(), &module[..8]].concat()).unwrap();
            connection
        })
        .collect();
    eventually("all of them are being received", || stored(&faas).len() == slow.len());
    faas.start_function("hello", "hey", &[]);
    // None of them was given up to make room.
    for connection in &mut slow {
        connection.write(&module[8..]).unwrap();
        assert_eq!(connection.read_response("PUT").unwrap().status, 200);
    }
}

#[test]
fn uploads_that_are_wrong_or_break_off_leave_nothing() {
    let faas = Faas::start(&["--maxModule=100KiB"]);
    for (body, status, expected) in [
        (b"hello".to_vec(), 422, "WebAssembly"),
        (Vec::new(), 422, ""),
        (b"\0asm\x01\0\0\0\x01\x09".to_vec(), 422, ""),
        (vec![0; 200 << 10], 413, "larger than the limit of 102400 bytes (flag `--maxModule`)"),
    ] {
        let (found, error) = refusal(&faas.admin("PUT", "/functions/modules", body));
        assert!(found == status && error.contains(expected), "{found} {error}");
    }
    let head = format!("PUT /functions/modules HTTP/1.1\r\nHost: h\r\nCAPSULE_FAAS_TOKEN: {TOKEN}\r\n");
    // Too large without saying so before.
    let mut connection = faas.server.connect().unwrap();
    let mut chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..3 {
        chunks.extend_from_slice(b"10000\r\n");
        chunks.extend(vec![0; 0x10000]);
        chunks.extend_from_slice(b"\r\n");
    }
    let _ = connection.write(&chunks);
    assert_eq!(connection.read_response("PUT").unwrap().status, 413);
    // Broken off, by the client and in its framing.
    let mut connection = faas.server.connect().unwrap();
    connection.write(format!("{head}Content-Length: 1000\r\n\r\n\0asm").as_bytes()).unwrap();
    drop(connection);
    let answer =
        faas.server.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n\0asmxx\r\nzz\r\n").as_bytes()).unwrap();
    assert!(answer.is_empty() || String::from_utf8_lossy(&answer).contains("HTTP/1.1 400"), "{answer:?}");
    eventually("nothing is left", || stored(&faas).is_empty());
    assert_eq!(faas.processes(), json!({}));
    // A start from a file obeys the same limit.
    let large = faas.home.path().join("large.wasm");
    std::fs::write(&large, vec![0; 200 << 10]).unwrap();
    assert_eq!(refusal(&faas.admin("POST", "/functions/start", start_body("a", &large, &[], &[]))).0, 413);
}
