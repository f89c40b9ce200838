//! The engine with its host functions, made from what the command line says.

use std::sync::Arc;

use anyhow::Context as _;
use capsule_cmd::capabilities::{CACHE_DIR, Capabilities, cache_dir};
use capsule_cmd::download::{self, Options};
use capsule_cmd::limits::{Limits, MAX_INSTANCES};
use capsule_cmd::message::HintExt as _;
use capsule_cmd::module_source::ModuleSource;
use capsule_cmd::parse::Parsed;
use capsule_hdk::{
    Buffering, Engine, EngineConfig, Function, FunctionConfig, Host, HostFunctions, LoadError, Module, Output,
};
use capsule_hostfns::Services;
use capsule_hostfns::cache::Cache;
use capsule_hostfns::http::HttpLimits;
use capsule_hostfns::redis::{Redis, RedisSettings};

use crate::{environment, settings};

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

/// What modules are loaded with and run on.
pub struct Runner {
    engine: Engine,
    host: Host,
}

impl Runner {
    /// Starts the engine and links the host functions. Within a tokio runtime.
    ///
    /// # Errors
    /// When the machine does not give what the settings ask for.
    pub fn new(parsed: &Parsed, limits: &Limits, mode: Mode) -> anyhow::Result<Runner> {
        let mut config = EngineConfig::default();
        if mode == Mode::ManyFunctions && !parsed.is_given(&MAX_INSTANCES) {
            config.max_instances = INSTANCES_OF_MANY;
        } else if let Some(count) = limits.max_instances.and_then(|count| usize::try_from(count).ok()) {
            config.max_instances = count.max(1);
        }
        config.cache = cache_dir(parsed, |name| std::env::var_os(name));
        config.pooling = mode != Mode::Once;
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
        Ok(Runner { engine, host })
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
            let options = Options { progress: true, ..Options::default() };
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

    /// The settings of a function that its own operator runs, in the words of the command line. `arguments` are WASI's.
    pub fn function_config(
        name: &str,
        limits: &Limits,
        capabilities: &Capabilities,
        arguments: Vec<String>,
        output: Arc<dyn Output>,
        buffering: Buffering,
    ) -> FunctionConfig {
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let variables = environment::of_module(own, &capabilities.pass_env, &capabilities.env);
        let mut config = FunctionConfig::new(name);
        config.contract = settings::contract(limits.instances);
        config.limits = settings::limits(limits);
        config.capabilities = settings::capabilities(capabilities, variables, arguments);
        config.output = output;
        config.buffering = buffering;
        services(limits, &capabilities.env).attach(&mut config);
        config
    }
}

/// What the host functions of one function need: its cache, its outbound limits, and the operator's Redis, unless the module
/// was given one of its own by `--env`.
fn services(limits: &Limits, given: &[(String, String)]) -> Services {
    let size = |limit: Option<u64>| limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let own_redis = given.iter().any(|(name, _)| name.starts_with("REDIS_"));
    let operators_redis = || RedisSettings::from_lookup(|name| std::env::var(name).ok());
    Services {
        cache: Some(Arc::new(Cache::new(size(limits.max_cache)))),
        http: HttpLimits {
            timeout: limits.outbound_timeout,
            body: size(limits.max_outbound_body),
            calls: size(limits.max_outbound_calls),
        },
        redis: (!own_redis).then(|| Arc::new(Redis::operator(operators_redis(), ""))),
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
