//! `capsule-http`: serves a module over HTTP.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the flags, and their values as types |
//! | [`serve`] | from start to stop |
//! | [`listener`] | accepting connections, TLS, the service of each |
//! | [`connections`] | how many, how long each may be idle, what is held for them |
//! | [`wire`], [`receiving`], [`sending`] | the stream of a connection, bodies of requests, bodies of answers |
//! | [`app`] | which route answers a request |
//! | [`front`] | what every server does with a request, whatever answers it |
//! | [`document`] | requests and answers as the module's documents |
//! | [`answer`] | errors and texts as HTTP answers |
//! | [`faas`] | many functions in one server |
//! | [`metrics`] | the runner's own counters |
//! | [`drain`], [`idle`] | when running calls are given up, when nobody called for long |
//! | [`parent`] | telling the server that started this one that it stops |
//! | [`tls`], [`tunnel`] | certificates, ngrok |
//! | [`descriptors`], [`pages`] | the limit of open files, the size of memory pages |

mod answer;
mod app;
mod config;
mod connections;
mod descriptors;
mod document;
mod drain;
mod faas;
mod front;
mod idle;
mod listener;
mod metrics;
mod module_headers;
mod pages;
mod parent;
mod receiving;
mod request_id;
mod sending;
mod serve;
mod tls;
mod tunnel;
mod wire;

use std::process::ExitCode;

use capsule_cmd::help::Request;
use capsule_cmd::{exit, logging};
use capsule_faas::shim;
use capsule_hdk::compile_for_parent;
use capsule_runner::COMPILE_WORD;

/// A request makes several small allocations, which this allocator serves from lists of each thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit::finish(start())
}

fn start() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|word| word == shim::WORD).is_some() {
        // Before anything else: it is a child process in the making, and no flag of it is this program's.
        return shim::become_child(arguments).map(|never| match never {}).map_err(anyhow::Error::msg);
    }
    if arguments.next_if(|word| word == COMPILE_WORD).is_some() {
        pages::large();
        compile_for_parent(arguments).map_err(anyhow::Error::msg)?;
        return Ok(ExitCode::SUCCESS);
    }
    pages::small();
    let program = config::program();
    let none_given = arguments.peek().is_none();
    match program.parse(arguments, |name| std::env::var_os(name))? {
        Request::Print(text) => exit::print(&text),
        Request::Run(_) if none_given => Ok(exit::usage(&program)),
        Request::Run(parsed) => {
            let config = config::Config::read(&parsed)?;
            let _log = logging::init_buffered(&parsed)?;
            serve::run(&parsed, config)
        }
    }
}
