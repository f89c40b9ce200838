//! The engine with its host functions, made from what the command line says.

use std::sync::Arc;

use anyhow::Context as _;
use capsule_cmd::capabilities::{CACHE_DIR, Capabilities, cache_dir};
use capsule_cmd::download::{self, Options};
use capsule_cmd::limits::{Limits, MAX_INSTANCES, TotalMemory};
use capsule_cmd::message::HintExt as _;
use capsule_cmd::module_source::ModuleSource;
use capsule_cmd::parse::Parsed;
use capsule_hdk::{
    Buffering, Ceiling, CompileCommand, Compiler, Engine, EngineConfig, Function, FunctionConfig, Host, HostFunctions,
    LoadError, Module, Output, Reach,
};
use capsule_hostfns::Services;
use capsule_hostfns::cache::Cache;
use capsule_hostfns::http::HttpLimits;
use capsule_hostfns::redis::{Redis, RedisSettings};

use crate::folders::{Private, real};
use crate::{environment, machine, settings};

/// The first word by which a server recognises that it is to call [`capsule_hdk::compile_for_parent`] with the words that
/// follow.
pub const COMPILE_WORD: &str = "--compile-child";

/// The allocator of servers takes memory in large pages, which a process with a budget and a short life fills with zeros for
/// nothing: without them compiling takes a third of the memory, and less time.
const COMPILE_ENVIRONMENT: [(&str, &str); 1] = [("MIMALLOC_ALLOW_THP", "0")];

/// The share of the machine's memory that modules may take, in percent. The rest is for the runner itself, for what is on its way
/// in and out, and for the system.
const SHARE: u64 = 75;

/// How long the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One module, one call: nothing is reserved ahead.
    Once,
    /// A server of one module.
    Server,
    /// A server of many modules: more instances by default.
    ManyFunctions,
}

/// Instances that a server of many modules may have when nothing else is said: most of its functions keep one.
const INSTANCES_OF_MANY: usize = 4096;

/// What the module of a command line is run with.
pub struct Setup<'a> {
    /// What it is called in logs.
    pub name: &'a str,
    /// Its limits.
    pub limits: &'a Limits,
    /// What it may use.
    pub capabilities: &'a Capabilities,
    /// WASI's arguments.
    pub arguments: Vec<String>,
    /// What is the runner's own: the current folder is not lent when it holds something of it.
    pub private: Private,
    /// Set when the module is the function of a server, which runs it in this process.
    pub hosted: Option<Hosted>,
}

/// What a server says of a function that it runs in a process of its own.
#[derive(Debug, Clone, Default)]
pub struct Hosted {
    /// What stands in front of its keys in Redis.
    pub redis_prefix: String,
}

/// The memory that all modules of this process may take together.
pub fn ceiling(limits: &Limits) -> Ceiling {
    match limits.max_total_memory {
        TotalMemory::Unlimited => Ceiling::default(),
        TotalMemory::Bytes(bytes) => Ceiling::new(settings::size(Some(bytes))),
        TotalMemory::OfTheMachine => Ceiling::new(settings::size(machine::memory().map(|bytes| bytes / 100 * SHARE))),
    }
}

/// Servers have modules compiled by a child process, within its budget; a program that runs one module of its user's and ends
/// does it itself.
fn compiler(limits: &Limits, mode: Mode) -> Compiler {
    if mode == Mode::Once {
        return Compiler::InProcess;
    }
    let program = match program() {
        Ok(program) => program,
        Err(error) => {
            tracing::warn!("modules are compiled without limits: cannot find the program itself: {error}");
            return Compiler::InProcess;
        }
    };
    let mut command = CompileCommand::new(program, [COMPILE_WORD]);
    command.time = limits.compile_timeout.unwrap_or(settings::NO_TIME_LIMIT).min(settings::NO_TIME_LIMIT);
    command.memory = settings::size(limits.max_compile_memory);
    command.environment = COMPILE_ENVIRONMENT.map(|(name, value)| (name.into(), value.into())).to_vec();
    Compiler::Child(command)
}

