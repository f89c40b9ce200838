//! Exit codes, and the one way from a result to the end of a program.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::help::Program;
use crate::message;
use crate::usage::UsageError;

/// All went well.
pub const SUCCESS: u8 = 0;
/// The module or the runner failed; the reason is on stderr.
pub const FAILURE: u8 = 1;
/// Wrong usage; the reason is on stderr.
pub const USAGE: u8 = 2;

/// The codes with their meaning, for the help.
pub const CODES: &[(&str, &str)] = &[
    ("0", "Success."),
    ("1", "The module or the runner failed; the reason is on stderr."),
    ("2", "Wrong usage; the reason is on stderr."),
];

/// The exit code that belongs to an error.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if message::find::<UsageError>(error).is_some() { USAGE } else { FAILURE }
}

/// Answers a request for a text: prints it to stdout. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// Stdout cannot be written.
pub fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::from(SUCCESS)),
    }
}

/// Answers a command line that asks for nothing: prints the help to stderr.
pub fn usage(program: &Program) -> ExitCode {
    // Nobody is left to tell when stderr is closed.
    let _ = io::stderr().write_all(program.help().as_bytes());
    ExitCode::from(USAGE)
}

/// Ends `main`: prints an error with its causes and hints to stderr, and chooses the exit code.
pub fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            message::print(&error);
            ExitCode::from(code_of(&error))
        }
    }
}
