//! Functions as servers make them, with output that nobody reads, and the time of many calls.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capsule_hdk::{
    CallError, Contract, Engine, EngineConfig, Function, FunctionConfig, Host, HostFunctions, Module, Output, Stream,
};
use tokio::runtime::Runtime;

/// One engine and its runtime: what a server has.
pub(super) struct Stage {
    runtime: Runtime,
    host: Host,
}

impl Stage {
    pub(super) fn new() -> Stage {
        let runtime = Runtime::new().unwrap();
        let mut functions = HostFunctions::new();
        capsule_hostfns::standard(&mut functions);
        let engine = Engine::new(&EngineConfig::default()).unwrap();
        let host = Host::new(&engine, &functions).unwrap();
        Stage { runtime, host }
    }

    /// A function of the module in a file.
    pub(super) fn of_file(&self, file: &Path, contract: Contract) -> Function {
        self.of(&Module::from_file(self.host.engine(), file).unwrap(), contract)
    }

    /// A function of a module as text.
    pub(super) fn of_text(&self, text: &str, contract: Contract) -> Function {
        self.of(&Module::from_bytes(self.host.engine(), "guest.wat", text.as_bytes()).unwrap(), contract)
    }

    fn of(&self, module: &Module, contract: Contract) -> Function {
        let _within = self.runtime.enter();
        let mut config = FunctionConfig::new("measured");
        config.contract = contract;
        config.output = Arc::new(Nowhere);
        let function = Function::new(&self.host, module, config).unwrap();
        self.runtime.block_on(function.start()).unwrap();
        function
    }

    /// How long it takes to do something `count` times, one after the other, on a thread of the runtime.
    pub(super) fn time<T, F>(
        &self,
        function: &Function,
        count: u64,
        act: impl Fn(Function) -> F + Send + Sync + 'static,
    ) -> Duration
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        let function = function.clone();
        let task = self.runtime.spawn(async move {
            let begin = Instant::now();
            for _ in 0..count {
                act(function.clone()).await?;
            }
            Ok::<Duration, CallError>(begin.elapsed())
        });
        self.runtime.block_on(task).unwrap().unwrap()
    }
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Output for Nowhere {
    fn try_write(&self, _: Stream, _: &[u8]) -> bool {
        true
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}
