//! From start to stop of a server of functions: the data folder, the functions of before, the file of functions, the socket;
//! then calls until it is asked to stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use capsule_cmd::exit;
use capsule_cmd::message::HintExt as _;
use capsule_cmd::module_source::ModuleSource;
use capsule_cmd::parse::Parsed;
use capsule_cmd::signals::Shutdown;
use capsule_faas::modules::Modules;
use capsule_faas::runtime::{Children, Faas, FaasConfig};
use capsule_faas::store::Store;
use capsule_faas::{StoreError, StoreErrorKind};
use capsule_hdk::{Ceiling, ProcessOutput};
use capsule_runner::{Mode, Runner};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::app::{FaasApp, MetricsOnly, index_page};
use super::config::{DataDir, FaasSettings};
use super::file;
use super::hosting::Hosting;
use super::tokens::{TOKEN, Tokens};
use crate::app::App;
use crate::config::{self, Config};
use crate::connections::Connections;
use crate::connections::limits::ConnectionLimits;
use crate::drain::Drain;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::serve::{LAST_LINES, LAST_WRITES, bind, started};
use crate::{tls, tunnel};

/// Modules that are compiled at once for each core, and as many uploads: both wait for the disk too.
const COMPILES_PER_CORE: usize = 4;
/// Clients that follow logs at once. One that does not read holds up to half a MiB of lines.
const FOLLOWERS: usize = 100;
/// Connections to the port for metrics alone, beside those to the other one.
const COLLECTORS: usize = 100;

/// Runs the server until it is asked to stop.
pub(crate) async fn serve(
    parsed: &Parsed,
    config: Config,
    settings: FaasSettings,
    source: Option<ModuleSource>,
) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::on_signals().context("cannot listen to signals")?;
    let mut hangups = Hangups::listen()?;
    capsule_cmd::download::install_crypto_provider();
    // Cheap checks first: a wrong certificate, a token file or a port in use is told before anything is compiled.
    let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let tokens = Tokens::read(settings.tokens.clone())?;
    let socket = bind(config.address)?;
    let address = socket.local_addr().context("the socket has no address")?;
    let metrics_socket = match settings.metrics_port {
        None => None,
        Some(port) => Some(bind(SocketAddr::new(address.ip(), port))?),
    };
    let output = Arc::new(ProcessOutput::start().context("cannot start the thread for output")?);
    let ceiling = capsule_runner::ceiling(&config.limits);
    let hosting = Arc::new(hosting(parsed, &config, &settings, &ceiling));
    let connections = Connections::new(config.connections.clone());
    let starting = async {
        let runner = Runner::new(parsed, &config.limits, &ceiling, Mode::ManyFunctions, config.connections.files)?;
        let faas = open(&runner, &config, &settings, &hosting, &output, address).await?;
        if let Some(path) = &settings.functions {
            let applied = file::apply(&faas, &hosting, path, config.max_module()).await?;
            tracing::info!("`{}`: {applied}", path.display());
        }
        hosting.begin();
        let module = match &source {
            None => None,
            Some(source) => {
                let private = config.private(parsed, Some(&settings));
                let function = started(&runner, &config, source, private, Arc::clone(&output)).await?;
                Some(Arc::new(App {
                    function,
                    metrics: Metrics::new(&connections, ceiling.clone()),
                    idle: None,
                    drain: Drain::default(),
                    front: config.front(address),
                }))
            }
        };
        Ok::<_, anyhow::Error>((faas, module))
    };
    let (faas, module) = tokio::select! {
        biased;
        () = shutdown.requested() => {
            tracing::info!("stopped before the functions were ready");
            return Ok(ExitCode::SUCCESS);
        }
        ready = starting => ready?,
    };
    if tokens.is_off() {
        tracing::warn!("administration is off: no token is given (`{TOKEN}`)");
    }
    let app = Arc::new(FaasApp {
        faas,
        tokens,
        module,
        front: config.front(address),
        metrics: Metrics::new(&connections, ceiling.clone()),
        drain: Drain::default(),
        uploads: Semaphore::new(compiles()),
        followers: Arc::new(Semaphore::new(FOLLOWERS)),
        max_module: config.max_module(),
        index: index_page(),
    });
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{address}");
    if let Some(socket) = metrics_socket {
        serve_metrics(socket, &app, &config, &shutdown)?;
    }
    tunnel::open(format!("{scheme}://localhost:{}", address.port()));
    // A call that its client leaves runs on in the runtime; what follows a log ends with its connection.
    let listener = Listener::new(socket, acceptor, connections.clone(), true);
    let requested = async {
        loop {
            tokio::select! {
                () = shutdown.requested() => {
                    tracing::info!("stopping: calls that run have {:?}", config.drain_timeout);
                    return;
                }
                () = hangups.next() => {
                    // Not in the way of a request to stop.
                    tokio::select! {
                        biased;
                        () = shutdown.requested() => {}
                        () = reload(&app, &hosting, &settings, config.max_module()) => {}
                    }
                }
            }
        }
    };
    listener.serve(&app, requested).await;
    tokio::select! {
        () = stop(&app, &config, &connections) => {
            output.drain(LAST_LINES);
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = shutdown.forced() => {
            tracing::warn!("stopped at once");
            Ok(ExitCode::from(exit::FAILURE))
        }
    }
}

/// What functions may use, and what they may not.
fn hosting(parsed: &Parsed, config: &Config, settings: &FaasSettings, ceiling: &Ceiling) -> Hosting {
    let private = config.private(parsed, Some(settings));
    Hosting::new(config::program().table, parsed, private, config.max_module(), ceiling.clone())
}

