//! One engine with a good function for all inputs, and the checks of a function beside it.

use std::fs;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use capsule_abi::request::RequestParts;
use capsule_abi::{exchange, request, response};
use capsule_hdk::{
    Answer, BusyReason, Call, CallError, Contract, Engine, EngineConfig, Fault, Folder, Function, FunctionConfig, Host,
    HostFunctions, Kind, LoadErrorKind, Module, Output, Stream,
};
use capsule_hostfns::Services;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::guest::Plan;

/// Time of a call.
const DEADLINE: Duration = Duration::from_millis(100);
/// What a busy machine adds to it: instrumented code on a loaded core, and the check of a bulk instruction's end.
const MARGIN: Duration = Duration::from_secs(10);
/// Memory of an instance.
const MEMORY: usize = 16 << 20;
/// Elements of a table.
pub(crate) const TABLE_ELEMENTS: usize = 1_000;
/// Places for instances: so few that one which does not come back is missed.
const INSTANCES: usize = 4;
/// The only file in the folder that modules may read.
const FILE: (&str, &str) = ("file.txt", "unchanged");

const KINDS: [Kind; 7] =
    [Kind::Text, Kind::Json, Kind::Http, Kind::Request, Kind::Message, Kind::Health, Kind::Metrics];

/// What lives as long as the process.
struct World {
    runtime: Runtime,
    host: Host,
    good: Function,
    folder: TempDir,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut config = EngineConfig::default();
    config.max_instances = INSTANCES;
    config.long_threads = 2;
    let engine = Engine::new(&config).expect("an engine");
    let mut functions = HostFunctions::new();
    capsule_hostfns::standard(&mut functions);
    let host = Host::new(&engine, &functions).expect("a host");
    let good = Module::from_bytes(&engine, "good", include_bytes!("good.wat")).expect("a module");
    let mut config = FunctionConfig::new("good");
    // Its neighbour may take the cores, and so may others of this machine.
    config.limits.call_timeout = Some(MARGIN);
    let good = runtime.block_on(async { Function::new(&host, &good, config) }).expect("a function");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(FILE.0), FILE.1).expect("a file");
    World { runtime, host, good, folder }
});

/// Loads a module and calls two of its handlers, one of them again and again.
pub(crate) fn run(module: &[u8], plan: Plan) {
    let world = &*WORLD;
    world.runtime.block_on(async {
        let Some(function) = load(world, module, plan) else { return };
        let mut kinds = KINDS.to_vec();
        if KINDS.iter().any(|kind| function.module().exports(kind.export())) {
            kinds.retain(|kind| function.module().exports(kind.export()));
        }
        for number in [plan.first, plan.first, plan.first.wrapping_add(1), plan.first] {
            let call = call(kinds[usize::from(number) % kinds.len()], plan.long);
            let (kind, begin) = (call.kind(), Instant::now());
            let (result, good) = tokio::join!(function.exchange(call), world.good.handle("Bob"));
            let time = begin.elapsed();
            assert!(time < DEADLINE + MARGIN, "{} took {time:?}: {result:?}", kind.export());
            assert_eq!(good.expect("the good function answers"), "Bob");
            check(kind, result);
        }
        assert_eq!(function.stop(MARGIN).await, 0, "calls that do not end");
        // A thread of its own gives large instances back.
        let begin = Instant::now();
        while function.stats().instances > 0 {
            assert!(begin.elapsed() < MARGIN, "an instance stays");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((function.stats().memory, function.stats().waiting), (0, 0));
    });
    let files = fs::read_dir(world.folder.path()).expect("the folder is there").count();
    let text = fs::read_to_string(world.folder.path().join(FILE.0));
    assert_eq!((files, text.ok().as_deref()), (1, Some(FILE.1)), "a module changed what it may only read");
}

/// The function of a module, when it is one.
fn load(world: &World, module: &[u8], plan: Plan) -> Option<Function> {
    let loaded = Module::from_bytes(world.host.engine(), "guest", module)
        .and_then(|module| Function::new(&world.host, &module, settings(world, plan)));
    loaded
        .map_err(|error| {
            assert!(error.kind() != LoadErrorKind::Runner, "{error}");
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        })
        .ok()
}

fn settings(world: &World, plan: Plan) -> FunctionConfig {
    let mut config = FunctionConfig::new("guest");
    config.contract = [Contract::Instances(1), Contract::Instances(2), Contract::Fresh][usize::from(plan.contract) % 3];
    let limits = &mut config.limits;
    limits.call_timeout = Some(DEADLINE);
    limits.memory = MEMORY;
    limits.table_elements = TABLE_ELEMENTS;
    limits.argument = 1 << 20;
    limits.result = 64 << 10;
    limits.host_memory = 1 << 20;
    limits.queue_timeout = MARGIN;
    let capabilities = &mut config.capabilities;
    let host = world.folder.path().to_owned();
    capabilities.folders.push(Folder { host, guest: "/".into(), read_only: true });
    capabilities.environment.push(("A".into(), "1".into()));
    capabilities.arguments.push("guest".into());
    config.output = Arc::new(Nowhere);
    Services::default().attach(&mut config);
    config
}

fn call(kind: Kind, long: bool) -> Call {
    let body = if long { vec![b'x'; 3_000] } else { b"Bob".to_vec() };
    let parts =
        RequestParts { method: "POST", scheme: "http", host: "h", path: "/a", body: &body, ..Default::default() };
    let headers = [("content-type", &b"text/plain"[..])];
    let mut document = Vec::new();
    match kind {
        Kind::Json => document.extend_from_slice(br#"{"name":"Bob"}"#),
        Kind::Http => request::write(&mut document, &parts, || headers.into_iter()),
        Kind::Request => {
            return Call::request(exchange::request(&parts, || headers.into_iter()), Bytes::from(body));
        }
        _ => document = body,
    }
    Call::new(kind, document)
}

/// A result that its document's rules accept or refuse, or an error that is not ours.
fn check(kind: Kind, result: Result<Answer, CallError>) {
    match result {
        Ok(answer) => {
            if kind == Kind::Request {
                let _ = exchange::read_response(answer.head()).map(|head| head.headers.count());
            } else {
                assert!(answer.head().is_empty());
                let _ = response::parse(&answer.into_body());
            }
        }
        Err(error) => {
            assert!(error.fault() != Fault::Runner, "{error}");
            assert!(
                !error.to_string().contains("maximum concurrent limit"),
                "its place is not all that it needs: {error}"
            );
            match &error {
                // The text is the module's own.
                CallError::Failure(_) => {}
                CallError::Busy(busy) => assert_eq!(busy.reason, BusyReason::BackOff, "places are lost"),
                error => assert!(!error.to_string().contains('\n'), "{error:?}"),
            }
        }
    }
}

/// Takes all that is printed.
struct Nowhere;

impl Output for Nowhere {
    fn try_write(&self, _: Stream, _: &[u8]) -> bool {
        true
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
