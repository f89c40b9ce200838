//! What the child does that compiles one module.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};

use super::{FAILURE, SUCCESS};
use crate::engine::{self, Memories};
use crate::error::{LoadError, LoadErrorKind};
use crate::module;

/// More than any name of a module.
const LONGEST_NAME: usize = 1 << 20;

/// Kinds of errors that a child reports, by their number in its answer.
pub(super) const KINDS: [LoadErrorKind; 4] =
    [LoadErrorKind::NotAModule, LoadErrorKind::Proposal, LoadErrorKind::Limit, LoadErrorKind::Runner];

/// Compiles one module for the engine that has started this process, as [`CompileCommand`](super::CompileCommand) says.
/// `words` are those behind the program's own. To be called first of all in `main`, before there are threads.
///
/// # Errors
/// One line that says what is wrong. The caller prints it and ends the process. What is wrong with the module is not among
/// it: the parent is told.
pub fn compile_for_parent(words: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let words: Option<Vec<String>> = words.into_iter().map(|word| word.into_string().ok()).collect();
    let orders = words.as_deref().and_then(Orders::read);
    let orders =
        orders.ok_or("expected `PARENT MEMORY SECONDS reserved|moving`; it is the parent that writes these words")?;
    system::submit(&orders)?;
    let (name, wasm) = receive().map_err(|error| format!("cannot read the module: {error}"))?;
    let answer = match compile(&name, &wasm, orders.memories) {
        Ok(image) => [&[SUCCESS][..], &image].concat(),
        Err(error) => failure(&error),
    };
    let mut out = io::stdout().lock();
    out.write_all(&answer).and_then(|()| out.flush()).map_err(|error| format!("cannot answer: {error}"))
}

/// What the parent asks for, as words.
pub(super) struct Orders {
    pub(super) parent: u32,
    /// Bytes of memory.
    pub(super) memory: u64,
    /// Seconds of processor time.
    pub(super) seconds: u64,
    pub(super) memories: Memories,
}

impl Orders {
    pub(super) fn words(&self) -> [String; 4] {
        let memories = if self.memories == Memories::Reserved { "reserved" } else { "moving" };
        [self.parent.to_string(), self.memory.to_string(), self.seconds.to_string(), memories.into()]
    }

    fn read(words: &[String]) -> Option<Orders> {
        let [parent, memory, seconds, memories] = words else { return None };
        Some(Orders {
            parent: parent.parse().ok()?,
            memory: memory.parse().ok()?,
            seconds: seconds.parse().ok()?,
            memories: match memories.as_str() {
                "reserved" => Memories::Reserved,
                "moving" => Memories::Moving,
                _ => return None,
            },
        })
    }
}

/// The name of the module and its bytes.
fn receive() -> io::Result<(String, Vec<u8>)> {
    let mut input = io::stdin().lock();
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST_NAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut name = vec![0; length];
    input.read_exact(&mut name)?;
    let mut wasm = Vec::new();
    input.read_to_end(&mut wasm)?;
    Ok((String::from_utf8_lossy(&name).into_owned(), wasm))
}

fn compile(name: &str, wasm: &[u8], memories: Memories) -> Result<Vec<u8>, LoadError> {
    let engine = wasmtime::Engine::new(&engine::wasm_config(memories))
        .map_err(|error| LoadError::new(LoadErrorKind::Runner, format!("cannot start the engine: {error:#}")))?;
    engine.precompile_module(wasm).map_err(|error| module::compile_error(name, &error))
}

fn failure(error: &LoadError) -> Vec<u8> {
    let kind = KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(KINDS.len() - 1);
    let mut answer = vec![FAILURE, u8::try_from(kind).unwrap_or_default()];
    answer.extend(error.to_string().bytes());
    answer.push(0);
    answer.extend(error.hint().unwrap_or_default().bytes());
    answer
}

#[cfg(unix)]
mod system {
    use super::Orders;
    use rustix::process::{Resource, Rlimit, setrlimit};

    /// Behind the threads that serve, and those that run long calls.
    const NICE: i32 = 10;
    /// Bytes of address space that allocators and stacks reserve beyond what is used.
    #[cfg(target_os = "linux")]
    const RESERVE: u64 = 1 << 30;

    /// Takes on the budget and ties this process to its parent.
    pub(super) fn submit(orders: &Orders) -> Result<(), String> {
        #[cfg(target_os = "linux")]
        die_with(orders.parent)?;
        let limit = |resource, amount: u64, last: u64| {
            // A harder limit of before stays.
            let maximum = rustix::process::getrlimit(resource).maximum.map_or(last, |before| before.min(last));
            setrlimit(resource, Rlimit { current: Some(amount.min(maximum)), maximum: Some(maximum) })
                .map_err(|error| format!("cannot limit itself: {error}"))
        };
        limit(Resource::Core, 0, 0)?;
        // A second apart: the first is a signal that says what it is about, the last one kills.
        limit(Resource::Cpu, orders.seconds, orders.seconds.saturating_add(1))?;
        #[cfg(target_os = "linux")]
        if let Some(now) = address_space() {
            // The parent looks at what is used; what is reserved may be more, and has an end too.
            let all = now.saturating_add(orders.memory.saturating_mul(2)).saturating_add(RESERVE);
            limit(Resource::As, all, all)?;
        }
        // The priority is worth an attempt.
        let _ = rustix::process::setpriority_process(None, NICE);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn die_with(parent: u32) -> Result<(), String> {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| format!("cannot be tied to its parent: {error}"))?;
        let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if now != Some(parent) {
            return Err("its parent has ended".into());
        }
        // Where memory is short all the same, it is this process that goes.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        Ok(())
    }

    /// Bytes of address space that this process has.
    #[cfg(target_os = "linux")]
    fn address_space() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}

#[cfg(not(unix))]
mod system {
    pub(super) fn submit(_: &super::Orders) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let orders = Orders { parent: 7, memory: 1 << 40, seconds: 60, memories: Memories::Moving };
        let read = Orders::read(&orders.words()).unwrap();
        assert_eq!((read.parent, read.memory, read.seconds, read.memories), (7, 1 << 40, 60, Memories::Moving));
        for words in [&["7", "1", "60"][..], &["7", "x", "60", "moving"], &["7", "1", "60", "other"], &[]] {
            let words = words.iter().map(OsString::from);
            assert!(compile_for_parent(words).unwrap_err().starts_with("expected `PARENT MEMORY"));
        }
    }
}
