//! Developer commands: `cargo xtask COMMAND`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "commands for a terminal")]

mod bench;
mod drill;
mod faas;
mod fuzz;
mod guests;
mod hostile;
mod instructions;
mod lint;
mod pages;
mod profile;
mod programs;
mod soak;
mod step;
mod test;
mod tidy;
mod timings;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask COMMAND

commands:
  test [ARGUMENT...]           install what tests need and run every test; with arguments, `cargo test ARGUMENT...` alone
  lint                         formats, clippy, documentation, features, licences, known vulnerabilities, Go, tidy
  tidy                         what no compiler checks: dependencies between crates, papers, fixtures, flag pages
  bless                        write docs/flags-*.md from the programs
  bench [http] [--reference=PATH] [--wasmtime=PATH --component=PATH]   measure against a bare server in the same run
  bench faas [--functions=N]   a hosted function against the same one served alone
  bench density [--functions=N]   memory and first calls of many different functions in one server
  bench cold [--functions=N]   first answers: of programs that start, and of functions whose code is on disk
  bench outbound               1,000 calls at once that wait 20 ms for another server
  bench bodies [--reference=PATH]   a megabyte in and out, and the memory of idle connections
  bench scaling                a function that computes, on one core and on two: served, and called in process
  bench json                   a function that reads and answers JSON against a native server that does the same
  bench micro                  the parts of a call one by one, without a network: documents, calls, printed lines, instances
        all but micro: [--json] [--rounds=N] [--seconds=N] [--programs=DIR]
  profile [http|faas|fresh|hello] [--seconds=N] [--programs=DIR]   where the processor time of a request goes, by `perf`
  instructions [--bless] [--programs=DIR]   instructions of a request under valgrind, against the record; --bless writes it
  drill [NAME...] [--seconds=N] [--programs=DIR]   long checks of a server of functions: blue-green, kill, sleep, neighbours
  hostile [modules] [clients] [NAME...] [--programs=DIR]   modules and clients that try to break a server, one line each
  soak [--minutes=N] [--seconds=N] [--programs=DIR] [--json]   everything at once on one server for 10 minutes: nothing wrong, nothing kept
  fuzz [--seconds=N] [TARGET...]   hostile input for N seconds in all, 300 by default: frames, documents, flags, faas_bodies, modules
  guests [--check] [NAME...]   build the example functions in Rust, or check that the committed modules match their sources";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let (command, arguments) = match arguments {
        [command, arguments @ ..] => (command.as_str(), arguments),
        [] => bail!("a command is missing\n{USAGE}"),
    };
    match command {
        "bench" => bench::run(arguments),
        "drill" => drill::run(arguments),
        "hostile" => hostile::run(arguments),
        "soak" => soak::run(arguments),
        "fuzz" => fuzz::run(arguments),
        "profile" => profile::run(arguments),
        "instructions" => instructions::run(arguments),
        "test" => test::run(arguments),
        "lint" => lint::run(arguments),
        "tidy" => tidy::run(arguments),
        "bless" => pages::bless(arguments),
        "guests" => guests::run(arguments),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown command `{other}`\n{USAGE}"),
    }
}
