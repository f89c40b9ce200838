//! What is refused at load, and with which words. Also: the compile cache.

use std::path::Path;

use capsule_hdk::{Contract, Engine, EngineConfig, Function, Host, HostFunctions, LoadError, LoadErrorKind, Module};

use crate::support::{DEADLINE, TRICKS, config, engine, try_function};

fn refusal(wat: &str) -> LoadError {
    match try_function(wat, config(Contract::Instances(1)).0) {
        Ok(_) => panic!("the module was taken"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn bytes_that_are_no_module_say_what_was_found() {
    let engine = engine();
    for (bytes, message) in [
        (&b""[..], "`m` is not a WebAssembly module: it is empty"),
        (b"<!doctype html>", "`m` is not a WebAssembly module: it starts with `<!doctype html>`"),
        (b"\0asm\x01", "`m` is not a WebAssembly module: it is truncated after 5 bytes"),
        (b"\0asm\x0d\0\x01\0", "`m` is a WebAssembly component; Capsule runs core modules"),
        (
            b"\0asm\x02\0\0\0",
            "`m` is not a WebAssembly module: its version bytes are [2, 0, 0, 0], expected [1, 0, 0, 0]",
        ),
    ] {
        let error = Module::from_bytes(&engine, "m", bytes).err().expect("refused");
        assert_eq!(error.to_string(), message);
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_module_that_is_cut_off_anywhere_is_refused() {
    let engine = engine();
    let whole = wat::parse_str(TRICKS).unwrap();
    for length in (0..whole.len()).step_by(7) {
        let result = Module::from_bytes(&engine, "m", &whole[..length]);
        // Some prefixes end between two sections: valid, but then the exports are missing.
        if let Ok(module) = result {
            let host = Host::new(&engine, &HostFunctions::new()).unwrap();
            assert!(Function::new(&host, &module, config(Contract::Instances(1)).0).is_err(), "{length}");
        }
    }
}

#[tokio::test]
async fn everything_that_is_missing_or_unknown_is_named_at_once() {
    let error = refusal(
        r#"(module
            (import "env" "hostUnknown" (func (param i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32) (result i32)))
            (import "other" "thing" (global i32))
            (func (export "callHandle") (param i32) (result i64) (i64.const 0))
            (func (export "malloc") (param i64) (result i32) (i32.const 0)))"#,
    );
    assert_eq!(error.kind(), LoadErrorKind::Interface);
    assert_eq!(
        error.to_string(),
        "module `guest.wat` does not fit: export `memory` is missing; export `malloc` has the signature (i64) -> i32, \
         expected (i32) -> i32; export `callHandle` has the signature (i32) -> i64, expected (i32, i32) -> i64; import \
         `env.hostUnknown` is unknown; import `wasi_snapshot_preview1.fd_write` has the signature (i32) -> i32, expected \
         (i32, i32, i32, i32) -> i32; import `other.thing` is unknown"
    );
}

/// A module may import as much as it likes: the text about it has an end.
#[tokio::test]
async fn of_many_wrong_imports_the_first_are_named() {
    let import = |number: usize| format!(r#"(import "{}" "{number}" (func))"#, "m".repeat(1000));
    let handler = r#"(memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) (i32.const 0))
        (func (export "callHandle") (param i32 i32) (result i64) (i64.const 0))"#;
    for (count, end) in [(20, "is unknown"), (21, "is unknown; and 1 more"), (1000, "is unknown; and 980 more")] {
        let wat = format!("(module {} {handler})", (0..count).map(import).collect::<String>());
        let error = refusal(&wat).to_string();
        assert!(error.ends_with(end) && error.matches("import `").count() == 20, "{error}");
        assert!(error.len() < 8000, "{}", error.len());
    }
}

#[tokio::test]
async fn a_module_of_2022_is_named_as_such() {
    let error = refusal(
        r#"(module (memory (export "memory") 1)
            (func (export "callHandleHttp") (param i32 i32 i32 i32) (result i64) (i64.const 0))
            (func (export "_start")))"#,
    );
    assert_eq!(error.kind(), LoadErrorKind::OtherAbi);
    assert!(error.to_string().contains("2022"), "{error}");
}

#[tokio::test]
async fn a_module_without_handlers_has_nothing_to_call() {
    let error = refusal(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    assert!(error.to_string().contains("exports none of `callHandle`"), "{error}");
}

#[tokio::test]
async fn refused_proposals_are_named() {
    for (wat, word) in [
        (r#"(module (memory (export "memory") 1 1 shared))"#, "threads"),
        (r#"(module (memory i64 1))"#, "64-bit memories"),
        (r#"(module (memory 1) (memory 1))"#, "multiple memories"),
        (r#"(module (tag))"#, "exceptions"),
        (r#"(module (type (struct)))"#, "garbage collection"),
    ] {
        let error = refusal(wat);
        assert_eq!(error.kind(), LoadErrorKind::Proposal, "{wat}: {error}");
        assert!(error.to_string().contains(&format!("needs {word} of WebAssembly")), "{wat}: {error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

#[tokio::test]
async fn a_memory_that_starts_past_the_limit_is_refused() {
    let (mut settings, _) = config(Contract::Instances(1));
    settings.limits.memory = 65536;
    let error = try_function(TRICKS, settings).err().expect("refused");
    assert_eq!(error.to_string(), "module `guest.wat` needs 131072 bytes of memory, the limit is 65536");
    assert_eq!(error.hint(), Some("raise it with `--maxMemory`"));
}

#[tokio::test]
async fn an_unreadable_file_is_named() {
    let error = Module::from_file(&engine(), Path::new("/nowhere/m.wasm")).err().expect("refused");
    assert_eq!(error.kind(), LoadErrorKind::Read);
    assert!(error.to_string().starts_with("cannot read module `/nowhere/m.wasm`: "), "{error}");
}

fn caching(folder: &Path) -> Engine {
    let mut settings = EngineConfig::default();
    settings.max_instances = 4;
    settings.cache = Some(folder.to_owned());
    Engine::new(&settings).unwrap()
}

async fn serves(engine: &Engine) {
    let module = Module::from_bytes(engine, "m", TRICKS.as_bytes()).unwrap();
    let host = Host::new(engine, &HostFunctions::new()).unwrap();
    let function = Function::new(&host, &module, config(Contract::Instances(1)).0).unwrap();
    assert_eq!(function.handle("c").await.unwrap(), "43");
}

#[tokio::test]
async fn compiled_code_is_kept_and_a_damaged_file_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let engine = caching(&cache);
    serves(&engine).await;
    let files = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [file] = &files()[..] else { panic!("expected one file, found {:?}", files()) };
    let good = std::fs::read(file).unwrap();
    serves(&engine).await;
    // A good file of another module, under the name of this one.
    let other = folder.path().join("other");
    Module::from_bytes(&caching(&other), "m", b"(module)").unwrap();
    let [others] = &std::fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()[..]
    else {
        panic!("expected one file")
    };
    for (what, damage) in [
        ("of another module", std::fs::read(others).unwrap()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("foreign", b"something else entirely, and longer than a trailer of forty bytes".to_vec()),
        ("one bit off", {
            let mut bytes = good.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        }),
    ] {
        // As another program would: a new file in its place.
        std::fs::remove_file(file).unwrap();
        std::fs::write(file, damage).unwrap();
        serves(&caching(&cache)).await;
        assert_eq!(std::fs::read(file).unwrap().len(), good.len(), "{what}: it was made anew");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn code_that_others_may_write_is_not_loaded() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    serves(&caching(folder.path())).await;
    let mode = std::fs::metadata(folder.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the folder was closed to others");
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    serves(&caching(folder.path())).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it was made anew");
}

#[test]
fn what_a_killed_runner_left_half_written_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let hours = |count: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(count * 3600);
    let young = ".capsule-young.tmp";
    for (name, written) in [(".capsule-old.tmp", hours(2)), (young, hours(0)), ("theirs.tmp", hours(2))] {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.set_modified(written).unwrap();
    }
    std::fs::create_dir(folder.path().join(".capsule-folder.tmp")).unwrap();
    Module::from_bytes(&caching(folder.path()), "m", b"(module)").unwrap();
    let names =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<_> = names.filter(|name| !name.ends_with(".cwasm")).collect();
    left.sort();
    assert_eq!(left, [".capsule-folder.tmp", young, "theirs.tmp"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pipe_or_a_device_is_no_compiled_code_and_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    serves(&caching(folder.path())).await;
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    for pipe in [true, false] {
        std::fs::remove_file(&file).unwrap();
        if pipe {
            mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        } else {
            std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        }
        // On a thread of its own: one that waited would never end.
        let (loaded, outcome) = std::sync::mpsc::channel();
        let engine = caching(folder.path());
        std::thread::spawn(move || loaded.send(Module::from_bytes(&engine, "m", TRICKS.as_bytes()).is_ok()));
        assert_eq!(outcome.recv_timeout(DEADLINE), Ok(true), "pipe: {pipe}");
        assert!(std::fs::symlink_metadata(&file).unwrap().is_file(), "it was made anew");
        serves(&caching(folder.path())).await;
    }
}

#[tokio::test]
async fn a_module_too_large_for_the_pool_gets_memory_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let globals = "(global i64 (i64.const 1))".repeat(150_000);
    for more in ["(table 30000 funcref)", &globals] {
        let wat = TRICKS.replacen("(global $heap", &format!("{more} (global $heap"), 1);
        // Compiled at first, then from the cache.
        for _ in 0..2 {
            let engine = caching(folder.path());
            assert!(engine.is_pooling());
            let module = Module::from_bytes(&engine, "m", wat.as_bytes()).unwrap();
            let host = Host::new(&engine, &HostFunctions::new()).unwrap();
            let function = Function::new(&host, &module, config(Contract::Instances(1)).0).unwrap();
            assert_eq!(function.handle("c").await.unwrap(), "43");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
