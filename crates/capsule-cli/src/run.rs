//! From the module to its result, or to the signal that ends it.
//!
//! Two threads: one does the work, and may block when the module prints into a pipe that nobody reads; the main thread
//! drives timers and sockets and always hears a signal.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use capsule_abi::names;
use capsule_cmd::capabilities::cache_dir;
use capsule_cmd::exit;
use capsule_cmd::parse::Parsed;
use capsule_cmd::signals::survive_file_limit;
use capsule_hdk::{Buffering, CallError, Command, FunctionConfig, Module};
use capsule_runner::folders::Private;
use capsule_runner::{Mode, Runner, Setup, hinted, settings};

use crate::config::{Argument, Config};
use crate::failure;
use crate::terminal::Terminal;

/// After a signal, the time to remove a half download. Only work that blocks takes it all.
const TIDY_UP: Duration = Duration::from_millis(100);
/// A call of a single run is over when the function is stopped: nobody waits this long.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// Exit codes from here on belong to shells.
const SHELL_CODES: i32 = 126;

/// Runs the module.
pub(crate) fn run(parsed: Box<Parsed>, config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("capsule-work")
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        survive_file_limit().context("cannot listen to signals")?;
        let handle = runtime.handle().clone();
        let mut work = tokio::task::spawn_blocking(move || {
            #[expect(clippy::disallowed_methods, reason = "this thread is there to be blocked")]
            handle.block_on(work(&parsed, &config))
        });
        tokio::select! {
            biased;
            code = signal() => {
                let _ = tokio::time::timeout(TIDY_UP, &mut work).await;
                Ok(ExitCode::from(code))
            }
            ended = &mut work => ended.context("the runner failed")?,
        }
    });
    // A guest that still runs is not waited for.
    runtime.shutdown_background();
    result
}

/// Everything, until it is done, a signal comes, or nobody reads the output any more.
async fn work(parsed: &Parsed, config: &Config) -> anyhow::Result<ExitCode> {
    let terminal = Arc::new(Terminal::default());
    let code = tokio::select! {
        biased;
        code = signal() => return Ok(ExitCode::from(code)),
        ended = module(parsed, config, &terminal) => ended?,
        () = terminal.failed() => exit::SUCCESS,
    };
    terminal.check().context("cannot write to standard output")?;
    Ok(ExitCode::from(code))
}

/// Loads the module and runs it as what it is.
async fn module(parsed: &Parsed, config: &Config, terminal: &Arc<Terminal>) -> anyhow::Result<u8> {
    capsule_cmd::download::install_crypto_provider();
    let ceiling = capsule_runner::ceiling(&config.limits);
    let runner = Runner::new(parsed, &config.limits, &ceiling, Mode::Once, usize::MAX)?;
    let module = runner.load(&config.source).await?;
    // Modules of 2022 have no handler of today's names either; as functions they are refused with the reason.
    if module.is_plain_command() && !module.exports(names::CALL_HANDLE_HTTP_2022) {
        command(&runner, &module, parsed, config, terminal).await
    } else {
        function(&runner, &module, parsed, config, terminal).await
    }
}

/// Calls `callHandle` once.
async fn function(
    runner: &Runner,
    module: &Module,
    parsed: &Parsed,
    config: &Config,
    terminal: &Arc<Terminal>,
) -> anyhow::Result<u8> {
    let argument = config.argument()?;
    let from_stdin = argument == Argument::Stdin;
    let settings = function_config(runner, parsed, config, config.arguments(), !from_stdin, terminal);
    let function = runner.function(module, settings)?;
    if !module.exports(names::CALL_HANDLE) {
        return Err(failure::no_text_handler(module));
    }
    let argument = match argument {
        Argument::Text(text) => text.into_bytes(),
        Argument::Stdin => read_stdin(settings::size(config.limits.max_body))?,
    };
    let result = function.handle(argument).await;
    function.stop(STOP_PATIENCE).await;
    let (text, code) = match result {
        Ok(result) => (result, exit::SUCCESS),
        Err(CallError::Failure(text)) => (text, exit::FAILURE),
        Err(error) => return Err(failure::of_call(&error, module)),
    };
    terminal.print(&[&text[..], b"\n"].concat());
    Ok(code)
}

/// Runs a plain WASI command.
async fn command(
    runner: &Runner,
    module: &Module,
    parsed: &Parsed,
    config: &Config,
    terminal: &Arc<Terminal>,
) -> anyhow::Result<u8> {
    let config = function_config(runner, parsed, config, config.command_arguments()?, true, terminal);
    let command = Command::new(runner.host(), module, config).map_err(hinted)?;
    let code = command.run().await.map_err(|error| failure::of_call(&error, module))?;
    Ok(if code < SHELL_CODES { u8::try_from(code).unwrap_or(exit::FAILURE) } else { exit::FAILURE })
}

fn function_config(
    runner: &Runner,
    parsed: &Parsed,
    config: &Config,
    arguments: Vec<String>,
    stdin: bool,
    terminal: &Arc<Terminal>,
) -> FunctionConfig {
    let setup = Setup {
        name: &config.source.path.file_stem().unwrap_or_default().to_string_lossy(),
        limits: &config.limits,
        capabilities: &config.capabilities,
        arguments,
        private: Private::new(cache_dir(parsed, |name| std::env::var_os(name))),
        hosted: None,
    };
    let output = Arc::clone(terminal);
    let mut settings = runner.function_config(setup, output, Buffering::Through);
    settings.capabilities.stdin = stdin;
    // The argument is the text itself: no document around it.
    settings.limits.argument = settings::size(config.limits.max_body);
    settings
}

fn read_stdin(limit: usize) -> anyhow::Result<Vec<u8>> {
    let mut argument = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin().lock().take(most).read_to_end(&mut argument).context("cannot read standard input")?;
    if argument.len() > limit {
        return Err(anyhow!("the argument on standard input exceeds the limit of {limit} bytes (flag `--maxBody`)"));
    }
    Ok(argument)
}

/// Resolves when the program is asked to end, with the exit code that shells expect then.
#[cfg(unix)]
async fn signal() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};
    // Without handlers, signals end the process anyway.
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}

/// Resolves when the program is asked to end, with the exit code that shells expect then.
#[cfg(not(unix))]
async fn signal() -> u8 {
    match tokio::signal::ctrl_c().await {
        Ok(()) => 130,
        Err(_) => std::future::pending().await,
    }
}
