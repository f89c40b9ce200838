//! Compiling: within its budget, one module after the other, in a process that ends with the server.

use capsule_test::process::Process;

use crate::faas_support::{Faas, module_path, refusal, start_body};
use crate::support::{eventually, file, module, run};

/// A handler and a type with a thousand parameters and results.
fn hostile(body: &str) -> String {
    let thousand = "i32 ".repeat(1000);
    let (zeros, drops) = ("i32.const 0 ".repeat(1000), "drop ".repeat(1000));
    format!(
        r#"(module (memory (export "memory") 1) (type $large (func (param {thousand}) (result {thousand})))
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "callHandleHTTP") (param i32 i32) (result i64) (i64.const 0))
        (func $same (type $large) unreachable)
        (func {zeros} {body} {drops}))"#
    )
}

/// Some kilobytes that take minutes.
fn slow() -> String {
    hostile(&"call $same ".repeat(10_000))
}

/// Some kilobytes that take gigabytes.
fn large() -> String {
    hostile(&format!("{}{}", "block (type $large) ".repeat(1000), "end ".repeat(1000)))
}

/// The example function with a section of its own: never in the cache.
fn unknown_module() -> Vec<u8> {
    let mut bytes = std::fs::read(module_path("hey")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let content = format!("\u{4}time{now}-{}", std::process::id());
    bytes.extend([0, u8::try_from(content.len()).unwrap()]);
    bytes.extend(content.bytes());
    bytes
}

/// The processes that a server has started.
fn children(server: &Process) -> Vec<u32> {
    let parent = server.id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name in parentheses: state, parent.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut words = rest.split(' ');
        words.next().is_some_and(|state| state != "Z") && words.next() == Some(&*parent)
    };
    pids.filter(is_child).collect()
}

/// The most memory that a process has had, in bytes.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn time_and_memory_are_limited_and_the_limit_named() {
    for (wat, flag, expected) in [
        (slow(), "--compileTimeout=200ms", "longer than 200ms (flag `--compileTimeout`)"),
        (large(), "--maxCompileMemory=100MB", "more than 100000000 bytes of memory (flag `--maxCompileMemory`)"),
    ] {
        let module = module(&wat);
        let path = module.path().to_str().unwrap();
        let finished = run(&[path, flag, "--cacheDir=none"]);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let error = format!("error: module `{path}`: compiling it takes {expected}\n");
        assert!(finished.stderr().ends_with(&error), "{finished:?}");
    }
}

#[test]
fn a_module_within_the_budget_is_compiled_and_one_without_a_limit_too() {
    for flags in
        [["--compileTimeout=60s", "--maxCompileMemory=60MB"], ["--compileTimeout=none", "--maxCompileMemory=none"]]
    {
        let module = file("m.wasm", unknown_module());
        let words = [&["--cacheDir=none", module.path().to_str().unwrap()][..], &flags].concat();
        let server = capsule_test::server::HttpServer::start(&words, &[]).unwrap();
        assert_eq!(server.post("/", "Bob").unwrap().text(), "👋 Hey Bob !");
        eventually("the process that compiled has ended", || children(&server.process).is_empty());
    }
}

#[test]
fn a_hostile_module_is_refused_and_its_neighbours_are_served() {
    let faas = Faas::start(&["--compileTimeout=3s", "--cacheDir=none"]);
    faas.start_function("good", "hey", &[]);
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| faas.admin("PUT", "/functions/modules", slow()));
        eventually("it is being compiled", || children(&faas.server.process).len() == 1);
        let stored = scope.spawn(|| faas.admin("PUT", "/functions/modules", unknown_module()));
        let mut served = 0;
        while !upload.is_finished() {
            assert_eq!(faas.call("good", "Bob"), (200, "👋 Hey Bob !".into()));
            assert!(children(&faas.server.process).len() <= 1, "one after the other");
            served += 1;
        }
        assert!(served > 1, "it was refused at once");
        let (status, error) = refusal(&upload.join().unwrap());
        assert_eq!(
            (status, error.as_str()),
            (422, "module `the upload`: compiling it takes longer than 3s (flag `--compileTimeout`)")
        );
        assert_eq!(stored.join().unwrap().status, 200, "the next one has its turn");
    });
    let (status, error) = refusal(&faas.admin("PUT", "/functions/modules", large()));
    assert_eq!(status, 422, "{error}");
    assert_eq!(faas.call("good", "Bob"), (200, "👋 Hey Bob !".into()));
    let megabytes = peak(&faas.server.process) >> 20;
    assert!(megabytes < 200, "{megabytes} MiB");
    assert_eq!(faas.keys(), ["good/default/0"]);
}

