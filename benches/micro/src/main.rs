//! Calls a function from within the process, without a protocol: what the host SDK does with the cores that it is given.
//!
//!     bench-in-process MODULE SECONDS
//!
//! The function has as many instances as there are cores (`Contract::auto`), and more callers than that. After a second of warming they
//! call for some seconds, and stdout gets the calls per second. Whoever wants fewer cores starts it with `taskset`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use capsule_abi::exchange;
use capsule_abi::request::RequestParts;
use capsule_hdk::{Call, Contract, Engine, EngineConfig, Function, FunctionConfig, Host, HostFunctions, Module};

/// As in servers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Callers for each core: one has its call served, the others wait for their turn, so that no core does.
const CALLERS: usize = 8;
/// Before anything is counted.
const WARMING: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [module, seconds] = &words[..] else { bail!("expected MODULE SECONDS") };
    let time = Duration::from_secs(seconds.parse().with_context(|| format!("`{seconds}` is no number of seconds"))?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rate = runtime.block_on(measure(Path::new(module), time))?;
    writeln!(std::io::stdout(), "{rate:.1}")?;
    Ok(())
}

async fn measure(module: &Path, time: Duration) -> anyhow::Result<f64> {
    let engine = Engine::new(&EngineConfig::default())?;
    let module = Module::from_file(&engine, module)?;
    let mut config = FunctionConfig::new("measured");
    config.contract = Contract::auto();
    let function = Function::new(&Host::new(&engine, &HostFunctions::new())?, &module, config)?;
    function.start().await?;
    let parts = RequestParts { method: "GET", scheme: "http", host: "localhost", path: "/", ..Default::default() };
    let call = Call::request(exchange::request(&parts, std::iter::empty), "");
    calls(&function, &call, WARMING).await?;
    calls(&function, &call, time).await
}

/// Calls from many tasks for a while; answers how many have come back each second.
async fn calls(function: &Function, call: &Call, time: Duration) -> anyhow::Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let callers = CALLERS * std::thread::available_parallelism()?.get();
    let begin = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (function, call, over) = (function.clone(), call.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut count = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    function.exchange(call.clone()).await?;
                    count += 1;
                    // A call that needs not wait does not let others run either; a server's connection does.
                    tokio::task::yield_now().await;
                }
                Ok::<u64, capsule_hdk::CallError>(count)
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}
