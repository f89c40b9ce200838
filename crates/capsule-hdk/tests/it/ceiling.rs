//! The ceiling: what all functions of a process hold together, at its edge. And how large a module may be.

use std::time::Duration;

use capsule_hdk::{
    BusyReason, CallError, Ceiling, Contract, Engine, EngineConfig, Function, Host, HostFunction, HostFunctions,
    LoadError, LoadErrorKind, MemoryLimit, Module, Reply,
};

use crate::support::{DEADLINE, TRICKS, WAITS, config, waiting};

const PAGE: usize = 65536;

fn engine(ceiling: &Ceiling) -> Engine {
    let mut settings = EngineConfig::default();
    settings.max_instances = 16;
    settings.ceiling = ceiling.clone();
    Engine::new(&settings).unwrap()
}

fn function(engine: &Engine, wat: &str, contract: Contract, patience: Duration) -> Result<Function, LoadError> {
    let module = Module::from_bytes(engine, "guest.wat", wat.as_bytes())?;
    let (mut settings, _) = config(contract);
    settings.limits.queue_timeout = patience;
    Function::new(&Host::new(engine, &HostFunctions::new())?, &module, settings)
}

/// What the module of many faces and one instance of it take.
async fn sizes() -> (usize, usize) {
    let ceiling = Ceiling::default();
    let function = function(&engine(&ceiling), TRICKS, Contract::Instances(1), DEADLINE).unwrap();
    let code = ceiling.held();
    function.start().await.unwrap();
    let instance = ceiling.held() - code;
    function.stop(DEADLINE).await;
    assert_eq!(ceiling.held(), code, "an instance that has ended takes nothing");
    drop(function);
    assert_eq!(ceiling.held(), 0, "nor does a module that nobody has");
    (code, instance)
}

#[tokio::test]
async fn an_instance_takes_its_memory_and_its_stack() {
    let (code, instance) = sizes().await;
    assert!(code > 1000, "{code}");
    // Two pages, half a MiB of stack, and little more.
    assert!((2 * PAGE + (512 << 10)..2 * PAGE + (640 << 10)).contains(&instance), "{instance}");
    let ceiling = Ceiling::default();
    let more = "(global i64 (i64.const 1))".repeat(1000) + "(table 500 funcref) (table 20 funcref)";
    let wat = TRICKS.replacen("(global $heap", &format!("{more} (global $heap"), 1);
    let function = function(&engine(&ceiling), &wat, Contract::Instances(1), DEADLINE).unwrap();
    let code = ceiling.held();
    function.start().await.unwrap();
    assert_eq!(ceiling.held() - code, instance + 1000 * 16 + 2 * 500 * 8);
}

/// The pool keeps them: they stay counted, and the next instance has them.
#[tokio::test]
async fn stacks_are_counted_while_they_are_there() {
    const STACK: usize = 512 << 10;
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::new("answer", Reply::Framed, |_, []: [&[u8]; 0]| Ok(b"yes".to_vec())));
    let answering = WAITS.replacen("\"wait\"", "\"answer\"", 1);
    let plain = answering.replacen("(import \"env\" \"answer\" (func $wait (param i32 i32) (result i32)))", "", 1);
    let plain = plain.replacen("(drop (call $wait (i32.const 0) (i32.const 4)))", "", 1);
    let held = async |wat: &str| {
        let ceiling = Ceiling::default();
        let engine = engine(&ceiling);
        let module = Module::from_bytes(&engine, "guest.wat", wat.as_bytes()).unwrap();
        let host = Host::new(&engine, &functions).unwrap();
        let function = Function::new(&host, &module, config(Contract::Instances(1)).0).unwrap();
        let code = ceiling.held();
        function.start().await.unwrap();
        let taken = ceiling.held() - code;
        assert_eq!(ceiling.idle(), 0);
        function.stop(DEADLINE).await;
        assert_eq!(ceiling.held(), code);
        let idle = ceiling.idle();
        let function = Function::new(&host, &module, config(Contract::Instances(1)).0).unwrap();
        function.start().await.unwrap();
        assert_eq!((ceiling.held() - code, ceiling.idle()), (taken, 0), "it has the stacks of the one before");
        (taken, idle)
    };
    let (one, idle) = held(&plain).await;
    assert_eq!(idle, STACK);
    // Where the host asks for a place for its answers, there are calls within calls.
    let (two, idle) = held(&answering).await;
    assert_eq!((two - one, idle), (STACK, 2 * STACK));
}

