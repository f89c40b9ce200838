//! Who is there: the server, its functions, and Redis.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use capsule_test::DEADLINE;
use capsule_test::guests;
use capsule_test::process::{Finished, Stream};
use capsule_test::redis::Redis;
use capsule_test::server::HttpServer;
use serde_json::json;

use super::calls;
use super::load::Load;
use crate::drill::blue_green;
use crate::faas::{Client, Kept, Start};

/// How many functions fall asleep, each with a client of its own.
pub(super) const SLEEPERS: u32 = 4;
/// What one may send to `echo`: its body is as large, or larger by a byte.
pub(super) const BODY: usize = 1 << 20;

/// Lines of stderr that are shown when the server has ended.
const LAST: usize = 20;

/// Answers the body. Its memory grows to what it is sent.
const ECHO: &str = r#"(module
  (memory (export "memory") 2)
  (data (i32.const 16) "\c8\00\00\00\00\00\00\00")
  (func (export "malloc") (param $size i32) (result i32)
    (local $end i32)
    (local.set $end (i32.shr_u (i32.add (local.get $size) (i32.const 131071)) (i32.const 16)))
    (if (i32.gt_u (local.get $end) (memory.size))
      (then (drop (memory.grow (i32.sub (local.get $end) (memory.size))))))
    (i32.const 65536))
  (func (export "free") (param i32))
  (func (export "callHandleRequest") (param i32 i32 i32 i32) (result i64)
    (i32.store (i32.const 256) (i32.const 16))
    (i32.store (i32.const 260) (i32.const 8))
    (i32.store (i32.const 264) (local.get 2))
    (i32.store (i32.const 268) (local.get 3))
    (i64.const 0x0000010000000010)))
"#;

pub(super) struct Stage {
    pub(super) address: SocketAddr,
    /// The bytes of a module, of which others are made to be published.
    pub(super) module: Vec<u8>,
    /// Modules that were published so far.
    pub(super) published: AtomicUsize,
    /// Acts on the revisions of `hello` so far.
    pub(super) acts: AtomicUsize,
    kept: Kept,
    redis: Mutex<Redis>,
    /// Grows when Redis is killed and when it is back: odd while it is away.
    times: AtomicU64,
}

impl Stage {
    /// Starts the server of this folder, and every function.
    pub(super) fn start(folder: &Path) -> Result<Stage> {
        let redis = Redis::start()?;
        let kept = Kept::start(folder)?;
        let echo = kept.home.path().join("echo.wat");
        std::fs::write(&echo, ECHO)?;
        let function = |name: &str| anyhow::Ok(guests::function(name)?.display().to_string());
        let fixture = |name: &str| anyhow::Ok(guests::fixture(name)?.display().to_string());
        let (echo, constant) = (echo.display().to_string(), function("constant/constant.wasm")?);
        let (tricks, services) = (fixture("http-tricks.wat")?, fixture("services.wat")?);
        let redis_uri = format!("REDIS_URI={}", redis.url(0));
        let allowed = format!("-allowHosts=127.0.0.1:{}", redis.port());
        // `services.wat` gives no memory back, and is replaced before it needs much.
        let replaced = "-maxCalls=500";
        let mut admin = kept.client()?;
        let functions: [(&str, &str, &[&str], &[&str]); 11] = [
            ("constant", &constant, &["-instances=2"], &[]),
            ("echo", &echo, &["-instances=2", "-maxBody=1MiB"], &[]),
            ("traps", &tricks, &["-instances=2"], &[]),
            ("fails", &tricks, &[], &[]),
            ("loops", &tricks, &["-callTimeout=100ms"], &[]),
            ("prints", &tricks, &[], &[]),
            ("cache", &services, &[replaced], &[]),
            ("redis", &services, &["-instances=2", replaced, &allowed], &[&redis_uri]),
            ("left", &tricks, &["-callTimeout=100ms"], &[]),
            ("left-fresh", &tricks, &["-callTimeout=100ms", "-instances=fresh"], &[]),
            ("left-echo", &echo, &[], &[]),
        ];
        for (place, module, args, env) in functions {
            admin.start(&Start { place, module, args, env }).with_context(|| format!("start of `{place}`"))?;
        }
        for number in 0..SLEEPERS {
            let place = format!("sleeper-{number}");
            admin.start(&Start { place: &place, module: &constant, args: &["-stopAfter=1"], env: &[] })?;
        }
        let program = folder.join("capsule-http");
        let child = json!({"name": "child", "path": program, "args": ["", format!("-wasm={constant}")]});
        admin.admin("POST", "/functions/start", child.to_string().as_bytes()).context("start of `child`")?;
        blue_green::prepare(&mut admin)?;
        Ok(Stage {
            address: kept.server.address(),
            module: std::fs::read(&constant)?,
            published: AtomicUsize::new(0),
            acts: AtomicUsize::new(0),
            kept,
            redis: Mutex::new(redis),
            times: AtomicU64::new(0),
        })
    }

