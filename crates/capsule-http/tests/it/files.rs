//! Files through the real server: below the folders that were given and nowhere else, regular ones only, not too many and not
//! too large. Each for host functions and for WASI.

use std::os::unix::fs::symlink;
use std::path::Path;

use capsule_test::client::Response;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use tempfile::TempDir;

use crate::support::{metric, outcome, serve};

const SERVICES: &str = "services.wat";

/// Numbers of WASI.
const EXIST: &str = "errno 20";
const MFILE: &str = "errno 33";
const NOENT: &str = "errno 44";
const NXIO: &str = "errno 60";
const PERM: &str = "errno 63";
const DQUOT: &str = "errno 19";

/// A server with a folder of its own, and one beside it that is nobody's.
struct Lent {
    server: HttpServer,
    home: TempDir,
}

impl Lent {
    fn new(flags: &[&str], mode: &str) -> Lent {
        let home = tempfile::tempdir().unwrap();
        for name in ["lent", "beside"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
            std::fs::write(home.path().join(name).join("file"), name).unwrap();
        }
        let dir = format!("--dir={}:.{mode}", home.path().join("lent").display());
        let flags: Vec<&str> = [dir.as_str()].into_iter().chain(flags.iter().copied()).collect();
        Lent { server: serve(SERVICES, &flags), home }
    }

    fn lent(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join("lent").join(name)
    }

    fn ask(&self, body: impl AsRef<[u8]>) -> Response {
        self.server.post("/", body).unwrap()
    }