#[tokio::test]
async fn memory_is_refused_at_the_page_and_the_reason_named() {
    let (code, instance) = sizes().await;
    for (pages, grown) in [(17, true), (16, false)] {
        let limit = code + instance + pages * PAGE;
        let ceiling = Ceiling::new(limit);
        let function = function(&engine(&ceiling), TRICKS, Contract::Instances(1), DEADLINE).unwrap();
        let error = function.handle("g").await.unwrap_err();
        assert!(
            error.to_string().ends_with(&format!(
                " (it was refused memory: the process is at its limit of {limit} bytes, flag `--maxTotalMemory`)"
            )),
            "{error}"
        );
        assert_eq!(error.trap().unwrap().memory_refused, Some(MemoryLimit::Process(limit)));
        assert_eq!(ceiling.refused(), 1);
        assert_eq!(ceiling.held(), code, "what broke has given all back");
        // The guest takes 17 pages at once for it.
        let argument = vec![b'e'; 16 * PAGE - 64];
        assert_eq!(function.handle(argument).await.is_ok(), grown, "{pages} pages");
        assert_eq!(function.handle("c").await.unwrap(), if grown { "44" } else { "43" });
    }
}

#[tokio::test]
async fn what_the_module_itself_forbids_is_not_paid_for() {
    let wat = TRICKS.replacen("(memory (export \"memory\") 2)", "(memory (export \"memory\") 2 17)", 1);
    let (code, instance) = sizes().await;
    let ceiling = Ceiling::default();
    let function = function(&engine(&ceiling), &wat, Contract::Instances(1), DEADLINE).unwrap();
    function.start().await.unwrap();
    let error = function.handle("g").await.unwrap_err();
    assert_eq!(error.trap().unwrap().memory_refused, None, "{error}");
    assert_eq!(function.handle("c").await.unwrap(), "43");
    assert!(ceiling.held().abs_diff(code + instance) < 1000, "{} {code} {instance}", ceiling.held());
    // 16 pages are more than the module may have: refused before any are reserved.
    let large = function.handle(vec![b'e'; 16 * PAGE]).await.unwrap_err();
    assert!(matches!(large, CallError::Protocol(_)), "{large}");
    assert_eq!(ceiling.refused(), 0);
}

#[tokio::test]
async fn tables_count_as_they_grow() {
    let wat = r#"(module (memory (export "memory") 1) (table $t 10 funcref)
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "callHandle") (param i32 i32) (result i64)
            (i32.store8 (i32.const 16) (i32.const 83))
            (i32.store8 (i32.const 17) (i32.add (i32.const 49) (i32.lt_s (table.grow (ref.null func) (i32.const 1000)) (i32.const 0))))
            (i64.const 0x1000000002)))"#;
    let ceiling = Ceiling::default();
    let engine = engine(&ceiling);
    let function = function(&engine, wat, Contract::Instances(1), DEADLINE).unwrap();
    function.start().await.unwrap();
    let before = ceiling.held();
    for count in 1..=3 {
        assert_eq!(function.handle("").await.unwrap(), "1");
        assert_eq!(ceiling.held(), before + count * 8000);
    }
    let rest = ceiling.reserve(ceiling.free()).unwrap();
    assert_eq!(function.handle("").await.unwrap(), "2", "no room: `table.grow` fails in the guest");
    drop(rest);
    assert_eq!(function.handle("").await.unwrap(), "1");
}

