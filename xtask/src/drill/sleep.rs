//! No call fails that comes just before, at or after the moment at which a function falls asleep.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use capsule_test::guests;

use super::Options;
use super::pace::{Failures, wait_until};
use crate::faas::{Kept, Start};

const SECONDS: u32 = 120;
/// Functions that are called side by side, each at its own times.
const FUNCTIONS: u32 = 8;

pub(super) fn run(options: &Options) -> Result<String> {
    let kept = Kept::start(&options.programs)?;
    let mut admin = kept.client()?;
    let module = guests::function("hey/hey.wasm")?.display().to_string();
    for number in 0..FUNCTIONS {
        let place = format!("sleeper-{number}");
        admin.start(&Start { place: &place, module: &module, args: &["-stopAfter=1"], env: &[] })?;
    }
    // On a connection of its own: the server closes one that is idle for the time of the drill.
    let starts = || kept.client()?.metric("capsule_function_cold_start_seconds_count");
    let before = starts()?;

    let (failures, calls) = (Failures::default(), AtomicUsize::new(0));
    let end = Instant::now() + Duration::from_secs(options.seconds.unwrap_or(SECONDS).into());
    std::thread::scope(|scope| {
        for function in 0..FUNCTIONS {
            let (failures, calls, kept) = (&failures, &calls, &kept);
            scope.spawn(move || {
                let mut client = kept.client();
                let mut round = function * 37;
                while Instant::now() < end {
                    let called = client.and_then(|mut client| {
                        client.expect(&format!("sleeper-{function}"), "Bob", "👋 Hey Bob !").map(|()| client)
                    });
                    client = called.or_else(|error| {
                        failures.add(&error);
                        kept.client()
                    });
                    calls.fetch_add(1, Ordering::Relaxed);
                    // From 900 to 1100 ms after the answer, from which its idle time is counted.
                    round += 61;
                    wait_until(Instant::now() + Duration::from_millis(900 + u64::from(round % 201)));
                }
            });
        }
    });
    let calls = calls.into_inner();
    failures.none_of(calls)?;
    let woken = starts().context("the metrics after the calls")? - before;
    ensure!(woken > 0.0, "no function ever fell asleep");
    Ok(format!("{calls} calls of {FUNCTIONS} functions, {woken} of them woke one, no call failed"))
}