/// This very program, also when another one has taken its place on the disk since it was started.
fn program() -> std::io::Result<std::path::PathBuf> {
    let running = std::path::Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

/// What modules are loaded with and run on.
pub struct Runner {
    engine: Engine,
    host: Host,
    /// Bytes of a download.
    max_module: u64,
}

impl Runner {
    /// Starts the engine and links the host functions. Within a tokio runtime. A program of a `mode` other than
    /// [`Mode::Once`] looks for [`COMPILE_WORD`] before it does anything else. Of the descriptors of the process, modules have
    /// `max_files` at most.
    ///
    /// # Errors
    /// When the machine does not give what the settings ask for.
    pub fn new(
        parsed: &Parsed,
        limits: &Limits,
        ceiling: &Ceiling,
        mode: Mode,
        max_files: usize,
    ) -> anyhow::Result<Runner> {
        let mut config = EngineConfig::default();
        config.ceiling = ceiling.clone();
        config.max_files = max_files;
        config.compiler = compiler(limits, mode);
        config.max_module = settings::size(limits.max_module);
        if limits.max_module.is_none() {
            config.max_functions = usize::MAX;
        }
        if mode == Mode::ManyFunctions && !parsed.is_given(&MAX_INSTANCES) {
            config.max_instances = INSTANCES_OF_MANY;
        } else if let Some(count) = limits.max_instances.and_then(|count| usize::try_from(count).ok()) {
            config.max_instances = count.max(1);
        }
        config.cache = cache_dir(parsed, |name| std::env::var_os(name));
        config.pooling = mode != Mode::Once;
        config.fair = mode == Mode::ManyFunctions;
        let engine = match Engine::new(&config) {
            // A home that cannot be written, as in many containers: nobody asked for a cache there.
            Err(error) if config.cache.is_some() && !parsed.is_given(&CACHE_DIR) => {
                tracing::warn!("compiled modules are not kept: {error}");
                config.cache = None;
                Engine::new(&config)
            }
            engine => engine,
        };
        let engine = engine.map_err(hinted)?;
        let mut functions = HostFunctions::new();
        capsule_hostfns::standard(&mut functions);
        let host = Host::new(&engine, &functions).map_err(hinted)?;
        Ok(Runner { engine, host, max_module: limits.max_module.unwrap_or(u64::MAX) })
    }

    /// The host functions, linked.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Fetches the module when that is asked for, loads and compiles it.
    ///
    /// # Errors
    /// What is wrong with the download or the module, with advice.
    pub async fn load(&self, source: &ModuleSource) -> anyhow::Result<Module> {
        if let Some(remote) = &source.download {
            let options = Options { progress: true, limit: self.max_module };
            download::download(remote, &source.path, options).await?;
        }
        let (engine, path) = (self.engine.clone(), source.path.clone());
        let loaded = tokio::task::spawn_blocking(move || Module::from_file(&engine, &path)).await;
        loaded.context("the module could not be compiled")?.map_err(hinted)
    }

    /// Links `module` to a function.
    ///
    /// # Errors
    /// Every export and import that does not fit, with advice.
    pub fn function(&self, module: &Module, config: FunctionConfig) -> anyhow::Result<Function> {
        Function::new(&self.host, module, config).map_err(hinted)
    }

    /// The settings of a function that its own operator runs, or that a server runs in this process.
    pub fn function_config(&self, setup: Setup<'_>, output: Arc<dyn Output>, buffering: Buffering) -> FunctionConfig {
        let Setup { name, limits, capabilities, arguments, private, hosted } = setup;
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let variables = match hosted {
            None => environment::of_module(own, &capabilities.pass_env, &capabilities.env),
            // All that this process has, its server has given to the function.
            Some(_) => environment::of_hosted(own, &capabilities.pass_env, &capabilities.env),
        };
        let mut config = FunctionConfig::new(name);
        config.contract = settings::contract(limits.instances);
        config.limits = settings::limits(limits);
        config.capabilities = settings::capabilities(capabilities, variables, arguments);
        if hosted.is_none() {
            // Its server has resolved the others, and knows which links nobody but the operator has made.
            for folder in &mut config.capabilities.folders {
                folder.host = real(&folder.host);
            }
        }
        config.output = output;
        config.buffering = buffering;
        if capabilities.default_folder {
            withhold(&mut config.capabilities, &private);
        }
        let network = &mut config.capabilities.network;
        if hosted.is_some() && network.reach == Reach::Operator {
            // It reaches no more than it would in that server's own process.
            network.reach = Reach::Public;
        }
        services(limits, &capabilities.env, hosted, self.engine.ceiling()).attach(&mut config);
        config
    }
}

/// Takes the default folder back when it must be named: nobody has thought of what is in it.
fn withhold(capabilities: &mut capsule_hdk::Capabilities, private: &Private) {
    let found = capabilities.folders.iter().find_map(|folder| Some((folder, private.objection(&folder.host)?)));
    let Some((folder, objection)) = found else { return };
    let path = real(&folder.host);
    let reason = format!("the current folder is not lent: `{}` {objection}; name it", path.display());
    tracing::info!("{reason} with `--dir` if the module may use it");
    capabilities.folders.clear();
    capabilities.withheld = Some(reason);
}

/// What the host functions of one function need: its cache, its outbound limits, and the operator's Redis, unless the module
/// was given one of its own by `--env`, or is hosted.
fn services(limits: &Limits, given: &[(String, String)], hosted: Option<Hosted>, ceiling: &Ceiling) -> Services {
    let size = settings::size;
    let own_redis = hosted.is_some() || given.iter().any(|(name, _)| name.starts_with("REDIS_"));
    let operators_redis = || RedisSettings::from_lookup(|name| std::env::var(name).ok());
    Services {
        cache: Some(Arc::new(Cache::below(size(limits.max_cache), ceiling))),
        http: HttpLimits {
            timeout: limits.outbound_timeout,
            body: size(limits.max_outbound_body),
            calls: size(limits.max_outbound_calls),
        },
        redis: (!own_redis).then(|| Arc::new(Redis::operator(operators_redis(), ""))),
        redis_prefix: hosted.unwrap_or_default().redis_prefix,
        ..Services::default()
    }
}

/// An error of the host SDK with its advice in the form that programs print.
pub fn hinted(error: LoadError) -> anyhow::Error {
    match error.hint().map(str::to_owned) {
        Some(hint) => anyhow::Error::new(error).hint(hint),
        None => error.into(),
    }
}
