//! A server of functions in the test's own process, and the program around it in small.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use capsule_faas::StoreErrorKind;
use capsule_faas::modules::Modules;
use capsule_faas::runtime::{
    Children, Demands, Faas, FaasConfig, FaasError, FaasErrorKind, FunctionReply, Platform, Source,
};
use capsule_faas::store::Store;
use capsule_faas_model::Refusal;
use capsule_faas_model::args::{FlagInfo, FlagScope, FlagTable, FlagValue, function_flags};
use capsule_faas_model::lifecycle::Sleep;
use capsule_faas_model::names::{FunctionName, Key, Revision};
use capsule_faas_model::record::Status;
use capsule_faas_model::spec::{Origin, Spec};
use capsule_faas_model::start::StartBody;
use capsule_faas_model::target::{Selector, Target, parse};
use capsule_hdk::{
    Call, Contract, Engine, EngineConfig, Extensions, FunctionConfig, Host, HostContext, HostFunction, HostFunctions,
    Kind, MemoryOutput, Network, Reach, Reply, Stream, Value, ValueType,
};
use futures_util::future::BoxFuture;
use tempfile::TempDir;

use crate::support::DEADLINE;

/// The module of many faces; its first lines say what each first byte of the argument does.
pub(crate) const TRICKS: &str = include_str!("../../../../fixtures/tricks.wat");
/// Prints `OnStart`, `call` and `OnStop`.
pub(crate) const LIFECYCLE: &str = include_str!("../../../../fixtures/lifecycle.wat");
/// Calls the host function that its argument chooses.
pub(crate) const HOST: &str = include_str!("../../../../fixtures/host.wat");

/// Computes until the test's [`Program`] is `released`, then answers `released`.
pub(crate) const COMPUTES: &str = r#"(module
    (import "env" "isReleased" (func $is_released (result i32)))
    (memory (export "memory") 1) (data (i32.const 16) "Sreleased")
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "callHandle") (param i32 i32) (result i64)
        (loop $again (br_if $again (i32.eqz (call $is_released))))
        (i64.const 0x1000000009)))"#;

/// A module that answers this text.
pub(crate) fn says(text: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 16) "S{text}")
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "callHandle") (param i32 i32) (result i64)
                (i64.const {})))"#,
        (16_u64 << 32) + text.len() as u64 + 1
    )
}

/// Flags and settings as a program would have them.
pub(crate) struct Program {
    pub(crate) fetches: AtomicUsize,
    /// What every URL leads to.
    pub(crate) remote: Option<String>,
    /// Lets the guests of [`COMPUTES`] come to their end.
    pub(crate) released: Arc<AtomicBool>,
}

impl FlagTable for Program {
    fn find(&self, typed: &str) -> Option<FlagInfo> {
        let names = [
            "wasm",
            "url",
            "stopAfter",
            "callTimeout",
            "queueTimeout",
            "maxResult",
            "instances",
            "allowHosts",
            "authHeaderValue",
        ];
        let name = names.into_iter().find(|name| *name == typed)?;
        Some(FlagInfo { name, scope: FlagScope::Function, switch: false, secret: name == "authHeaderValue" })
    }

    fn mask(&self, secret: bool, value: &str) -> String {
        if secret { "***".into() } else { value.into() }
    }
}

impl Program {
    fn value(&self, spec: &Spec, name: &str) -> Result<Option<String>, Refusal> {
        let flags: Vec<FlagValue> = function_flags(&spec.args, self)?;
        Ok(flags.into_iter().rev().find(|flag| flag.name == name).and_then(|flag| flag.value))
    }

    /// Milliseconds, so that tests are short.
    fn time(&self, spec: &Spec, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.value(spec, name)? else { return Ok(None) };
        let wrong = |_| Refusal::invalid(format!("`-{name}`: expected a number, found `{text}`"));
        text.parse().map(Duration::from_millis).map(Some).map_err(wrong)
    }
}

impl Platform for Program {
    fn demands(&self, spec: &Spec) -> Result<Demands, Refusal> {
        let source = Source::of(self.value(spec, "wasm")?.as_deref(), self.value(spec, "url")?.as_deref())?;
        let stateless = self.value(spec, "instances")?.as_deref() == Some("fresh");
        let sleep = Sleep { after: self.time(spec, "stopAfter")?, stateless };
        Ok(Demands { source, sleep, instances: (!stateless).then_some(1), body: 10 << 20 })
    }

