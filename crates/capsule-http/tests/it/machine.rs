//! What the machine does to a server: full disks, limits of files and of address space, a damaged cache. It serves on.

use std::path::{Path, PathBuf};

use capsule_test::process::Stream;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use capsule_test::stub::{Answer, HttpStub};
use serde_json::Value;

use crate::faas_support::{Faas, TOKEN, module_path, refusal, start_body};
use crate::support::eventually;

fn server() -> Program {
    Program::of_workspace("capsule-http").unwrap().args(["--httpHost=127.0.0.1", "--httpPort=0"])
}

/// A program that the shell becomes behind a limit of its own.
fn limited(limit: &str, program: &str) -> Program {
    let shell = Program::tool("sh", "dash").unwrap();
    shell.args(["-c", &format!("{limit}; exec \"$0\" --httpHost=127.0.0.1 \"$@\""), program])
}

fn own() -> &'static str {
    env!("CARGO_BIN_EXE_capsule-http")
}

fn cached(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Whatever is in the place of compiled code is thrown away, and the module compiled again.
#[test]
fn damaged_compiled_code_is_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, other) = (folder.path().join("cache"), folder.path().join("other"));
    let serve = |module: &str, cache: &Path| {
        let flag = format!("--cacheDir={}", cache.display());
        HttpServer::launch(server().arg(module_path(module)).arg(flag)).unwrap()
    };
    drop((serve("hey", &cache), serve("hello", &other)));
    let ([file], [others]) = (&cached(&cache)[..], &cached(&other)[..]) else { panic!("expected one file each") };
    let good = std::fs::read(file).unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 3] ^= 0x10;
    for (what, content) in [
        ("truncated", &good[..good.len() - 1]),
        ("corrupted", &damaged),
        ("foreign", &b"#!/bin/sh\necho hello\n".repeat(10)[..]),
        ("of another module", &std::fs::read(others).unwrap()),
    ] {
        std::fs::write(file, content).unwrap();
        let server = serve("hey", &cache);
        assert_eq!(server.post("/", "Bob").unwrap().text(), "👋 Hey Bob !", "{what}");
        server.process.wait_for_line(Stream::Stderr, "is discarded").unwrap();
        assert_eq!(std::fs::read(file).unwrap().len(), good.len(), "{what}: it was made anew");
    }
    let server = serve("hey", &cache);
    assert_eq!(server.post("/", "Bob").unwrap().status, 200);
    assert!(!server.process.output(Stream::Stderr).contains("discarded"));
}

/// One that others use stays theirs, and so do files that look like those that are half written.
#[test]
fn a_cache_folder_that_is_not_the_runners_is_not_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let flag = format!("--cacheDir={}", folder.path().display());
    let mode = || std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o7777;
    let chmod = |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 3600);
    for name in ["important.tmp", ".capsule-left.tmp"] {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(old)).unwrap();
    }
    for shared in [0o1777, 0o755, 0o750] {
        chmod(shared);
        let finished = server().arg(module_path("hey")).arg(&flag).run().unwrap();
        let stderr = finished.stderr();
        assert!(finished.code == Some(1) && stderr.contains("others may enter it"), "{stderr}");
        assert_eq!((mode(), cached(folder.path()).len()), (shared, 2));
    }
    chmod(0o700);
    let serves = || {
        assert_eq!(
            HttpServer::launch(server().arg(module_path("hey")).arg(&flag)).unwrap().post("/", "Bob").unwrap().status,
            200
        )
    };
    serves();
    let left = cached(folder.path());
    assert!(left.len() == 2 && left.contains(&folder.path().join("important.tmp")), "{left:?}");
    for file in left {
        std::fs::remove_file(file).unwrap();
    }
    // An empty one is made its own.
    chmod(0o755);
    serves();
    assert_eq!((mode(), cached(folder.path()).len()), (0o700, 1));
}

/// Files that are open count against all that the process may have: a share for each function, and connections have theirs.
#[test]
fn files_that_a_function_keeps_open_leave_some_for_the_others() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("file"), "content").unwrap();
    let dir = format!("-dir={}:.", home.path().display());
    let program = limited("ulimit -n 1024", own()).args(["--faas", "--dataDir=none", "--httpPort=0"]);
    let faas =
        Faas::of(HttpServer::launch(program.env("CAPSULE_FAAS_TOKEN", TOKEN)).unwrap(), tempfile::tempdir().unwrap());
    let opens = |name: &str| {
        faas.start_function(name, "services.wat", &[&dir, "-maxFiles=none"]);
        for count in 0..1100 {
            let (status, text) = faas.call(name, "Ofile");
            if status != 200 {
                assert_eq!(text, "errno 33", "{name}");
                return count;
            }
        }
        panic!("{name} has all");
    };
    // Half of 1024 is for connections, half of the rest for files; and each has the folder that it was given open, too.
    let had: Vec<usize> = ["greedy", "second", "third"].map(opens).to_vec();
    assert_eq!(had, [127, 63, 31]);
    let reason = faas.call("greedy", "rfile").1;
    let expected = "the function has 128 files open, its share of what the process may have (`ulimit -n`)";
    assert!(reason.ends_with(expected), "{reason}");
    // A hundred new connections at once have theirs.
    let connections: Vec<_> = (0..100).map(|_| faas.server.connect().unwrap()).collect();
    for mut connection in connections {
        assert_eq!(connection.send("POST", "/functions/third", &[], b"c").unwrap().status, 200);
    }
    // An instance that ends gives back what it had.
    assert_eq!(faas.call("greedy", "?").0, 500);
    eventually("its files are closed", || faas.call("greedy", "Ofile").0 == 200);
}

