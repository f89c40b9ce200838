//! Clients that do not read what they asked for.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Attack, Target};
use crate::DEADLINE;
use crate::client::read_response;

pub(super) const ALL: &[Attack] = &[
    Attack::new("never-read", &["--writeTimeout=600ms"], never),
    Attack::new("slow-read", &["--writeTimeout=600ms", "--minRate=10MiB"], slowly),
    Attack::new("pipeline", &["--writeTimeout=600ms"], pipeline),
    Attack::new("unread-answers", &["--maxBuffered=16MiB"], answers),
];

/// More answers than the system keeps for a client.
fn large_requests() -> Vec<u8> {
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n9".repeat(4)
}

fn never(target: &Target) -> anyhow::Result<String> {
    let count = target.count(3, 50);
    let begin = Instant::now();
    let streams = target.crowd(count, &large_requests())?;
    let mut slowest = Duration::ZERO;
    while target.closed("write")? < count as u64 {
        slowest = slowest.max(target.ask_again()?);
        ensure!(begin.elapsed() < DEADLINE, "they are never closed");
    }
    drop(streams);
    Ok(format!("{count} clients that do not read 36 MiB: each closed, a normal client meanwhile {slowest:.1?}"))
}

fn slowly(target: &Target) -> anyhow::Result<String> {
    let count = target.count(2, 20);
    let mut streams = target.crowd(count, &large_requests())?;
    let begin = Instant::now();
    let mut piece = [0; 256];
    while target.closed("write")? < count as u64 {
        // Each reads something now and then, so that the server is never without any progress for long.
        for stream in &mut streams {
            let _ = stream.read(&mut piece);
        }
        target.ask_again()?;
        ensure!(begin.elapsed() < DEADLINE, "they are never closed");
    }
    Ok(format!("{count} clients that read a little now and then: each closed after {:.1?}", begin.elapsed()))
}

/// Many requests at once: one client reads all answers, another one none.
fn pipeline(target: &Target) -> anyhow::Result<String> {
    let count = target.count(1000, 50_000);
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let stream = target.open(b"")?;
    let mut reader = std::io::BufReader::new(stream.try_clone()?);
    let answered = std::thread::scope(|scope| {
        scope.spawn(move || (&stream).write_all(&request.repeat(count)));
        (0..count).try_for_each(|_| {
            let answer = read_response(&mut reader, "GET")?;
            ensure!(answer.status == 200, "answered {}", answer.status);
            Ok(())
        })
    });
    answered?;

    let (mut stream, mut sent) = (target.open(b"")?, 0);
    stream.set_write_timeout(Some(DEADLINE))?;
    let wire = request.repeat(1000);
    while stream.write_all(&wire).is_ok() {
        sent += wire.len();
        ensure!(sent < 100 << 20, "the server keeps all that is not read");
    }
    target.wait_closed("write", 1)?;
    Ok(format!("{count} requests at once: all answered; a client that never reads: closed after {} KiB", sent >> 10))
}

/// Large answers for many clients that do not read: there is a limit for all of them together.
fn answers(target: &Target) -> anyhow::Result<String> {
    let before = target.resources()?;
    let count = target.count(6, 500);
    let streams = target.crowd(count, &large_requests())?;
    let begin = Instant::now();
    let (mut most, mut slowest) = (0, Duration::ZERO);
    // There is room for one of the answers. The others are 503, or those who were waited for are closed.
    while target.answered()? < count as u64 {
        slowest = slowest.max(target.ask_again()?);
        most = most.max(target.resources()?.memory);
        ensure!(begin.elapsed() < DEADLINE, "{} of {count} are answered", target.answered()?);
    }
    slowest = slowest.max(target.ask_again()?);
    most = most.max(target.resources()?.memory).saturating_sub(before.memory) >> 10;
    ensure!(most < 250, "{most} MiB are held");
    drop(streams);
    Ok(format!(
        "{count} clients that do not read 36 MiB each, 16 MiB are allowed: memory grew by {most} MiB, a normal client \
         meanwhile {slowest:.1?}"
    ))
}
