//! From start to stop: load, compile, start, listen, drain, stop.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use capsule_abi::names;
use capsule_cmd::exit;
use capsule_cmd::limits::Instances;
use capsule_cmd::message::HintExt as _;
use capsule_cmd::module_source::ModuleSource;
use capsule_cmd::parse::Parsed;
use capsule_cmd::signals::{Shutdown, survive_file_limit};
use capsule_hdk::{Buffering, Ceiling, Function, Module, ProcessOutput};
use capsule_runner::folders::Private;
use capsule_runner::{Hosted, Mode, Runner, Setup};
use tokio::net::{TcpListener, TcpSocket};

use crate::app::App;
use crate::config::Config;
use crate::connections::Connections;
use crate::drain::Drain;
use crate::idle::Idle;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::{descriptors, faas, parent, tls, tunnel};

/// Connections that the system keeps until they are accepted, if it allows for so many. Those that come when there are more
/// wait for a second, in which their clients try again.
const BACKLOG: u32 = 4096;
/// Open connections have this long to send what was answered, after the last call ended.
pub(crate) const LAST_WRITES: Duration = Duration::from_secs(1);
/// And the last printed lines this long.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the server until it is asked to stop.
pub(crate) fn run(parsed: &Parsed, config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("capsule-io")
        .build()
        .context("cannot start the I/O threads")?;
    let result = runtime.block_on(async {
        survive_file_limit().context("cannot listen to signals")?;
        let mut config = config;
        config.connections.fit(descriptors::raise(), parsed);
        match (config.faas.take(), config.source.take()) {
            (Some(settings), source) => Box::pin(faas::serve(parsed, config, settings, source)).await,
            (None, Some(source)) => Box::pin(serve(parsed, config, source)).await,
            (None, None) => Err(anyhow!("no module is named")),
        }
    });
    // Guests that still run and the tunnel are not waited for.
    runtime.shutdown_background();
    result
}