#[test]
fn a_full_disk_under_the_cache_costs_time_alone() {
    let folder = tempfile::tempdir().unwrap();
    let flag = format!("--cacheDir={}", folder.path().join("cache").display());
    let program = server().arg(module_path("hey")).arg(flag).on_small_disk(folder.path(), "64k").unwrap();
    let server = HttpServer::launch(program).unwrap();
    assert_eq!(server.post("/", "Bob").unwrap().text(), "👋 Hey Bob !");
    let line = server.process.wait_for_line(Stream::Stderr, "cannot be stored").unwrap();
    assert!(line.contains("No space left on device"), "{line}");
    let seen = PathBuf::from(format!("/proc/{}/root", server.process.id()));
    let left = cached(&seen.join(folder.path().join("cache").strip_prefix("/").unwrap()));
    assert!(left.is_empty(), "nothing half written is left: {left:?}");
}

#[test]
fn a_full_disk_under_the_data_folder_refuses_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = format!("--dataDir={}", home.path().join("data").display());
    let program = server().args(["--faas", &data]).env("CAPSULE_FAAS_TOKEN", TOKEN);
    let program = program.on_small_disk(home.path(), "4m").unwrap();
    let faas = Faas::of(HttpServer::launch(program).unwrap(), home);
    faas.start_function("first", "hey", &[]);
    // Modules of half a MiB, until there is no room: custom sections of bytes that nothing makes smaller.
    let module = |number: u32| {
        let mut bytes = std::fs::read(module_path("hey")).unwrap();
        let content = number.to_le_bytes().repeat(128 << 10);
        let size = content.len() + 5;
        bytes.push(0);
        bytes.extend([size & 0x7f | 0x80, size >> 7 & 0x7f | 0x80, size >> 14].map(|byte| u8::try_from(byte).unwrap()));
        bytes.extend(b"\x04fill");
        bytes.extend(content);
        bytes
    };
    let mut stored = Vec::new();
    let full = loop {
        let answer = faas.admin("PUT", "/functions/modules", module(u32::try_from(stored.len()).unwrap()));
        if answer.status != 200 {
            break answer;
        }
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        stored.push(document["module"].as_str().unwrap().to_owned());
        assert!(stored.len() < 20, "the disk is never full");
    };
    let (status, error) = refusal(&full);
    assert!(status == 507 && error.starts_with("no room left for the data folder"), "{status} {error}");
    assert!(full.text().contains("what was stored before is safe"), "{}", full.text());
    // To the last block.
    let small = std::fs::read(module_path("hello")).unwrap();
    let mut last = faas.admin("PUT", "/functions/modules", &small).status;
    let mut sections = small;
    while last == 200 {
        sections.extend(b"\0\x03\x02xy");
        last = faas.admin("PUT", "/functions/modules", &sections).status;
    }
    assert_eq!(last, 507);
    assert_eq!(faas.call("first", "Bob"), (200, "👋 Hey Bob !".into()));
    assert_eq!(faas.keys(), ["first/default/0"]);
    // A record may still find room, or not: it is written or refused, and nothing in between.
    let body = start_body("second", Path::new(&stored[0]), &[], &[]);
    let answer = faas.admin("POST", "/functions/start", &body);
    assert!(matches!(answer.status, 200 | 507), "{}", answer.text());
    assert_eq!(faas.call("second", "Bob").0, if answer.status == 200 { 200 } else { 404 });
    // Room is made, and everything goes again.
    let pruned = faas.admin("POST", "/functions/prune?olderThan=0", "");
    assert_eq!(pruned.status, 200, "{}", pruned.text());
    faas.start_function("third", "hello", &[]);
    assert_eq!(faas.call("first", "Bob"), (200, "👋 Hey Bob !".into()));
    assert_eq!(faas.server.stop().unwrap().code, Some(0));
}

