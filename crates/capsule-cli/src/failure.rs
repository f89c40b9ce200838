//! What a user reads when a call has no result: one line, and advice where there is some.

use anyhow::anyhow;
use capsule_abi::names;
use capsule_cmd::message::HintExt as _;
use capsule_hdk::{CallError, Module};

/// How the engine names the trap of a `proc_exit` that WASI does not allow.
const INVALID_EXIT: &str = "exit with invalid exit status";

/// The error of a call. A trap's backtrace goes to the log.
pub(crate) fn of_call(error: &CallError, module: &Module) -> anyhow::Error {
    let backtrace = error.trap().map(|trap| trap.backtrace.trim_end()).unwrap_or_default();
    if !backtrace.is_empty() {
        tracing::debug!("backtrace of the trap:\n{backtrace}");
    }
    let shown = anyhow!("{error}");
    match error {
        CallError::Trap(trap) if trap.message.starts_with(INVALID_EXIT) => {
            anyhow!("the module asked for an exit code above 125: those belong to shells, 1 takes its place")
        }
        // Modules of the reference's SDK export all handlers; those that were not set trap.
        CallError::Trap(trap) if trap.memory_refused.is_none() && module.exports(names::CALL_HANDLE_HTTP) => shown.hint(
            "the module exports `callHandleHTTP` too: when its text handler is not set, `capsule-http` is the runner for it",
        ),
        _ if !backtrace.is_empty() => shown.hint("`--logLevel=debug` shows where"),
        _ => shown,
    }
}

/// The error for a module that can be called, but not by this program.
pub(crate) fn no_text_handler(module: &Module) -> anyhow::Error {
    let error = anyhow!("module `{}` has no export `{}`", module.name(), names::CALL_HANDLE);
    let others = [
        (names::CALL_HANDLE_HTTP, "`callHandleHTTP`: serve it with `capsule-http`"),
        (names::CALL_HANDLE_REQUEST, "`callHandleRequest`: serve it with `capsule-http`"),
        (names::CALL_HANDLE_MESSAGE, "`callHandleMessage`: a runner for messages is the one for it"),
        (names::CALL_HANDLE_JSON, "`callHandleJSON`, which only programs made with the host SDK call"),
    ];
    match others.iter().find(|(name, _)| module.exports(name)) {
        Some((_, advice)) => error.hint(format!("it exports {advice}")),
        None => error,
    }
}