    /// The text of a call that succeeds.
    #[track_caller]
    fn text(&self, body: &str) -> String {
        let answer = self.ask(body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        answer.text()
    }

    /// The reason of one that fails, and not by a trap.
    #[track_caller]
    fn refused(&self, body: &str) -> String {
        let (status, text) = outcome(&self.ask(body));
        assert_eq!(status, 500, "{body}: {text}");
        assert!(!text.contains("trapped") && !text.is_empty(), "{body}: {text}");
        text
    }
}

#[test]
fn what_is_written_is_read_by_both_ways() {
    let lent = Lent::new(&[], "");
    assert_eq!(lent.text("Wnew=from WASI"), "\"\"");
    assert_eq!((lent.text("rnew"), lent.text("onew")), ("from WASI".into(), "from WASI".into()));
    assert_eq!(lent.text("wnew=from a host function"), "new");
    assert_eq!(lent.text("onew"), "from a host function");
    assert_eq!(lent.text("inew"), "20");
    lent.text("Dsub");
    lent.text("mnew=sub/moved");
    lent.text("lmoved=sub/link");
    assert_eq!((lent.text("osub/link"), lent.text("tsub/link")), ("from a host function".into(), "moved".into()));
    lent.text("Lsub/moved=twin");
    lent.text("xsub/moved");
    assert_eq!(lent.text("otwin"), "from a host function");
    assert_eq!(lent.refused("osub/link"), NOENT);
    assert_eq!(lent.refused("Dsub"), EXIST);
    // More than one call takes at once.
    let large = "0123456789abcdef".repeat(100_000);
    lent.text(&format!("Wlarge={large}"));
    assert_eq!(std::fs::read_to_string(lent.lent("large")).unwrap(), large);
    assert_eq!(lent.text("rlarge"), large);
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let lent = Lent::new(&[], "");
    let beside = lent.home.path().join("beside");
    symlink(beside.join("file"), lent.lent("absolute")).unwrap();
    symlink("../beside/file", lent.lent("relative")).unwrap();
    symlink("..", lent.lent("up")).unwrap();
    symlink("/proc/self", lent.lent("proc")).unwrap();
    symlink("/", lent.lent("root")).unwrap();
    let absolute = beside.join("file").display().to_string();
    let ways = [
        "../beside/file",
        "./../beside/file",
        "nothing/../../beside/file",
        "absolute",
        "relative",
        "up/beside/file",
        "up",
        "proc/environ",
        "proc/root/etc/passwd",
        "proc/cwd/Cargo.toml",
        "root/etc/passwd",
        "/etc/passwd",
        "/proc/self/environ",
        &absolute,
    ];
    for way in ways {
        let reason = lent.refused(&format!("r{way}"));
        assert!(reason.contains("--dir"), "{way}: {reason}");
        let reason = lent.refused(&format!("w{way}=overwritten"));
        assert!(reason.contains("--dir"), "{way}: {reason}");
        for body in [format!("o{way}"), format!("O{way}"), format!("W{way}=overwritten"), format!("i{way}")] {
            let number = lent.refused(&body);
            assert!(number.starts_with("errno "), "{body}: {number}");
        }
    }
    // Nor does anything that a guest makes.
    for (body, number) in [
        (format!("l{absolute}=own"), PERM),
        ("l/etc/passwd=own".to_owned(), PERM),
        ("mfile=../beside/moved".to_owned(), PERM),
        ("m../beside/file=file".to_owned(), PERM),
        ("L../beside/file=stolen".to_owned(), PERM),
        ("Lfile=../beside/linked".to_owned(), PERM),
        ("D../beside/made".to_owned(), PERM),
        ("x../beside/file".to_owned(), PERM),
        ("xup/beside/file".to_owned(), PERM),
    ] {
        assert_eq!(lent.refused(&body), number, "{body}");
    }
    lent.text("l../beside/file=relative-too");
    assert_eq!(lent.refused("orelative-too"), PERM);
    assert_eq!(std::fs::read_to_string(beside.join("file")).unwrap(), "beside");
    assert_eq!(std::fs::read_dir(&beside).unwrap().count(), 1);
    assert_eq!(lent.text("ofile"), "lent");
}

/// Who may write to the outer of two folders can put a link in the place of the inner one.
#[test]
fn a_link_in_the_place_of_a_folder_is_not_followed() {
    let lent = Lent::new(&[], "");
    let inner = lent.lent("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("file"), "inner").unwrap();
    let dir = |end: &str| format!("--dir={}{end}", inner.display());
    let neighbour = serve(SERVICES, &[&dir(":.")]);
    let both = serve(SERVICES, &[&format!("--dir={}:.", lent.lent("").display()), &dir(":/b:ro")]);
    let ask = |server: &HttpServer, body: &str| outcome(&server.post("/", body).unwrap());
    assert_eq!(ask(&both, "r/b/file"), (200, "inner".into()));
    lent.text("minner=old");
    lent.text("l../beside=inner");
    let (status, reason) = ask(&both, "r/b/file");
    assert!(status == 500 && reason.contains("`inner` in its path is a symbolic link, which is not"), "{reason}");
    for (body, expected) in [("rfile", "--dir"), ("wfile=x", "--dir"), ("ofile", "errno 54"), ("Wnew=x", "errno 54")] {
        let (status, reason) = ask(&neighbour, body);
        assert!(status == 500 && reason.contains(expected), "{body}: {reason}");
    }
    assert_eq!(std::fs::read_dir(lent.home.path().join("beside")).unwrap().count(), 1);
    // Another folder in its place is its own.
    lent.text("xinner");
    lent.text("mold=inner");
    assert_eq!(ask(&both, "r/b/file"), (200, "inner".into()));
    assert_eq!((ask(&neighbour, "rfile"), ask(&neighbour, "ofile")), ((200, "inner".into()), (200, "inner".into())));
}

/// What the operator names may be relative, and a link.
#[test]
fn a_folder_is_named_in_any_way() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("release/v1")).unwrap();
    std::fs::write(home.path().join("release/v1/file"), "content").unwrap();
    symlink("release/v1", home.path().join("current")).unwrap();
    symlink(home.path().join("release"), home.path().join("absolute")).unwrap();
    let module = capsule_test::guests::fixture(SERVICES).unwrap();
    for dir in ["release/v1", "./release/../release/v1", "current", "absolute/v1", "absolute/../current"] {
        let program = Program::of_workspace("capsule-http").unwrap().current_dir(home.path());
        let words = ["--httpHost=127.0.0.1", "--httpPort=0", &format!("--dir={dir}:.")];
        let server = HttpServer::launch(program.args([format!("--wasm={}", module.display())]).args(words)).unwrap();
        for body in ["rfile", "ofile"] {
            assert_eq!(outcome(&server.post("/", body).unwrap()), (200, "content".into()), "{dir} {body}");
        }
    }
}