async fn serve(parsed: &Parsed, config: Config, source: ModuleSource) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::on_signals().context("cannot listen to signals")?;
    capsule_cmd::download::install_crypto_provider();
    // Cheap checks first: a wrong certificate or a port in use is told before a module is compiled.
    let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let socket = bind(config.address)?;
    let address = socket.local_addr().context("the socket has no address")?;
    let output = Arc::new(ProcessOutput::start().context("cannot start the thread for output")?);
    let ceiling = capsule_runner::ceiling(&config.limits);
    let function = tokio::select! {
        biased;
        () = shutdown.requested() => {
            tracing::info!("stopped before the module was ready");
            return Ok(ExitCode::SUCCESS);
        }
        ready = start(parsed, &config, &source, &ceiling, Arc::clone(&output)) => ready?,
    };
    let connections = Connections::new(config.connections.clone());
    let app = Arc::new(App {
        function: function.clone(),
        metrics: Metrics::new(&connections, ceiling),
        idle: config.stop_after.filter(|limit| !limit.is_zero()).map(|_| Arc::new(Idle::new())),
        drain: Drain::default(),
        front: config.front(address),
    });
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{address}");
    tunnel::open(format!("{scheme}://localhost:{}", address.port()));
    // Instances with state outlive a call: one that was accepted counts, whether its client waits or not.
    let is_fresh = config.limits.instances == Instances::Fresh;
    let listener = Listener::new(socket, acceptor, connections.clone(), is_fresh);
    listener.serve(&app, stop_reason(&shutdown, &config, &app)).await;
    tokio::select! {
        () = stop(&app, &config, &connections) => {
            if let Some(parent) = &config.parent {
                parent::tell(parent).await;
            }
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

/// The socket at this address.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address)
        .with_context(|| format!("cannot listen on {address}"))
        .hint("choose another port with `--httpPort`, or another address with `--httpHost`")
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a server that has just ended do not keep the next one from its port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn start(
    parsed: &Parsed,
    config: &Config,
    source: &ModuleSource,
    ceiling: &Ceiling,
    output: Arc<ProcessOutput>,
) -> anyhow::Result<Function> {
    let runner = Runner::new(parsed, &config.limits, ceiling, Mode::Server, config.connections.files)?;
    started(&runner, config, source, config.private(parsed, None), output).await
}

/// The function of the operator's module, ready to be called.
pub(crate) async fn started(
    runner: &Runner,
    config: &Config,
    source: &ModuleSource,
    private: Private,
    output: Arc<ProcessOutput>,
) -> anyhow::Result<Function> {
    let function = function(runner, config, source, private, output).await?;
    tracing::debug!("starting the module");
    function.start().await.map_err(|error| {
        let backtrace = error.trap().map(|trap| trap.backtrace.trim_end().to_owned()).unwrap_or_default();
        if !backtrace.is_empty() {
            tracing::warn!("{backtrace}");
        }
        anyhow!("module `{}`: {error}", source.path.display())
    })?;
    Ok(function)
}

async fn function(
    runner: &Runner,
    config: &Config,
    source: &ModuleSource,
    private: Private,
    output: Arc<ProcessOutput>,
) -> anyhow::Result<Function> {
    let module = runner.load(source).await?;
    let setup = Setup {
        name: &source.path.file_stem().unwrap_or_default().to_string_lossy(),
        limits: &config.limits,
        capabilities: &config.capabilities,
        arguments: vec![source.path.display().to_string()],
        private,
        hosted: config.parent.as_ref().map(|parent| Hosted { redis_prefix: parent.redis_prefix.clone() }),
    };
    let settings = runner.function_config(setup, output, Buffering::Lines);
    let function = runner.function(&module, settings)?;
    if !module.exports(names::CALL_HANDLE_HTTP) && !function.takes_requests() {
        return Err(no_http_handler(&module));
    }
    Ok(function)
}

/// The error for a module that can be called, but not by this program.
fn no_http_handler(module: &Module) -> anyhow::Error {
    let others = [
        (names::CALL_HANDLE, "`callHandle`: run it with `capsule`"),
        (names::CALL_HANDLE_MESSAGE, "`callHandleMessage`: a runner for messages is the one for it"),
    ];
    let advice = others.iter().find(|(name, _)| module.exports(name)).map(|(_, advice)| *advice);
    let advice = advice.unwrap_or("`callHandleJSON`, which only programs made with the host SDK call");
    anyhow!("module `{}` has no export `{}`", module.name(), names::CALL_HANDLE_HTTP)
        .hint(format!("it exports {advice}"))
}

/// Resolves when the server has a reason to stop.
async fn stop_reason(shutdown: &Shutdown, config: &Config, app: &App) {
    let idle = async {
        match (&app.idle, config.stop_after) {
            (Some(idle), Some(limit)) => idle.passed(limit).await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shutdown.requested() => tracing::info!("stopping: calls that run have {:?}", config.drain_timeout),
        () = idle => tracing::info!("stopping: nobody called for {:?}", config.stop_after.unwrap_or_default()),
    }
}

/// Refuses waiting calls, lets those that run finish within the drain time, runs `OnStop`, closes the connections.
async fn stop(app: &App, config: &Config, connections: &Connections) {
    let calls = async {
        let running = app.function.stop(config.drain_timeout).await;
        if running > 0 {
            tracing::warn!("calls that were given up: {running}, after {:?}", config.drain_timeout);
        }
    };
    // Idle connections are closed at once, the others when their calls are answered.
    let closing = tokio::time::timeout(config.drain_timeout + LAST_WRITES, connections.shutdown());
    let closing = async {
        tokio::select! {
            closed = closing => closed,
            never = app.drain.give_up_after(config.drain_timeout) => match never {},
        }
    };
    let ((), closed) = tokio::join!(calls, closing);
    if closed.is_err() {
        tracing::warn!("connections that clients keep busy were cut");
    }
}
