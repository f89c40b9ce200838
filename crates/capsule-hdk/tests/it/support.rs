//! Guests and settings for the tests.

use std::sync::Arc;
use std::time::Duration;

use capsule_hdk::{
    Contract, Engine, EngineConfig, Function, FunctionConfig, Host, HostFunctions, LoadError, MemoryOutput, Module,
};

/// The module of many faces; its first lines say what each first byte of the argument does.
pub(crate) const TRICKS: &str = include_str!("../../../../fixtures/tricks.wat");

/// An engine with a small pool.
pub(crate) fn engine() -> Engine {
    let mut config = EngineConfig::default();
    config.max_instances = 16;
    Engine::new(&config).expect("the engine starts")
}

/// Settings with a time limit that tests can wait for, and output in memory.
pub(crate) fn config(contract: Contract) -> (FunctionConfig, Arc<MemoryOutput>) {
    let output = Arc::new(MemoryOutput::default());
    let mut config = FunctionConfig::new("test");
    config.contract = contract;
    config.limits.call_timeout = Some(Duration::from_secs(10));
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
