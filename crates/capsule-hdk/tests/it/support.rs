//! Guests and settings for the tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capsule_hdk::{
    CallError, Contract, Engine, EngineConfig, Function, FunctionConfig, Host, HostFunction, HostFunctions, LoadError,
    MemoryOutput, Module, Reply,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long anything may take before a test fails: a loaded machine is not a defect.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The module of many faces; its first lines say what each first byte of the argument does.
pub(crate) const TRICKS: &str = include_str!("../../../../fixtures/tricks.wat");

/// An engine with a small pool.
pub(crate) fn engine() -> Engine {
    let mut config = EngineConfig::default();
    config.max_instances = 16;
    Engine::new(&config).expect("the engine starts")
}

/// Settings with a time limit that only a failing test reaches, and output in memory.
pub(crate) fn config(contract: Contract) -> (FunctionConfig, Arc<MemoryOutput>) {
    let output = Arc::new(MemoryOutput::default());
    let mut config = FunctionConfig::new("test");
    config.contract = contract;
    config.limits.call_timeout = Some(Duration::from_secs(60));
    config.output = output.clone();
    (config, output)
}

pub(crate) fn try_function(wat: &str, config: FunctionConfig) -> Result<Function, LoadError> {
    function_with(wat, config, &HostFunctions::new())
}

pub(crate) fn function_with(
    wat: &str,
    config: FunctionConfig,
    functions: &HostFunctions,
) -> Result<Function, LoadError> {
    let engine = engine();
    let module = Module::from_bytes(&engine, "guest.wat", wat.as_bytes())?;
    Function::new(&Host::new(&engine, functions)?, &module, config)
}

/// The module of many faces with a contract.
pub(crate) fn tricks(contract: Contract) -> Function {
    try_function(TRICKS, config(contract).0).expect("the guest loads")
}

/// The answer of a function whose time limit is so short that a loaded machine may miss it: asked again until it does not.
pub(crate) async fn answer_at_last(function: &Function, argument: &'static str) -> Bytes {
    let begin = Instant::now();
    loop {
        match function.handle(argument).await {
            Ok(answer) => return answer,
            Err(error) => {
                let late = error.to_string().contains("exceeded its time limit") || matches!(error, CallError::Busy(_));
                assert!(late && begin.elapsed() < DEADLINE, "{error}");
            }
        }
    }
}

/// Calls of `callHandle` wait in the host until they are given permits; the answer is `let go`. Those of `callHandleJSON` answer
/// nothing at once.
pub(crate) const WAITS: &str = r#"(module
    (import "env" "wait" (func $wait (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "malloc") (param i32) (result i32) (i32.const 2048))
    (func (export "allocateBuffer") (param i32) (result i32) (i32.const 1024))
    (func (export "callHandle") (param i32 i32) (result i64)
        (drop (call $wait (i32.const 0) (i32.const 4)))
        (i64.or (i64.shl (i64.extend_i32_u (i32.load (i32.const 0))) (i64.const 32))
                (i64.extend_i32_u (i32.load (i32.const 4)))))
    (data (i32.const 256) "S")
    (func (export "callHandleJSON") (param i32 i32) (result i64) (i64.const 0x10000000001)))"#;

/// The host function of [`WAITS`], and the permits that it takes one of.
pub(crate) fn waiting() -> (HostFunctions, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let taken = Arc::clone(&permits);
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::waiting("wait", Reply::Framed, move |_, []: [Vec<u8>; 0]| {
        let permits = Arc::clone(&taken);
        async move {
            permits.acquire().await.unwrap().forget();
            Ok(b"let go".to_vec())
        }
    }));
    (functions, permits)
}
