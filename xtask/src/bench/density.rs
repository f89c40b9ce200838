//! `bench density`: many functions in one server, of as many different modules or of fewer: what registering and calling them costs, in
//! time and memory, and what the first calls after a restart cost, when the code is in the cache on disk alone. With a limit of
//! memory, functions are let go for others that are called.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use capsule_test::guests;

use super::Options;
use crate::faas::{Client, Kept, Start, each};
use crate::programs;
use crate::timings::Timings;

/// Requests at the same time.
const CONNECTIONS: usize = 2;
/// With a limit of memory, functions may be let go: their state may be lost.
const MAY_SLEEP: [&str; 1] = ["-stopAfter=1h"];

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http"])?;
    let module = std::fs::read(guests::function("hey/hey.wasm")?)?;
    let mut report = Report { functions: options.functions, json: options.json, before: 0 };
    let flags: Vec<_> = options.memory.iter().map(|size| format!("--maxTotalMemory={size}")).collect();
    let kept = Kept::start_with(&folder, &flags)?;
    let address = kept.server.address();
    let modules = options.modules.unwrap_or(options.functions).clamp(1, options.functions);
    report.before = programs::resident(&kept.server)?;
    report.head(module.len(), modules);

    let start = Instant::now();
    let args: &[&str] = if options.memory.is_some() { &MAY_SLEEP } else { &[] };
    let registered = register(&kept, &module, options.functions, modules, args)?;
    report.row("registered", start.elapsed(), &registered, programs::resident(&kept.server)?);

    let start = Instant::now();
    let called = each(address, CONNECTIONS, options.functions, call)?;
    report.row("called", start.elapsed(), &called, programs::resident(&kept.server)?);

    report.row("at most", Duration::ZERO, &Timings::default(), programs::most_resident(&kept.server)?);

    let start = Instant::now();
    let kept = kept.stopped_and_started()?;
    let restart = start.elapsed();
    report.row("restarted", restart, &Timings::default(), programs::resident(&kept.server)?);

    let start = Instant::now();
    let cold = each(kept.server.address(), CONNECTIONS, options.functions, call)?;
    report.row("called cold", start.elapsed(), &cold, programs::resident(&kept.server)?);
    report.row("at most", Duration::ZERO, &Timings::default(), programs::most_resident(&kept.server)?);
    Ok(())
}

/// Starts so many functions of so many different modules, each of which is uploaded once.
pub(super) fn register(kept: &Kept, module: &[u8], functions: usize, modules: usize, args: &[&str]) -> Result<Timings> {
    let stored: Vec<OnceLock<String>> = (0..modules).map(|_| OnceLock::new()).collect();
    each(kept.server.address(), CONNECTIONS, functions, |client, number| {
        let place = &stored[number % modules];
        let stored = match place.get() {
            Some(stored) => stored,
            None => {
                let uploaded = client.upload(&different(module, number % modules))?;
                place.get_or_init(|| uploaded)
            }
        };
        client.start(&Start { place: &name(number), module: stored, args, env: &[] })?;
        Ok(())
    })
}

fn name(number: usize) -> String {
    format!("function-{number}")
}

/// Calls one of them.
pub(super) fn call(client: &mut Client, number: usize) -> Result<()> {
    client.expect(&name(number), "Bob", "👋 Hey Bob !").with_context(|| format!("function {number}"))
}

/// The module with a custom section of its own: other bytes, the same behaviour.
pub(crate) fn different(module: &[u8], number: usize) -> Vec<u8> {
    let content = format!("\u{6}number{number:08}");
    let mut bytes = module.to_vec();
    // The id of custom sections, and a length below 128, which is one byte.
    bytes.extend([0, content.len() as u8]);
    bytes.extend(content.as_bytes());
    bytes
}

struct Report {
    functions: usize,
    json: bool,
    /// KiB of a server without functions.
    before: u64,
}

impl Report {
    fn head(&self, size: usize, modules: usize) {
        let before = self.before as f64 / 1024.0;
        if self.json {
            println!(
                r#"{{"state":"empty","functions":0,"modules":{modules},"moduleBytes":{size},"residentMiB":{before:.1}}}"#
            );
        } else {
            println!("{} functions of {modules} modules of {size} bytes, {CONNECTIONS} connections", self.functions);
            println!("state              time         p50         p99        RSS  per function");
            println!("empty                                              {before:>7.1}MiB");
        }
    }

    fn row(&self, state: &str, time: Duration, timings: &Timings, resident: u64) {
        let seconds = time.as_secs_f64();
        let (p50, p99) = (timings.percentile(50).as_secs_f64() * 1e3, timings.percentile(99).as_secs_f64() * 1e3);
        let per_function = resident.saturating_sub(self.before) as f64 / self.functions as f64;
        let resident = resident as f64 / 1024.0;
        let functions = self.functions;
        if self.json {
            println!(
                r#"{{"state":"{state}","functions":{functions},"seconds":{seconds:.2},"p50Milliseconds":{p50:.3},"p99Milliseconds":{p99:.3},"residentMiB":{resident:.1},"perFunctionKiB":{per_function:.0}}}"#
            );
        } else if timings.count() == 0 {
            println!("{state:<14} {seconds:>7.1}s {:>27} {resident:>7.1}MiB {per_function:>10.0}KiB", "");
        } else {
            println!(
                "{state:<14} {seconds:>7.1}s {p50:>9.2}ms {p99:>9.2}ms    {resident:>7.1}MiB {per_function:>10.0}KiB"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_differ_in_a_custom_section() {
        let module = b"\0asm\x01\0\0\0";
        let other = different(module, 7);
        assert_eq!(other, b"\0asm\x01\0\0\0\0\x0f\x06number00000007");
        assert_ne!(other, different(module, 8));
    }
}
