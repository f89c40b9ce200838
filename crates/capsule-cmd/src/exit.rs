//! Exit codes, and the one way from a result to the end of a program.

use std::process::ExitCode;

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