/// The functions of before, asleep.
async fn open(
    runner: &Runner,
    config: &Config,
    settings: &FaasSettings,
    hosting: &Arc<Hosting>,
    output: &Arc<ProcessOutput>,
    address: SocketAddr,
) -> anyhow::Result<Faas> {
    let data_dir = settings.data_dir.clone();
    let ceiling = runner.engine().ceiling().clone();
    let (store, modules) =
        tokio::task::spawn_blocking(move || keep(&data_dir, &ceiling)).await.context("the start was lost")??;
    let (host, platform) = (runner.host().clone(), Arc::clone(hosting));
    let mut faas = FaasConfig::new(host, store, modules, platform, Arc::clone(output) as _);
    faas.max_module = config.max_module();
    faas.compiles = compiles();
    // Half of the connections for one function: the others have the rest.
    faas.max_calls = (config.connections.count / 2).max(1);
    faas.children = Some(children(config, settings, address)?);
    Faas::open(faas).map_err(hinted)
}

fn compiles() -> usize {
    capsule_hdk::cores() * COMPILES_PER_CORE
}

/// The data folder, or none: the default one may be missing, the one that is named may not.
fn keep(data_dir: &DataDir, ceiling: &Ceiling) -> anyhow::Result<(Store, Modules)> {
    let opened = match data_dir {
        DataDir::Memory => {
            tracing::warn!("functions are kept in memory: they are gone when the server ends (`--dataDir` keeps them)");
            Store::memory()
        }
        DataDir::Named(path) => Store::open(path),
        DataDir::Default(path) => match Store::open(path) {
            Err(error) if error.kind() == StoreErrorKind::Unusable => {
                tracing::warn!("{error}: functions are kept in memory, and are gone when the server ends");
                Store::memory()
            }
            opened => opened,
        },
    };
    let store = opened.map_err(hinted)?;
    let modules = Modules::below(&store, ceiling).map_err(hinted)?;
    Ok((store, modules))
}

/// How functions run as child processes.
fn children(config: &Config, settings: &FaasSettings, address: SocketAddr) -> anyhow::Result<Children> {
    let own = std::env::current_exe().context("cannot find the server's own executable")?;
    let mut children = Children::new(own);
    children.allowed.clone_from(&settings.allow_path);
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { url_host(address) };
    let domain = settings.domain.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
    children.parent_endpoint = format!("{domain}:{}", address.port());
    children.environment = Children::needed(|name| std::env::var_os(name));
    Ok(children)
}

fn url_host(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

fn hinted(error: StoreError) -> anyhow::Error {
    match error.hint().map(str::to_owned) {
        Some(hint) => anyhow::Error::new(error).hint(hint),
        None => error.into(),
    }
}

fn serve_metrics(socket: TcpListener, app: &Arc<FaasApp>, config: &Config, shutdown: &Shutdown) -> anyhow::Result<()> {
    let address = socket.local_addr().context("the socket has no address")?;
    tracing::info!("metrics without a token on http://{address}/metrics");
    let app = Arc::new(MetricsOnly(Arc::clone(app)));
    let limits = &config.connections;
    let connections = Connections::new(ConnectionLimits { count: limits.count.min(COLLECTORS), ..limits.clone() });
    let listener = Listener::new(socket, None, connections, false);
    let shutdown = shutdown.clone();
    tokio::spawn(async move { listener.serve(&app, async move { shutdown.requested().await }).await });
    Ok(())
}

/// Tokens and functions, read again. What cannot be read changes nothing.
async fn reload(app: &FaasApp, hosting: &Hosting, settings: &FaasSettings, max_module: u64) {
    match app.tokens.reload() {
        Ok(count) => tracing::info!("SIGHUP: {count} tokens are valid"),
        Err(error) => tracing::error!("SIGHUP: the tokens are as before: {error:#}"),
    }
    let Some(path) = &settings.functions else { return };
    match file::apply(&app.faas, hosting, path, max_module).await {
        Ok(applied) => tracing::info!("SIGHUP: `{}`: {applied}", path.display()),
        Err(error) => tracing::error!("SIGHUP: the functions are as before: {error:#}"),
    }
}

/// Refuses waiting calls, lets those that run finish within the drain time, runs `OnStop`, ends streams, closes connections.
async fn stop(app: &FaasApp, config: &Config, connections: &Connections) {
    let calls = async {
        let module = async {
            if let Some(module) = &app.module {
                module.function.stop(config.drain_timeout).await;
            }
        };
        tokio::join!(app.faas.stop(config.drain_timeout), module);
    };
    // Idle connections are closed at once, the others when their calls are answered.
    let closing = tokio::time::timeout(config.drain_timeout + LAST_WRITES, connections.shutdown());
    let of_module = async {
        match &app.module {
            Some(module) => module.drain.give_up_after(config.drain_timeout).await,
            None => std::future::pending().await,
        }
    };
    let closing = async {
        tokio::select! {
            closed = closing => closed,
            never = app.drain.give_up_after(config.drain_timeout) => match never {},
            never = of_module => match never {},
        }
    };
    let ((), closed) = tokio::join!(calls, closing);
    if closed.is_err() {
        tracing::warn!("connections that clients keep busy were cut");
    }
}

/// SIGHUP, where there is one.
struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangups {
    #[cfg(unix)]
    fn listen() -> anyhow::Result<Hangups> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Hangups { signal: signal(SignalKind::hangup()).context("cannot listen to SIGHUP")? })
    }

    #[cfg(not(unix))]
    fn listen() -> anyhow::Result<Hangups> {
        Ok(Hangups {})
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending().await
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending().await
    }
}
