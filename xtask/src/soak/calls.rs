//! What clients do, and what has to come of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use capsule_test::DEADLINE;
use capsule_test::client::Response;

use super::load::{Bad, Caller, Counted, Kind, Outcome};
use super::stage::{BODY, SLEEPERS, Stage};
use crate::bench::density;
use crate::drill::blue_green;
use crate::drill::pace::wait_until;
use crate::faas::{Client, Start};

/// What `constant` answers.
const CONSTANT: &[u8] = br#"{"message":"hello"}"#;
/// Lines that each call of `prints` writes to stdout.
pub(super) const LINES: usize = 20;
/// How long Redis is away each time.
const AWAY: Duration = Duration::from_secs(2);
const CALLS: &str = "capsule_function_calls_total";
const HITS: &str = "capsule_function_limit_hits_total";

/// All of them. Together they keep about one core busy.
pub(super) fn kinds() -> Vec<Kind> {
    let kind = |name, clients, milliseconds, act, counted| Kind {
        name,
        clients,
        every: Duration::from_millis(milliseconds),
        act,
        counted,
    };
    let counted = |metric, labels, each| Some(Counted { metric, labels, each });
    vec![
        kind("constant", 4, 20, constant, counted(CALLS, &[r#"function="constant""#, r#"outcome="success""#], 1)),
        kind("revisions", 4, 40, revisions, None),
        kind("acts", 1, 500, acts, None),
        kind("publish", 1, 5000, publish, None),
        kind(
            "sleepers",
            SLEEPERS,
            1000,
            sleepers,
            counted(CALLS, &[r#"function="sleeper-"#, r#"outcome="success""#], 1),
        ),
        kind("child", 2, 100, child, counted(CALLS, &[r#"function="child""#, r#"outcome="success""#], 1)),
        kind("large bodies", 2, 500, large_bodies, counted(CALLS, &[r#"function="echo""#, r#"outcome="success""#], 1)),
        kind("too large", 1, 500, too_large, counted(HITS, &[r#"function="echo""#, r#"limit="maxBody""#], 1)),
        kind("traps", 2, 100, traps, counted(CALLS, &[r#"function="traps""#, r#"outcome="trap""#], 1)),
        kind("failures", 1, 50, failures, counted(CALLS, &[r#"function="fails""#, r#"outcome="failure""#], 1)),
        kind("timeouts", 1, 1000, timeouts, counted(CALLS, &[r#"function="loops""#, r#"outcome="timeout""#], 1)),
        kind("prints", 1, 200, prints, counted(CALLS, &[r#"function="prints""#, r#"outcome="success""#], 1)),
        kind("cache", 2, 100, cache, counted(CALLS, &[r#"function="cache""#, r#"outcome="success""#], 2)),
        // What comes of each depends on whether Redis is there.
        kind("redis", 4, 200, redis, counted(CALLS, &[r#"function="redis""#], 2)),
        kind("redis restarts", 1, 15_000, redis_restarts, None),
        kind("hang-ups", 2, 400, hang_ups, None),
    ]
}

/// A line of a server's stdout that a call of `prints` wrote.
pub(super) fn is_printed(line: &str) -> bool {
    line.strip_prefix("prints/default/0 ").is_some_and(|text| text.len() == 40 && text.bytes().all(|byte| byte == b'x'))
}

fn constant(_: &Stage, caller: &mut Caller) -> Outcome {
    checked(&caller.client()?.call("constant", "")?, 200, CONSTANT)
}

fn revisions(_: &Stage, caller: &mut Caller) -> Outcome {
    let answer = caller.client()?.call("hello", "Bob")?;
    match blue_green::is_of_blue(&answer) {
        Err(error) if answer.status == 200 => Err(Bad::Wrong(error)),
        other => Ok(other.map(drop)?),
    }
}

fn acts(stage: &Stage, caller: &mut Caller) -> Outcome {
    let number = stage.acts.fetch_add(1, Ordering::Relaxed);
    Ok(blue_green::act(caller.client()?, number)?)
}

/// A module that the server has never seen: uploaded, compiled, started, called, dropped.
fn publish(stage: &Stage, caller: &mut Caller) -> Outcome {
    let number = stage.published.fetch_add(1, Ordering::Relaxed);
    let client = caller.client()?;
    let module = client.upload(&density::different(&stage.module, number))?;
    let place = format!("published/r{number}");
    client.start(&Start { place: &place, module: &module, args: &[], env: &[] })?;
    let answer = client.call(&place, "")?;
    client.admin("DELETE", &format!("/functions/drop/{place}"), b"")?;
    checked(&answer, 200, CONSTANT)
}

/// Each is called just before, when and after it falls asleep.
fn sleepers(_: &Stage, caller: &mut Caller) -> Outcome {
    let jitter = (u64::from(caller.number) * 37 + caller.round as u64 * 61) % 201;
    wait_until(Instant::now() + Duration::from_millis(jitter));
    let name = format!("sleeper-{}", caller.number);
    checked(&caller.client()?.call(&name, "")?, 200, CONSTANT)
}

fn child(_: &Stage, caller: &mut Caller) -> Outcome {
    checked(&caller.client()?.call("child", "")?, 200, CONSTANT)
}

/// As large as they may be, and each another.
fn large_bodies(_: &Stage, caller: &mut Caller) -> Outcome {
    let body = bytes(BODY, caller.number as usize + 2 * caller.round);
    checked(&caller.client()?.call_with("echo", &body)?, 200, &body)
}

/// A byte too large. The connection ends with it.
fn too_large(_: &Stage, caller: &mut Caller) -> Outcome {
    let answer = Client::open(caller.address)?.call_with("echo", &vec![b'x'; BODY + 1])?;
    contains(&answer, 413, "--maxBody")
}

fn traps(_: &Stage, caller: &mut Caller) -> Outcome {
    contains(&caller.client()?.call("traps", "t")?, 500, "unreachable")
}

fn failures(_: &Stage, caller: &mut Caller) -> Outcome {
    checked(&caller.client()?.call("fails", "f")?, 500, b"no")
}

fn timeouts(_: &Stage, caller: &mut Caller) -> Outcome {
    contains(&caller.client()?.call("loops", "l")?, 504, "--callTimeout")
}

fn prints(_: &Stage, caller: &mut Caller) -> Outcome {
    checked(&caller.client()?.call("prints", "wx")?, 200, b"{}")
}

fn cache(_: &Stage, caller: &mut Caller) -> Outcome {
    let (key, value) = (format!("key-{}", caller.number), format!("value-{}", caller.round));
    let client = caller.client()?;
    let set = client.call("cache", &format!("S{key}={value}"))?;
    let got = client.call("cache", &format!("G{key}"))?;
    checked(&set, 200, key.as_bytes())?;
    checked(&got, 200, value.as_bytes())
}

/// While Redis is away they may fail, but not say anything else.
fn redis(stage: &Stage, caller: &mut Caller) -> Outcome {
    let (key, value) = (format!("key-{}", caller.number), format!("value-{}", caller.round));
    let client = caller.client()?;
    let life = stage.redis_life();
    let set = client.call("redis", &format!("s{key}={value}"))?;
    let got = client.call("redis", &format!("g{key}"))?;
    let was_there = life.is_some() && stage.redis_life() == life;
    for (answer, expected) in [(&set, &key), (&got, &value)] {
        if was_there || answer.status != 500 {
            checked(answer, 200, expected.as_bytes())?;
        }
    }
    Ok(())
}

fn redis_restarts(stage: &Stage, _: &mut Caller) -> Outcome {
    Ok(stage.without_redis(|| wait_until(Instant::now() + AWAY))?)
}

/// Clients that go away: while their call runs, in the middle of what they send, in the middle of what they are sent.
fn hang_ups(_: &Stage, caller: &mut Caller) -> Outcome {
    let whole = |name: &str, body: &[u8]| {
        let head = format!("POST /functions/{name} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let send = |bytes: &[u8]| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(caller.address).context("a client that will go away")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.write_all(bytes)?;
        Ok(stream)
    };
    match caller.round % 4 {
        0 => drop(send(&whole("left", b"l"))?),
        1 => drop(send(&whole("left-fresh", b"l"))?),
        2 => drop(send(&whole("left-echo", &bytes(BODY, caller.round))[..BODY / 2])?),
        _ => {
            // With the rest unread, the system resets the connection.
            let mut stream = send(&whole("left-echo", &bytes(BODY, caller.round)))?;
            let read = stream.read_exact(&mut [0]);
            read.context("the answer to a client that will go away")?;
        }
    }
    Ok(())
}

fn checked(answer: &Response, status: u16, body: &[u8]) -> Outcome {
    if answer.status != status {
        return Err(Bad::Failed(unexpected(answer, status)));
    }
    if answer.body != body {
        return Err(Bad::Wrong(unexpected(answer, status)));
    }
    Ok(())
}

fn contains(answer: &Response, status: u16, text: &str) -> Outcome {
    if answer.status != status {
        return Err(Bad::Failed(unexpected(answer, status)));
    }
    if !answer.text().contains(text) {
        return Err(Bad::Wrong(unexpected(answer, status)));
    }
    Ok(())
}

fn unexpected(answer: &Response, expected: u16) -> anyhow::Error {
    let text: String = answer.text().chars().take(200).collect();
    anyhow!("expected {expected}, found {} with {} bytes: `{text}`", answer.status, answer.body.len())
}

/// Bytes of every kind, others for each number.
fn bytes(length: usize, number: usize) -> Vec<u8> {
    let mut state = number as u32;
    let next = || {
        // A linear congruential generator, of which the upper bits are good.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_printing_function_are_known() {
        let x = "x".repeat(40);
        for (line, expected) in [
            (format!("prints/default/0 {x}"), true),
            (format!("prints/default/0 {x}x"), false),
            (format!("other/default/0 {x}"), false),
            ("prints/default/0 OnStart".to_owned(), false),
        ] {
            assert_eq!(is_printed(&line), expected, "{line}");
        }
    }

    #[test]
    fn bodies_differ() {
        assert_eq!(bytes(100, 7), bytes(100, 7));
        assert_ne!(bytes(100, 7), bytes(100, 8));
        assert!((0..=255).all(|byte| bytes(1 << 16, 0).contains(&byte)));
    }

    #[test]
    fn an_answer_of_another_status_failed_and_of_another_text_is_wrong() {
        let answer = Response { status: 200, headers: Vec::new(), body: b"ab".to_vec() };
        assert!(checked(&answer, 200, b"ab").is_ok() && contains(&answer, 200, "b").is_ok());
        assert!(matches!(checked(&answer, 200, b"a"), Err(Bad::Wrong(_))));
        assert!(matches!(contains(&answer, 200, "c"), Err(Bad::Wrong(_))));
        let Err(Bad::Failed(error)) = checked(&answer, 500, b"ab") else { panic!("it did not fail") };
        assert_eq!(error.to_string(), "expected 500, found 200 with 2 bytes: `ab`");
    }
}