#[test]
fn nothing_is_changed_in_a_folder_for_reading() {
    let lent = Lent::new(&[], ":ro");
    assert_eq!((lent.text("rfile"), lent.text("ofile")), ("lent".into(), "lent".into()));
    assert!(lent.refused("wfile=x").contains("for reading only (flag `--dir`)"));
    for body in ["Wfile=x", "Wnew=x", "Dnew", "xfile", "mfile=new", "lfile=new", "Lfile=new"] {
        assert_eq!(lent.refused(body), PERM, "{body}");
    }
    assert_eq!(std::fs::read_dir(lent.lent("")).unwrap().count(), 1);
}

/// To open a pipe or some devices waits for somebody else.
#[test]
fn pipes_sockets_and_devices_hold_nobody() {
    let lent = Lent::new(&["--callTimeout=none"], "");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, lent.lent("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(lent.lent("socket")).unwrap();
    symlink("pipe", lent.lent("link")).unwrap();
    for name in ["pipe", "socket", "link"] {
        for body in [format!("r{name}"), format!("w{name}=x")] {
            let reason = lent.refused(&body);
            assert!(reason.ends_with("it is not a regular file (folder `.` of `--dir`)"), "{body}: {reason}");
        }
        // As many as would take all threads that the function has for such.
        for body in [format!("o{name}"), format!("O{name}"), format!("W{name}=x"), format!("T{name}")] {
            for _ in 0..33 {
                assert_eq!(lent.refused(&body), NXIO, "{body}");
            }
        }
    }
    // The times of a regular file are set, and of what a link leads to.
    symlink("file", lent.lent("to-file")).unwrap();
    for name in ["file", "to-file"] {
        let now = std::time::SystemTime::now();
        let file = std::fs::File::options().write(true).open(lent.lent("file")).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(now)).unwrap();
        lent.text(&format!("T{name}"));
        assert_eq!(file.metadata().unwrap().modified().unwrap(), std::time::SystemTime::UNIX_EPOCH, "{name}");
    }
    assert_eq!(lent.refused("Tnone"), NOENT);
    // A whole folder of devices, given by the operator.
    let server = serve(SERVICES, &["--dir=/dev:.", "--callTimeout=none"]);
    for body in ["rzero", "wnull=x", "rtty"] {
        let (status, reason) = outcome(&server.post("/", body).unwrap());
        assert!(status == 500 && reason.contains("--dir"), "{body}: {reason}");
    }
    for body in ["ozero", "Onull", "Wnull=x"] {
        assert_eq!(outcome(&server.post("/", body).unwrap()), (500, NXIO.into()), "{body}");
    }
}

/// The runner's own environment is there.
#[test]
fn what_the_system_shows_of_processes_is_closed_even_when_it_is_lent() {
    for dir in ["--dir=/:.", "--dir=/proc:."] {
        let module = capsule_test::guests::fixture(SERVICES).unwrap();
        let words = [format!("--wasm={}", module.display()), dir.to_owned()];
        let server = HttpServer::start(&words, &[("CAPSULE_FAAS_TOKEN", "s3cret")]).unwrap();
        let start = if dir.contains("proc") { "" } else { "proc/" };
        for path in ["self/environ", "1/environ", "self/cmdline", "thread-self/environ", "self/task"] {
            let (status, text) = outcome(&server.post("/", format!("r{start}{path}")).unwrap());
            assert!(status == 500 && !text.contains("s3cret"), "{path}: {text}");
            let (status, text) = outcome(&server.post("/", format!("o{start}{path}")).unwrap());
            assert!(status == 500 && text.starts_with("errno "), "{path}: {text}");
        }
        if dir.contains("/:.") {
            assert_eq!(server.post("/", "retc/passwd").unwrap().status, 200, "the operator has named it");
        }
    }
}

#[test]
fn so_many_files_are_open_and_no_more() {
    let lent = Lent::new(&["--maxFiles=2"], "");
    assert_eq!(lent.text("ofile"), "lent");
    assert_eq!((lent.text("Ofile"), lent.text("Ofile")), ("4".into(), "5".into()));
    assert_eq!(lent.refused("Ofile"), MFILE);
    let reason = lent.refused("rfile");
    assert_eq!(reason, "cannot read `file`: 2 files are open (flag `--maxFiles`)");
    assert_eq!(metric(&lent.server, "capsule_limit_hits_total{limit=\"maxFiles\"}"), 2);
    // They are an instance's: the next one has none.
    assert_eq!(lent.ask("?").status, 500);
    assert_eq!((lent.text("rfile"), lent.text("Ofile")), ("lent".into(), "4".into()));
    let log = lent.server.stop().unwrap().stderr();
    assert!(log.contains("2 files are open (flag `--maxFiles`)"), "{log}");

    let lent = Lent::new(&[], "");
    for number in 4..68 {
        assert_eq!(lent.text("Ofile"), number.to_string());
    }
    assert_eq!(lent.refused("Ofile"), MFILE, "64 by default");
}

