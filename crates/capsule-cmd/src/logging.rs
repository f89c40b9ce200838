//! Logs on stderr: one line for an event, as text or as JSON, with the time in UTC.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::flags::{Flag, Type};
use crate::message;
use crate::parse::Parsed;

const GROUP: &str = "Logs";
/// Lines that wait for a slow stderr at most.
const BUFFERED_LINES: usize = 16 * 1024;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `--logFormat`.
pub const LOG_FORMAT: Flag =
    Flag::value("logFormat", "FORMAT", Type::Choice(&["text", "json"]), "Format of the log lines on stderr.")
        .default("text")
        .group(GROUP);

/// `--logLevel`.
pub const LOG_LEVEL: Flag = Flag::value(
    "logLevel",
    "LEVEL",
    Type::Checked(check_level),
    "What is logged: off, error, warn, info, debug or trace; or a list such as `info,capsule_hdk=debug`.",
)
.env("RUST_LOG")
.default("info")
.group(GROUP);

/// Both flags, for a program's table.
pub const FLAGS: &[Flag] = &[LOG_FORMAT, LOG_LEVEL];

/// Sends the events of this process to stderr from now on. Call it once, before anything logs.
///
/// # Errors
/// A logger was installed before.
pub fn init(parsed: &Parsed) -> anyhow::Result<()> {
    install(parsed, io::stderr)
}

/// As [`init`] for servers: the lines are written by a thread of their own, so that a stderr that nobody reads never holds up a
/// call. When more than 16,384 lines wait, further ones are lost. What is still buffered is written when the guard is dropped.
///
/// # Errors
/// A logger was installed before.
pub fn init_buffered(parsed: &Parsed) -> anyhow::Result<WorkerGuard> {
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).finish(io::stderr());
    install(parsed, writer)?;
    Ok(guard)
}

fn install<W>(parsed: &Parsed, writer: W) -> anyhow::Result<()>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = parsed.text(&LOG_LEVEL).unwrap_or("info");
    let filter = EnvFilter::try_new(level).context("cannot read the log level")?;
    // A log line that cannot be written is lost; complaining about it on the same stderr would end the process.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    let done = if parsed.text(&LOG_FORMAT) == Some("json") {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal() && message::stderr_has_colour()).try_init()
    };
    done.map_err(anyhow::Error::from_boxed).context("cannot start the log")
}

/// A lone word must be a level: the filter would take a mistyped one for the name of a module.
fn check_level(text: &str) -> Result<(), String> {
    let wrong = || format!("expected one of `{}`, or a list of `target=level`, found `{text}`", LEVELS.join("`, `"));
    // The filter cuts a text with white space in front in the wrong places, and panics when that is within a character.
    if !text.is_ascii() {
        return Err(wrong());
    }
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part);
        if !LEVELS.contains(&level.trim().to_ascii_lowercase().as_str()) {
            return Err(wrong());
        }
    }
    EnvFilter::try_new(text).map(drop).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for text in ["info", "OFF", "debug,hyper=warn", "capsule_hdk=trace"] {
            assert_eq!(check_level(text), Ok(()), "{text}");
        }
        for text in ["inof", "", "info,", "capsule_hdk", "a=b=c", "a[=info", " aé=info", "info, é=debug"] {
            assert!(check_level(text).unwrap_err().starts_with("expected one of `off`"), "{text}");
        }
    }
}