#[test]
fn one_that_somebody_killed_is_not_blamed_for_its_memory() {
    let faas = Faas::start(&["--cacheDir=none"]);
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| faas.admin("PUT", "/functions/modules", slow()));
        eventually("it is being compiled", || children(&faas.server.process).len() == 1);
        let child = children(&faas.server.process)[0];
        let pid = rustix::process::Pid::from_raw(child.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let (status, error) = refusal(&upload.join().unwrap());
        let expected = "the process that compiled module `the upload` was killed: by the system, for want of memory, or by somebody";
        assert_eq!((status, error.as_str()), (503, expected));
    });
}

#[test]
fn it_ends_with_the_server() {
    let slow = module(&slow());
    let faas = Faas::start(&["--cacheDir=none"]);
    let body = start_body("slow", slow.path(), &[], &[]);
    let child = std::thread::scope(|scope| {
        let start = scope.spawn(|| {
            let mut connection = faas.server.connect().unwrap();
            connection.send(
                "POST",
                "/functions/start",
                &[("CAPSULE_FAAS_TOKEN", crate::faas_support::TOKEN)],
                body.as_bytes(),
            )
        });
        eventually("it is being compiled", || children(&faas.server.process).len() == 1);
        let child = children(&faas.server.process)[0];
        // Until it has become another program, it has the words and the environment of its parent.
        eventually("the child is another program", || {
            let words = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap();
            words.contains("--compile-child")
        });
        let environment = std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
        assert!(environment.split('\0').all(|pair| pair.is_empty() || pair.starts_with("MIMALLOC_")), "{environment}");
        let pid = rustix::process::Pid::from_raw(faas.server.process.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert!(start.join().unwrap().is_err());
        child
    });
    eventually("the child has ended", || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    });
}

#[test]
fn a_module_of_too_many_bytes_or_functions_is_refused() {
    let mut bytes = unknown_module();
    let length = bytes.len();
    let limit = |bytes: usize| format!("--maxModule={bytes}");
    let path = file("m.wasm", &bytes);
    let path = path.path().to_str().unwrap();
    assert!(capsule_test::server::HttpServer::start(&[path, &limit(length)], &[]).is_ok());
    let finished = run(&[path, &limit(length - 1)]);
    let error =
        format!("error: module `{path}` has {length} bytes, the limit is {} (flag `--maxModule`)\n", length - 1);
    assert_eq!((finished.code, finished.stderr()), (Some(1), error), "{finished:?}");

    let faas = Faas::start(&[&limit(length)]);
    assert_eq!(faas.admin("PUT", "/functions/modules", &bytes).status, 200);
    bytes.extend(b"\0\x01\0");
    let (status, error) = refusal(&faas.admin("PUT", "/functions/modules", &bytes));
    let expected = format!("the module is larger than the limit of {length} bytes (flag `--maxModule`)");
    assert_eq!((status, error), (413, expected));

    let mut wat = String::from("(module ");
    (0..100_001).for_each(|_| wat.push_str("(func)"));
    wat.push(')');
    let many = file("m.wasm", wat::parse_str(&wat).unwrap());
    let path = many.path().to_str().unwrap();
    let finished = run(&[path]);
    let error =
        format!("error: module `{path}` has 100001 functions, the limit is 100000 (`--maxModule=none` lifts it)\n");
    assert_eq!((finished.code, finished.stderr()), (Some(1), error), "{finished:?}");
    // Text is read by the server itself: not much of it.
    let mut text = String::from("(module)");
    text.push_str(&" ".repeat(1 << 20));
    let text = module(&text);
    let finished = run(&[text.path().to_str().unwrap()]);
    assert!(finished.stderr().contains("is text of 1048584 bytes, the limit is 1048576\nhint: "), "{finished:?}");
}

/// Words that only the server writes are not taken from anybody else.
#[test]
fn the_role_of_a_child_is_not_for_people() {
    let finished = run(&["--compile-child", "1", "2"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr().starts_with("error: expected `PARENT MEMORY SECONDS reserved|moving`"), "{finished:?}");
    let not_its_parent = run(&["--compile-child", "1", "100000000", "10", "reserved"]);
    assert_eq!(not_its_parent.code, Some(1), "{not_its_parent:?}");
    assert!(not_its_parent.stderr().contains("its parent has ended"), "{not_its_parent:?}");
}