    pub(super) fn server(&self) -> &HttpServer {
        &self.kept.server
    }

    pub(super) fn client(&self) -> Result<Client> {
        self.kept.client()
    }

    /// Stands for this life of Redis, or is `None` while it is away or comes and goes.
    pub(super) fn redis_life(&self) -> Option<u64> {
        Some(self.times.load(Ordering::SeqCst)).filter(|times| times % 2 == 0)
    }

    /// Kills Redis, does something, and starts it again.
    pub(super) fn without_redis(&self, meanwhile: impl FnOnce()) -> Result<()> {
        let mut redis = self.redis.lock().unwrap_or_else(PoisonError::into_inner);
        self.times.fetch_add(1, Ordering::SeqCst);
        redis.kill()?;
        meanwhile();
        redis.restart()?;
        self.times.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// The end of what the server wrote to stderr.
    pub(super) fn last_words(&self) -> String {
        let all = self.kept.server.process.output(Stream::Stderr);
        let lines: Vec<&str> = all.lines().filter(|line| !calls::is_printed(line)).collect();
        format!("the last lines of its stderr are\n{}\n", lines[lines.len().saturating_sub(LAST)..].join("\n"))
    }

    /// Stops the server with SIGTERM: exit code 0, no child is left, and all that functions printed is there.
    pub(super) fn stop(self, load: &Load) -> Result<String> {
        let children = children(self.kept.server.process.id())?;
        ensure!(!children.is_empty(), "the server has no child, although a function is one");
        let begin = Instant::now();
        let finished = self.kept.server.stop().and_then(Finished::success).context("after SIGTERM")?;
        let took = begin.elapsed();
        while let Some(alive) = children.iter().find(|child| is_alive(**child)) {
            ensure!(begin.elapsed() < DEADLINE, "child {alive} outlives the server");
            std::thread::yield_now();
        }
        self.redis.into_inner().unwrap_or_else(PoisonError::into_inner).kill().context("Redis does not end")?;
        let printed = finished.stdout().lines().filter(|line| calls::is_printed(line)).count();
        let expected = calls::LINES * load.count("prints");
        ensure!(printed == expected, "{printed} of {expected} lines that a function printed came out");
        let count = children.len();
        Ok(format!("all {printed} lines; exit code 0 after {took:.1?}, {count} children and Redis ended"))
    }
}

/// The processes whose parent this is.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if fields(process).is_some_and(|(_, of)| of == parent) {
            found.push(process);
        }
    }
    Ok(found)
}

/// Ended, and not yet asked for by anybody, is not alive.
fn is_alive(process: u32) -> bool {
    fields(process).is_some_and(|(state, _)| state != "Z")
}

/// State and parent of a process that is there.
fn fields(process: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_parent_and_a_state() {
        let own = std::process::id();
        let (_, parent) = fields(own).unwrap();
        assert!(children(parent).unwrap().contains(&own));
        assert!(is_alive(own) && !is_alive(u32::MAX));
    }
}