#[test]
fn folders_grow_to_the_limit_and_no_further() {
    // 4 KiB for the name of each file, and 1000 bytes.
    let lent = Lent::new(&["--maxWritten=9192"], "");
    lent.text(&format!("wa={}", "x".repeat(600)));
    lent.text(&format!("Wb={}", "x".repeat(400)));
    assert_eq!(lent.refused(&format!("Wb={}", "x".repeat(401))), DQUOT);
    let reason = lent.refused(&format!("wa={}", "x".repeat(1001)));
    assert_eq!(
        reason,
        "cannot write `a`: the function's files would grow beyond the limit of 9192 bytes (flag `--maxWritten`)"
    );
    assert_eq!(std::fs::read(lent.lent("a")).unwrap().len(), 600, "what is refused changes nothing");
    assert_eq!(lent.refused("Wc=x"), DQUOT);
    assert!(lent.refused("wc=x").contains("--maxWritten"));
    assert_eq!(lent.refused("Dc"), DQUOT);
    assert!(!lent.lent("c").exists());
    // What was truncated above, what is overwritten or removed does not count.
    for _ in 0..20 {
        lent.text(&format!("wa={}", "y".repeat(600)));
        lent.text(&format!("Wb={}", "y".repeat(400)));
        lent.text("xb");
    }
    // It outlives an instance.
    lent.text(&format!("Wb={}", "y".repeat(400)));
    assert_eq!(lent.ask("?").status, 500);
    assert_eq!(lent.refused("Wc=x"), DQUOT);
    assert!(metric(&lent.server, "capsule_limit_hits_total{limit=\"maxWritten\"}") >= 6);
    let log = lent.server.stop().unwrap().stderr();
    assert!(log.contains("would grow beyond the limit of 9192 bytes (flag `--maxWritten`)"), "{log}");

    // A file that was removed takes its room as long as it is open.
    let lent = Lent::new(&["--maxWritten=9192"], "");
    lent.text(&format!("Wa={}", "x".repeat(1000)));
    assert_eq!(lent.text("Oa"), "4");
    lent.text("xa");
    assert_eq!(lent.refused(&format!("Wb={}", "x".repeat(5000))), DQUOT);
    lent.text("C4");
    lent.text(&format!("Wb={}", "x".repeat(5000)));

    let unlimited = Lent::new(&["--maxWritten=none"], "");
    unlimited.text("Wa=x");
}

/// Two functions hold and remove files of one folder at the same time: together they have what both may write, and no more.
#[test]
fn what_is_removed_while_others_open_it_is_not_given_back_twice() {
    let module = crate::support::module(RACE);
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("d")).unwrap();
    let dir = format!("--dir={}:.", home.path().join("d").display());
    let path = module.path().display().to_string();
    let server = HttpServer::start(&[path, dir, "--maxWritten=300000".into(), "--instances=5".into()], &[]).unwrap();
    // 100,000 bytes and a name of 4 KiB stay. Of the rest, in which five files of 30,000 bytes have room, one makes a file and removes it,
    // and four others open it.
    assert_eq!(server.post("/", "k").unwrap().status, 200);
    let server = &server;
    std::thread::scope(|scope| {
        for what in ["c", "r", "r", "r", "r"] {
            scope.spawn(move || {
                let answer = server.post("/", what).unwrap();
                assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            });
        }
    });
    assert_eq!(server.post("/", "f").unwrap().status, 200);
    let sum: u64 = std::fs::read_dir(home.path().join("d"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len() + 4096)
        .sum();
    assert_eq!(sum, 300_000, "all that there is is written, and no more");
}

