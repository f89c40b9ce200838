//! `capsule`: runs a module once, in a terminal.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the flags, and their values as types |
//! | [`run`] | from the module to its result, or to the signal that ends it |
//! | [`failure`] | what a user reads when a call has no result |
//! | [`terminal`] | where the module's output goes |

mod config;
mod failure;
mod run;
mod terminal;

use std::process::ExitCode;

use capsule_cmd::help::Request;
use capsule_cmd::{exit, logging};

fn main() -> ExitCode {
    exit::finish(start())
}

fn start() -> anyhow::Result<ExitCode> {
    let program = config::program();
    let mut words = std::env::args_os().skip(1).peekable();
    if words.peek().is_none() {
        return Ok(exit::usage(&program));
    }
    match program.parse(words, |name| std::env::var_os(name))? {
        Request::Print(text) => exit::print(&text),
        Request::Run(parsed) => {
            let config = config::Config::read(&parsed)?;
            logging::init(&parsed)?;
            run::run(parsed, config)
        }
    }
}