    fn shared(&self, _: &Spec) -> Extensions {
        let mut shared = Extensions::default();
        shared.insert(Arc::new(Cache::default()));
        shared
    }

    fn configure(&self, spec: &Spec, shared: &Extensions) -> Result<FunctionConfig, Refusal> {
        let mut config = FunctionConfig::new("");
        config.limits.call_timeout = Some(self.time(spec, "callTimeout")?.unwrap_or(Duration::from_secs(20)));
        if let Some(time) = self.time(spec, "queueTimeout")? {
            config.limits.queue_timeout = time;
        }
        if let Some(bytes) = self.value(spec, "maxResult")? {
            config.limits.result = bytes.parse().unwrap();
        }
        if self.value(spec, "instances")?.as_deref() == Some("fresh") {
            config.contract = Contract::Fresh;
        }
        config.capabilities.environment =
            spec.env.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        config.capabilities.network = Network { reach: Reach::Public, allowed: Vec::new() };
        config.capabilities.network.allowed.extend(self.value(spec, "allowHosts")?);
        config.extensions = shared.clone();
        config.extensions.insert(Arc::clone(&self.released));
        Ok(config)
    }

    fn inherited(&self, _: &Spec) -> Vec<String> {
        Vec::new()
    }

    fn fetch(&self, _: &Spec) -> BoxFuture<'static, Result<Bytes, FaasError>> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let answer = match &self.remote {
            Some(text) => Ok(Bytes::from(text.clone())),
            None => Err(FaasError::new(FaasErrorKind::Invalid, "the download failed: 404")),
        };
        Box::pin(async move { answer })
    }
}

/// A server on a data folder, with modules beside it.
pub(crate) struct World {
    pub(crate) faas: Faas,
    pub(crate) output: Arc<MemoryOutput>,
    pub(crate) program: Arc<Program>,
    folder: TempDir,
    max_instances: usize,
    children: Option<Children>,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(64, None)
    }

    pub(crate) fn with(max_instances: usize, remote: Option<String>) -> World {
        World::with_all(max_instances, remote, None)
    }

    /// One that runs child processes too.
    pub(crate) fn with_children(children: Children) -> World {
        World::with_all(64, None, Some(children))
    }

    fn with_all(max_instances: usize, remote: Option<String>, children: Option<Children>) -> World {
        let folder = tempfile::tempdir().unwrap();
        let program = Arc::new(Program { fetches: AtomicUsize::new(0), remote, released: Arc::default() });
        let output = Arc::new(MemoryOutput::default());
        let faas = open(folder.path(), max_instances, &program, &output, children.clone());
        World { faas, output, program, folder, max_instances, children }
    }

    /// What a crash and a new start leave: the server is dropped, not stopped.
    pub(crate) fn reopened(self) -> World {
        let World { faas, output, program, folder, max_instances, children } = self;
        drop(faas);
        let faas = open(folder.path(), max_instances, &program, &output, children.clone());
        World { faas, output, program, folder, max_instances, children }
    }

    /// A module as a file.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts `name/revision` from module text, with more arguments.
    pub(crate) async fn start(&self, place: &str, text: &str, more: &[&str]) -> Result<Key, FaasError> {
        let path = self.file(&format!("{}.wat", place.replace('/', "-")), text);
        self.start_args(place, &[&[format!("-wasm={}", path.display()).as_str()], more].concat(), &[]).await
    }

    pub(crate) async fn start_args(&self, place: &str, args: &[&str], env: &[&str]) -> Result<Key, FaasError> {
        let place = selector(place);
        let body = StartBody {
            name: place.name,
            revision: place.revision.unwrap_or_default(),
            description: String::new(),
            spec: Spec {
                args: [""].iter().chain(args).map(|word| (*word).to_owned()).collect(),
                env: env.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>().try_into().unwrap(),
                ..Spec::default()
            },
        };
        self.faas.start(body, Origin::Api).await
    }

    /// The text that a function answers.
    pub(crate) async fn ask(&self, place: &str, argument: &str) -> String {
        ask(&self.faas, place, argument).await
    }

    pub(crate) fn status(&self, key: &str) -> Status {
        self.faas.processes()[&key.parse::<Key>().unwrap()].current_status
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.faas.processes().keys().map(Key::to_string).collect()
    }
}

