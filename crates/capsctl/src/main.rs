//! `capsctl`: steers a server of many functions, which is a `capsule-http --faas`.
//!
//! | module | holds |
//! |---|---|
//! | [`flags`] | the flags, and which command takes which |
//! | [`command`] | a command line as one typed command |
//! | [`run`] | what each command asks of the server, and what it prints |
//! | [`server`] | requests and answers, and what a refusal looks like |
//! | [`call`] | calling a function |
//! | [`publish`] | sending a module |
//! | [`launch`] | everything in a file of functions |
//! | [`processes`] | the list of functions as a table |
//! | [`weights`] | how calls are split between revisions |

mod call;
mod command;
mod flags;
mod launch;
mod processes;
mod publish;
mod run;
mod server;
mod weights;

use std::process::ExitCode;

use anyhow::Context as _;
use capsule_cmd::exit;
use capsule_cmd::help::Request;

fn main() -> ExitCode {
    exit::finish(start())
}

fn start() -> anyhow::Result<ExitCode> {
    let program = flags::program();
    let mut words = std::env::args_os().skip(1).peekable();
    if words.peek().is_none() {
        return Ok(exit::usage(&program));
    }
    match program.parse(words, |name| std::env::var_os(name))? {
        Request::Print(text) => exit::print(&text),
        Request::Run(parsed) => {
            let command = command::Command::read(&parsed)?;
            let server = server::Server::new(&parsed, std::env::var_os(flags::TOKEN_VARIABLE))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("cannot start the runtime")?.block_on(run::run(&server, command))
        }
    }
}
