//! What concerns a whole process: each test runs itself again in a child.
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use capsule_hdk::{Contract, EngineConfig, Function, Host, HostFunction, HostFunctions, Module, Reply};

use crate::support::{DEADLINE, TRICKS, WAITS, config};

/// Set in the child.
const CHILD: &str = "CAPSULE_TEST_CHILD";

/// Runs `test` again in a child that this script of the shell starts with `exec "$@"`; what it wrote to stderr. `None` in the
/// child itself.
fn again(test: &str, script: &str) -> Option<String> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Not even one memory of 4 GiB can be reserved.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_address_space_memories_take_what_they_use() {
    let test = "processes::without_address_space_memories_take_what_they_use";
    if again(test, "ulimit -v 4000000; exec \"$@\"").is_some() {
        return;
    }
    for pooling in [true, false] {
        let mut settings = EngineConfig::default();
        settings.pooling = pooling;
        let engine = capsule_hdk::Engine::new(&settings).unwrap();
        assert!(!engine.is_pooling(), "the address space is not limited");
        let host = Host::new(&engine, &HostFunctions::new()).unwrap();
        let module = Module::from_bytes(&engine, "tricks", TRICKS.as_bytes()).unwrap();
        let (mut settings, _) = config(Contract::Instances(4));
        settings.limits.memory = 64 << 20;
        let function = Function::new(&host, &module, settings).unwrap();
        // The memory grows and moves under what is in it.
        for megabytes in [1, 3, 12] {
            let large = format!("e{}", "0123456789abcdef".repeat(megabytes << 16));
            assert!(function.handle(large.clone()).await.unwrap() == large, "{megabytes} MiB");
        }
        let refused = function.handle("g").await.unwrap_err().to_string();
        assert!(refused.ends_with("at its limit of 67108864 bytes, flag `--maxMemory`)"), "{refused}");
        assert_eq!(function.handle("c").await.unwrap(), "43");
    }
}

/// A host function that panics ends the task of its caller. The call, half done, is not gone on with.
#[tokio::test]
async fn a_call_that_panicked_is_not_gone_on_with() {
    let test = "processes::a_call_that_panicked_is_not_gone_on_with";
    if let Some(log) = again(test, "exec \"$@\"") {
        assert_eq!(log.matches("panicked at").count(), 2, "{log}");
        assert_eq!(log.matches("as tested").count(), 2, "{log}");
        return;
    }
    let panics: fn() = || panic!("as tested");
    let at_once = HostFunction::new("wait", Reply::Framed, move |_, []: [&[u8]; 0]| {
        panics();
        Ok(Vec::new())
    });
    let later = HostFunction::waiting("wait", Reply::Framed, move |_, []: [Vec<u8>; 0]| async move {
        tokio::task::yield_now().await;
        panics();
        Ok(Vec::new())
    });
    for panicking in [at_once, later] {
        let mut functions = HostFunctions::new();
        functions.add(panicking);
        let mut settings = EngineConfig::default();
        settings.long_threads = 1;
        let engine = capsule_hdk::Engine::new(&settings).unwrap();
        let host = Host::new(&engine, &functions).unwrap();
        let make = |text: &str, limit| {
            let module = Module::from_bytes(&engine, "guest", text.as_bytes()).unwrap();
            let (mut settings, _) = config(Contract::Instances(1));
            settings.limits.call_timeout = Some(limit);
            Function::new(&host, &module, settings).unwrap()
        };
        let function = make(WAITS, DEADLINE);
        let called = tokio::spawn({
            let function = function.clone();
            async move { function.handle("").await }
        });
        assert!(called.await.unwrap_err().is_panic());
        // What was handed to the only thread for long calls comes before this call, which ends there.
        make(TRICKS, Duration::from_millis(100)).handle("l").await.unwrap_err();
        // A new instance serves.
        assert_eq!(function.handle_json("").await.unwrap(), "");
        assert_eq!((function.stats().started, function.stats().instances), (2, 1));
    }
}