fn open(
    folder: &Path,
    max_instances: usize,
    program: &Arc<Program>,
    output: &Arc<MemoryOutput>,
    children: Option<Children>,
) -> Faas {
    let mut config = EngineConfig::default();
    config.max_instances = max_instances;
    let engine = Engine::new(&config).unwrap();
    let host = Host::new(&engine, &host_functions()).unwrap();
    let store = store(&folder.join("data"));
    let modules = Modules::open(&store).unwrap();
    let mut config = FaasConfig::new(host, store, modules, program.clone(), output.clone());
    config.children = children;
    Faas::open(config).unwrap()
}

/// What the processes of a revision share.
#[derive(Default)]
struct Cache(Mutex<BTreeSet<Vec<u8>>>);

/// What the guests import, as far as these tests need it: environment, output, and a cache of keys alone.
fn host_functions() -> HostFunctions {
    fn keys(context: &HostContext) -> Arc<Cache> {
        context.extension().unwrap()
    }
    let mut functions = HostFunctions::new();
    functions
        .add(HostFunction::new("hostPrintString", Reply::Nothing, |context, [text]| {
            context.print(Stream::Stdout, &[text, b"\n"]);
            Ok(Vec::new())
        }))
        .add(HostFunction::new("hostGetEnv", Reply::Raw, |context, [name]| {
            let name = String::from_utf8_lossy(name);
            Ok(context.capabilities().variable(&name).unwrap_or_default().into())
        }))
        .add(HostFunction::new("hostCacheSet", Reply::Framed, |context, [key, _]| {
            keys(context).0.lock().unwrap().insert(key.into());
            Ok(key.into())
        }))
        .add(HostFunction::new("hostCacheKeys", Reply::Framed, |context, [_]| {
            Ok(keys(context).0.lock().unwrap().iter().cloned().collect::<Vec<_>>().join(&b' '))
        }))
        .add(HostFunction::new("hostLogString", Reply::Nothing, |_, [_]| Ok(Vec::new())))
        .add(HostFunction::new("hostWriteFile", Reply::Framed, |_, [_, _]| Err("not here".into())));
    for name in ["hostReadFile", "hostRedisGet", "hostHTTP"] {
        functions.add(HostFunction::new(name, Reply::Framed, |_, [_]| Err("not here".into())));
    }
    functions.add(HostFunction::raw("isReleased", &[], &[ValueType::I32], |context, _, _| {
        let released = context.extension::<AtomicBool>().unwrap();
        Ok(vec![Value::I32(released.load(Ordering::SeqCst).into())])
    }));
    functions.add(HostFunction::new("hostTalk", Reply::Raw, |_, [_]| Ok(Vec::new())));
    functions
}

/// The store of a folder. A server that was dropped a moment ago may have a task that comes to its end.
fn store(folder: &Path) -> Store {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match Store::open(folder) {
            Err(error) if error.kind() == StoreErrorKind::InUse && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

/// The answer as text; an error as `status: text`.
pub(crate) async fn ask(faas: &Faas, place: &str, argument: &str) -> String {
    match faas.call(&selector(place), Call::new(Kind::Text, argument.to_owned())).await {
        Ok(answer) => match answer.result {
            Ok(FunctionReply::Inside(answer)) => String::from_utf8_lossy(&answer.into_body()).into_owned(),
            Ok(FunctionReply::Child(answer)) => panic!("from a child: {answer:?}"),
            Err(error) => format!("failed: {error}"),
        },
        Err(error) => format!("{}: {error}", error.status()),
    }
}

pub(crate) fn selector(place: &str) -> Selector {
    match parse(place).unwrap() {
        Target::Call { selector, .. } => selector,
        Target::Admin(_) => panic!("{place} is no function"),
    }
}

pub(crate) fn name(text: &str) -> FunctionName {
    FunctionName::new(text).unwrap()
}

pub(crate) fn revision(text: &str) -> Revision {
    Revision::new(text).unwrap()
}

/// Waits until something holds that no event announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "in vain: {what}");
}
