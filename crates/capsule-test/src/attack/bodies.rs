//! Bodies that come slowly, not at all, or in too many connections at once.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Attack, Target, drip, rest, statuses};

pub(super) const ALL: &[Attack] = &[
    Attack::new("slow-body", &["--bodyTimeout=600ms", "--minRate=1MiB"], slow),
    Attack::new("short-body", &[], short),
    Attack::new("many-bodies", &["--maxBuffered=4MiB"], many),
];

const LIMIT: Duration = Duration::from_millis(600);

/// Bodies that stop, and bodies that come one byte after the other.
fn slow(target: &Target) -> anyhow::Result<String> {
    let begin = Instant::now();
    let mut patient = target.open(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\nx")?;
    while begin.elapsed() < LIMIT / 3 {
        target.ask()?;
    }
    patient.write_all(b"x")?;
    ensure!(statuses(&rest(&mut patient)?) == [200], "a body that comes in time is refused");

    let count = target.count(10, 2000);
    let begin = Instant::now();
    let mut stopped = target.crowd(count, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx")?;
    let slowest = target.ask()?;
    for stream in &mut stopped {
        let end = rest(stream)?;
        ensure!(
            end.starts_with("HTTP/1.1 408 ") && end.contains("(flag `--bodyTimeout`)"),
            "expected 408, found `{end}`"
        );
    }
    ensure!(begin.elapsed() >= LIMIT, "they were closed after {:?}", begin.elapsed());

    // Each byte comes in time, all of them do not.
    let heads: [&[u8]; 2] = [
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ];
    for head in heads {
        let mut slowest = Duration::ZERO;
        let ends = drip(target.crowd(count, head)?, b'x', || {
            slowest = slowest.max(target.ask()?);
            Ok(())
        })?;
        for (end, _) in &ends {
            ensure!(
                end.starts_with("HTTP/1.1 408 ") && end.contains("(flag `--minRate`)"),
                "expected 408, found `{end}`"
            );
        }
    }
    target.wait_closed("body", 3 * count)?;
    Ok(format!("{count} bodies that stop, {} that drip: each 408, a normal client meanwhile {slowest:.1?}", 2 * count))
}

/// Bodies that end before their length.
fn short(target: &Target) -> anyhow::Result<String> {
    let count = target.count(10, 1000);
    for _ in 0..count {
        let mut stream = target.open(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")?;
        stream.shutdown(Shutdown::Write)?;
        let end = rest(&mut stream)?;
        ensure!(end.starts_with("HTTP/1.1 400 ") && end.ends_with("the body is broken off"), "found `{end}`");
    }
    // Gone without a word.
    drop(target.crowd(count, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")?);
    Ok(format!("{count} bodies that end too early: each 400; {count} clients that hang up within a body"))
}

/// Large bodies in many connections at once, none of them complete.
fn many(target: &Target) -> anyhow::Result<String> {
    const PART: usize = 512 << 10;
    let limit = 4 << 20;
    let mut wire = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n".to_vec();
    wire.resize(wire.len() + PART, b'x');
    let before = target.resources()?;
    let count = target.count(30, 500);
    let begin = Instant::now();
    let mut streams = target.crowd(count, &wire)?;
    let held = target.metric("capsule_buffered_bytes")?;
    ensure!(held <= limit, "{held} bytes are held");
    let memory = target.resources()?.memory.saturating_sub(before.memory) >> 10;
    let waited = target.ask_again()?;
    // Another one is refused at first, and makes the server close those that it waits for for longest.
    let mut body = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n".to_vec();
    body.resize(body.len() + 1_000_000, b'x');
    while statuses(&rest(&mut target.open(&body)?)?) != [200] {
        ensure!(begin.elapsed() < Duration::from_secs(10), "there is no room for another body");
    }
    target.wait_closed("buffer", 1)?;
    let mut refused = 0;
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(stream, &mut answer);
        let answer = String::from_utf8_lossy(&answer);
        if answer.starts_with("HTTP/1.1 503 ") && answer.contains("(flag `--maxBuffered`)") {
            refused += 1;
        }
    }
    ensure!(refused > 0 || count as u64 * PART as u64 <= limit, "no body is refused");
    Ok(format!(
        "{count} connections with half a MiB of a body each, 4 MiB are allowed: {refused} saw 503, memory grew by {memory} MiB, a \
         normal client meanwhile {waited:.1?}",
    ))
}