#[tokio::test]
async fn an_instance_waits_for_memory_and_is_refused_when_none_comes() {
    let (code, instance) = sizes().await;
    let ceiling = Ceiling::new(code + 2 * instance - 1);
    let engine = engine(&ceiling);
    let module = Module::from_bytes(&engine, "guest.wat", TRICKS.as_bytes()).unwrap();
    let host = Host::new(&engine, &HostFunctions::new()).unwrap();
    let make = |patience| {
        let (mut settings, _) = config(Contract::Instances(1));
        settings.limits.queue_timeout = patience;
        Function::new(&host, &module, settings).unwrap()
    };
    let first = make(DEADLINE);
    assert_eq!(first.handle("c").await.unwrap(), "43");
    let hasty = make(Duration::from_millis(1));
    let CallError::Busy(busy) = hasty.handle("c").await.unwrap_err() else { panic!("it was not refused") };
    let BusyReason::Memory(full) = busy.reason else { panic!("{busy:?}") };
    assert_eq!((full.limit, full.has_its_part), (code + 2 * instance - 1, false));
    assert!(busy.is_load());
    assert_eq!(
        hasty.handle("c").await.unwrap_err().to_string(),
        format!("there is no room for a new instance: {full}")
    );
    assert_eq!(hasty.stats().refused, 2);
    assert_eq!(first.handle("c").await.unwrap(), "44", "the neighbour is served");
    let patient = make(DEADLINE);
    let waiting = tokio::spawn({
        let patient = patient.clone();
        async move { patient.handle("c").await }
    });
    while !ceiling.has_waiters() {
        tokio::task::yield_now().await;
    }
    first.stop(DEADLINE).await;
    assert_eq!(waiting.await.unwrap().unwrap(), "43");
    // One byte more, and two fit.
    drop((patient, hasty, module, host, engine));
    let engine = self::engine(&Ceiling::new(code + 2 * instance));
    let module = Module::from_bytes(&engine, "guest.wat", TRICKS.as_bytes()).unwrap();
    let host = Host::new(&engine, &HostFunctions::new()).unwrap();
    let two = [(); 2].map(|()| {
        let (mut settings, _) = config(Contract::Instances(1));
        settings.limits.queue_timeout = Duration::from_millis(1);
        Function::new(&host, &module, settings).unwrap()
    });
    for function in &two {
        function.start().await.unwrap();
    }
}

/// A function that may have four instances and finds room for one serves with that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_memory_takes_an_instance_that_comes_free_as_well() {
    let (code, instance) = sizes().await;
    let ceiling = Ceiling::new(code + 2 * instance - 1);
    let function = function(&engine(&ceiling), TRICKS, Contract::Instances(4), DEADLINE).unwrap();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let function = function.clone();
            tokio::spawn(async move { function.handle("b").await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let stats = function.stats();
    assert_eq!((stats.started, stats.succeeded, stats.refused), (1, 50, 0));
    assert_eq!((ceiling.refused(), ceiling.has_waiters()), (0, false));
    // All slots but the one are free again: a function that is stopped waits for none of them.
    assert_eq!(function.stop(DEADLINE).await, 0);
}

#[tokio::test]
async fn fresh_instances_wait_for_each_other() {
    let (functions, permits) = waiting();
    let wat = WAITS;
    let ceiling = Ceiling::default();
    let engine_of = |ceiling: &Ceiling| engine(ceiling);
    let make = |ceiling: &Ceiling| {
        let engine = engine_of(ceiling);
        let module = Module::from_bytes(&engine, "guest.wat", wat.as_bytes()).unwrap();
        let (mut settings, _) = config(Contract::Fresh);
        settings.limits.queue_timeout = DEADLINE;
        Function::new(&Host::new(&engine, &functions).unwrap(), &module, settings).unwrap()
    };
    let function = make(&ceiling);
    let code = ceiling.held();
    let call = tokio::spawn(async move { function.handle("").await });
    while ceiling.held() == code {
        tokio::task::yield_now().await;
    }
    let instance = ceiling.held() - code;
    permits.add_permits(1);
    call.await.unwrap().unwrap();
    assert_eq!(ceiling.held(), 0);

    let ceiling = Ceiling::new(code + 3 * instance);
    let function = make(&ceiling);
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let function = function.clone();
            tokio::spawn(async move { function.handle("").await })
        })
        .collect();
    for _ in 0..10 {
        permits.add_permits(1);
        tokio::task::yield_now().await;
        assert!(ceiling.held() <= code + 3 * instance);
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "let go");
    }
    assert_eq!((ceiling.held(), ceiling.refused()), (code, 0));
}