/// `k` makes a file of 100,000 bytes; `c` makes and removes another one again and again, which `r` opens and closes; `f` makes one
/// as large as there is room.
const RACE: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
    (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "kcf") (data (i32.const 32) "S{}")
    (func (export "malloc") (param i32) (result i32) i32.const 1024)
    (func (export "allocateBuffer") (param i32) (result i32) i32.const 1024)
    ;; Opens the file of this letter; its number, or -1.
    (func $of (param $at i32) (param $flags i32) (param $rights i64) (result i32)
        (if (call $open (i32.const 3) (i32.const 1) (local.get $at) (i32.const 1) (local.get $flags) (local.get $rights)
                (i64.const 0) (i32.const 0) (i32.const 8)) (then (return (i32.const -1))))
        (i32.load (i32.const 8)))
    (func (export "callHandleHTTP") (param $p i32) (param i32) (result i64)
        (local $what i32) (local $fd i32) (local $left i32) (local $size i64)
        (local.set $what (i32.load8_u offset=9 (local.get $p)))
        (local.set $left (i32.const 5000))
        (if (i32.eq (local.get $what) (i32.const 107)) (then ;; k
            (if (call $set_size (call $of (i32.const 16) (i32.const 1) (i64.const 66)) (i64.const 100000)) (then unreachable))))
        (if (i32.eq (local.get $what) (i32.const 99)) (then ;; c
            (loop $next
                (local.set $fd (call $of (i32.const 17) (i32.const 1) (i64.const 66)))
                (if (call $set_size (local.get $fd) (i64.const 30000)) (then unreachable))
                (if (call $close (local.get $fd)) (then unreachable))
                (if (call $unlink (i32.const 3) (i32.const 17) (i32.const 1)) (then unreachable))
                (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
        (if (i32.eq (local.get $what) (i32.const 114)) (then ;; r
            (loop $next
                (local.set $fd (call $of (i32.const 17) (i32.const 0) (i64.const 2)))
                (if (i32.ge_s (local.get $fd) (i32.const 0)) (then (drop (call $close (local.get $fd)))))
                (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
        (if (i32.eq (local.get $what) (i32.const 102)) (then ;; f
            (local.set $fd (call $of (i32.const 18) (i32.const 1) (i64.const 66)))
            (loop $next
                (local.set $size (i64.add (local.get $size) (i64.const 999)))
                (br_if $next (i32.eqz (call $set_size (local.get $fd) (local.get $size)))))))
        (i64.const 0x2000000003)))"#;

/// A guest that can write where compiled code is loaded from runs what it likes; one that can read a key has it.
#[test]
fn the_current_folder_is_not_lent_when_it_holds_what_is_the_runners() {
    let module = capsule_test::guests::fixture(SERVICES).unwrap();
    let home = tempfile::tempdir().unwrap();
    let home = home.path().canonicalize().unwrap();
    std::fs::write(home.join("file"), "content").unwrap();
    let serve_in = |folder: &Path, flags: &[&str]| {
        let program = Program::of_workspace("capsule-http").unwrap().current_dir(folder);
        let words = ["--httpHost=127.0.0.1", "--httpPort=0"];
        HttpServer::launch(program.args([format!("--wasm={}", module.display())]).args(words).args(flags)).unwrap()
    };
    let cache = format!("--cacheDir={}", home.join("cache/compiled").display());
    let withheld =
        [(home.as_path(), cache.as_str()), (&home.join("cache"), &cache), (Path::new("/"), "--cacheDir=none")];
    std::fs::create_dir_all(home.join("cache/compiled")).unwrap();
    for (folder, flag) in withheld {
        let server = serve_in(folder, &[flag]);
        let (status, reason) = outcome(&server.post("/", "rfile").unwrap());
        let expected = format!("the current folder is not lent: `{}` ", folder.display());
        assert!(status == 500 && reason.contains(&expected) && reason.ends_with("name it (flag `--dir`)"), "{reason}");
        assert_eq!(outcome(&server.post("/", "ofile").unwrap()), (500, "errno 8".into()), "WASI has no folder");
        let log = server.stop().unwrap().stderr();
        assert!(log.contains(&expected), "{log}");
    }
    // Named, it is lent; and so is one that holds nothing.
    let server = serve_in(&home, &[&cache, "--dir=."]);
    assert_eq!(outcome(&server.post("/", "rfile").unwrap()), (200, "content".into()));
    let server = serve_in(&home, &["--cacheDir=none"]);
    assert_eq!(outcome(&server.post("/", "ofile").unwrap()), (200, "content".into()));
}