#[test]
fn a_full_disk_under_a_download_leaves_no_half_file() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/m.wasm", Answer::new(200, "application/wasm", std::fs::read(module_path("hey")).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let script = "\"$@\"; code=$?; echo \"left: $(ls -A \"$0\")\" >&2; exit $code";
    for program in [own(), Program::of_workspace("capsule").unwrap().path().to_str().unwrap()] {
        let finished = Program::tool("sh", "dash")
            .unwrap()
            .args(["-c", script, folder.path().to_str().unwrap(), program])
            .args([
                format!("--url={}", stub.url("/m.wasm")),
                format!("--wasm={}", folder.path().join("m.wasm").display()),
            ])
            .on_small_disk(folder.path(), "16k")
            .unwrap()
            .run()
            .unwrap();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let stderr = finished.stderr();
        assert!(stderr.contains("error: cannot download `") && stderr.contains("No space left on device"), "{stderr}");
        assert!(stderr.ends_with("left: \n"), "{stderr}");
    }
    // A function's download goes to the folder for temporary files.
    let program = server().args(["--faas", "--dataDir=none"]).env("CAPSULE_FAAS_TOKEN", TOKEN);
    let program = program.env("TMPDIR", folder.path()).on_small_disk(folder.path(), "16k").unwrap();
    let faas = Faas::of(HttpServer::launch(program).unwrap(), tempfile::tempdir().unwrap());
    let body = serde_json::json!({"name": "a", "args": ["", format!("-url={}", stub.url("/m.wasm"))]}).to_string();
    let (status, error) = refusal(&faas.admin("POST", "/functions/start", &body));
    assert!(status == 507 && error.contains("No space left on device"), "{status} {error}");
    faas.start_function("hey", "hey", &[]);
    assert_eq!(faas.call("hey", "Bob").0, 200);
}

/// `ulimit -f`: without a handler its signal would end the process.
#[test]
fn a_limit_of_file_sizes_is_as_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let cache = format!("--cacheDir={}", folder.path().join("cache").display());
    // Blocks of 512 bytes: room for what the engine keeps of the module's memory, none for its code.
    let program = limited("ulimit -f 400", own()).arg(&cache).arg(module_path("hey"));
    let server = HttpServer::launch(program).unwrap();
    assert_eq!(server.post("/", "Bob").unwrap().text(), "👋 Hey Bob !");
    let line = server.process.wait_for_line(Stream::Stderr, "cannot be stored").unwrap();
    assert!(line.contains("File too large"), "{line}");
    assert!(cached(&folder.path().join("cache")).is_empty());

    let home = tempfile::tempdir().unwrap();
    let data = format!("--dataDir={}", home.path().join("data").display());
    let program = limited("ulimit -f 8192", own()).args(["--faas", &data]).env("CAPSULE_FAAS_TOKEN", TOKEN);
    let faas = Faas::of(HttpServer::launch(program).unwrap(), home);
    faas.start_function("hey", "hey", &[]);
    let large = [std::fs::read(module_path("hey")).unwrap(), vec![0; 5 << 20]].concat();
    let (status, error) = refusal(&faas.admin("PUT", "/functions/modules", large));
    assert!(status == 507 && error.contains("File too large"), "{status} {error}");
    assert_eq!(faas.call("hey", "Bob"), (200, "👋 Hey Bob !".into()));
    assert_eq!(std::fs::read_dir(faas.home.path().join("data/modules")).unwrap().count(), 1);
}

/// What a module prints goes to a file that cannot take more: that is lost, and nothing else.
#[test]
fn an_output_that_is_full_is_no_reason_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let script = format!("ulimit -f 256; exec \"$0\" --httpHost=127.0.0.1 \"$@\" > '{}'", output.display());
    let module = capsule_test::guests::fixture("http-tricks.wat").unwrap();
    let program = Program::tool("sh", "dash").unwrap().args(["-c", &script, own()]).arg(module).arg("--cacheDir=none");
    let server = HttpServer::launch(program).unwrap();
    let size = || std::fs::metadata(&output).unwrap().len();
    eventually("the file is full", || {
        assert_eq!(server.post("/", "wx").unwrap().status, 200);
        size() == 256 * 512
    });
    for _ in 0..20 {
        assert_eq!(server.post("/", "wx").unwrap().status, 200);
    }
    assert_eq!(server.stop().unwrap().code, Some(0));
}

/// Of a huge page all is resident that was allocated, touched or not.
#[test]
fn servers_have_small_pages() {
    for faas in [false, true] {
        let program = if faas {
            Program::at(own())
                .args(["--faas", "--dataDir=none", "--httpHost=127.0.0.1"])
                .env("CAPSULE_FAAS_TOKEN", TOKEN)
        } else {
            Program::at(own()).arg("--httpHost=127.0.0.1").arg(module_path("hey"))
        };
        let server = HttpServer::launch(program).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
        assert!(status.contains("\nTHP_enabled:\t0\n"), "{status}");
    }
}