#[tokio::test]
async fn a_module_that_finds_no_room_is_refused_for_now() {
    let (code, instance) = sizes().await;
    let ceiling = Ceiling::new(100 * TRICKS.len());
    let engine = engine(&ceiling);
    // Text takes a hundred times its size while it is read.
    let rest = ceiling.reserve(1).unwrap();
    let refused = |engine: &Engine| Module::from_bytes(engine, "guest.wat", TRICKS.as_bytes()).err().unwrap();
    assert_eq!(refused(&engine).kind(), LoadErrorKind::Memory);
    drop(rest);
    assert!(Module::from_bytes(&engine, "guest.wat", TRICKS.as_bytes()).is_ok());

    let wasm = wat::parse_str(TRICKS).unwrap();
    let ceiling = Ceiling::new(code - 1);
    let error = Module::from_bytes(&self::engine(&ceiling), "m", &wasm).err().unwrap();
    assert_eq!(error.kind(), LoadErrorKind::Memory);
    let full = format!("the memory of the process is at its limit of {} bytes (flag `--maxTotalMemory`)", code - 1);
    assert_eq!(error.to_string(), format!("there is no room for module `m`: {full}"));
    assert_eq!(ceiling.held(), 0);
    // What can never fit is said when it is linked, without waiting.
    let engine = self::engine(&Ceiling::new(instance - 1));
    let module = Module::from_bytes(&engine, "m", &wasm).unwrap();
    let host = Host::new(&engine, &HostFunctions::new()).unwrap();
    let error = Function::new(&host, &module, config(Contract::Instances(1)).0).err().unwrap();
    assert_eq!(error.kind(), LoadErrorKind::Limit);
    assert_eq!(
        error.to_string(),
        format!("module `m` needs {instance} bytes of memory, the limit is {}", instance - 1)
    );
    assert_eq!(error.hint(), Some("raise it with `--maxTotalMemory`"));
}

fn bounded(bytes: usize, functions: usize) -> Engine {
    let mut settings = EngineConfig::default();
    settings.max_instances = 4;
    settings.max_module = bytes;
    settings.max_functions = functions;
    Engine::new(&settings).unwrap()
}

#[tokio::test]
async fn a_module_is_limited_to_the_byte_and_the_function() {
    let wasm = wat::parse_str(TRICKS).unwrap();
    let count = wasm.len();
    let refusal = |engine: &Engine, bytes: &[u8]| {
        let error = Module::from_bytes(engine, "m", bytes).err().expect("refused");
        assert_eq!(error.kind(), LoadErrorKind::Limit);
        error.to_string()
    };
    assert!(Module::from_bytes(&bounded(count, 100), "m", &wasm).is_ok());
    assert_eq!(
        refusal(&bounded(count - 1, 100), &wasm),
        format!("module `m` has {count} bytes, the limit is {} (flag `--maxModule`)", count - 1)
    );
    // Text has a size of its own.
    let text = format!("{TRICKS:<9000}");
    assert!(Module::from_bytes(&bounded(9000, 100), "m", text.as_bytes()).is_ok());
    assert!(refusal(&bounded(8999, 100), text.as_bytes()).contains("has 9000 bytes, the limit is 8999"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.wasm");
    std::fs::write(&path, &wasm).unwrap();
    assert!(Module::from_file(&bounded(count, 100), &path).is_ok());
    let error = Module::from_file(&bounded(count - 1, 100), &path).err().unwrap().to_string();
    assert!(error.ends_with(&format!("has {count} bytes, the limit is {} (flag `--maxModule`)", count - 1)), "{error}");

    let many = |count: usize| wat::parse_str(format!("(module {})", "(func)".repeat(count))).unwrap();
    assert!(Module::from_bytes(&bounded(1 << 20, 50), "m", &many(50)).is_ok());
    assert_eq!(
        refusal(&bounded(1 << 20, 50), &many(51)),
        "module `m` has 51 functions, the limit is 50 (`--maxModule=none` lifts it)"
    );
}

/// Neither is read to its end: it has none.
#[cfg(target_os = "linux")]
#[test]
fn what_has_no_size_is_read_up_to_the_limit() {
    let error = Module::from_file(&bounded(1000, 10), std::path::Path::new("/dev/zero")).err().unwrap();
    assert_eq!(
        error.to_string(),
        "module `/dev/zero` has more than 1000 bytes, the limit is 1000 (flag `--maxModule`)"
    );
}
