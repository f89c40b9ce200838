//! A function is answered in time while others loop, eat memory and trap all the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use capsule_test::guests;

use super::Options;
use super::pace::Pace;
use crate::faas::{Client, Kept, Start};

const SECONDS: u32 = 20;
/// What 99 of 100 calls of the good function have to stay below.
const LIMIT: Duration = Duration::from_millis(50);
/// Callers of each bad function, who never pause.
const CALLERS: usize = 2;
/// Stands for the status of a call whose connection broke.
const NO_ANSWER: u16 = 0;

/// Takes memory page by page and writes to each, until it is refused more; then it traps.
const HUNGRY: &str = r#"(module
  (memory (export "memory") 2)
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "free") (param i32))
  (func (export "callHandleHTTP") (param i32 i32) (result i64)
    (local $page i32)
    (loop $more
      (local.set $page (memory.grow (i32.const 1)))
      (if (i32.eq (local.get $page) (i32.const -1)) (then (unreachable)))
      (memory.fill (i32.shl (local.get $page) (i32.const 16)) (i32.const 1) (i32.const 65536))
      (br $more))
    (unreachable)))
"#;

pub(super) fn run(options: &Options) -> Result<String> {
    let kept = Kept::start(&options.programs)?;
    let mut admin = kept.client()?;
    let tricks = guests::fixture("http-tricks.wat")?.display().to_string();
    let hungry = kept.home.path().join("hungry.wat");
    std::fs::write(&hungry, HUNGRY)?;
    let hungry = hungry.display().to_string();
    let hey = guests::function("hey/hey.wasm")?.display().to_string();
    // A looping call ends at its deadline; with the usual one of 30 s each caller would make a single call.
    let bad = [("loops", &tricks, "l", "-callTimeout=2s"), ("eats", &hungry, "", ""), ("traps", &tricks, "t", "")];
    for (name, module, _, argument) in bad {
        let args: Vec<&str> = [argument].into_iter().filter(|argument| !argument.is_empty()).collect();
        admin.start(&Start { place: name, module, args: &args, env: &[] })?;
    }
    admin.start(&Start { place: "good", module: &hey, args: &[], env: &[] })?;

    let over = AtomicBool::new(false);
    let answers: Mutex<BTreeMap<(&str, u16), usize>> = Mutex::default();
    let pace = Pace { connections: 4, calls_per_second: 200, seconds: options.seconds.unwrap_or(SECONDS) };
    let seen = std::thread::scope(|scope| {
        for (name, _, body, _) in bad {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    let mut client = kept.client().ok();
                    while !over.load(Ordering::Relaxed) {
                        let answer = client.as_mut().and_then(|client| client.call(name, body).ok());
                        let status = answer.map_or(NO_ANSWER, |answer| answer.status);
                        if status == NO_ANSWER {
                            client = kept.client().ok();
                        }
                        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                        *answers.entry((name, status)).or_default() += 1;
                    }
                });
            }
        }
        let call = |client: &mut Client| client.expect("good", "Bob", "👋 Hey Bob !");
        let seen = pace.run(kept.server.address(), call, || Ok(()));
        over.store(true, Ordering::Relaxed);
        seen
    })?;
    let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    let shown: Vec<_> = answers.iter().map(|((name, status), count)| format!("{name} {status}: {count}")).collect();
    let shown = shown.join(", ");
    for (name, expected) in [("loops", 504), ("eats", 500), ("traps", 500)] {
        ensure!(answers.contains_key(&(name, expected)), "`{name}` never answered {expected}: {shown}");
    }
    ensure!(answers.keys().all(|(_, status)| *status != NO_ANSWER), "a connection broke: {shown}");
    let count = seen.timings.count();
    let line = format!("{count} calls at {:.0}/s, no call failed, {}; {shown}", seen.calls_per_second, seen.timings);
    ensure!(seen.timings.percentile(99) < LIMIT, "p99 is not below {LIMIT:?}: {line}");
    Ok(line)
}
