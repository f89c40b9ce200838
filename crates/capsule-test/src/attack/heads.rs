//! Heads that come slowly, never, or without end.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Attack, Target, drip, rest, statuses};

pub(super) const ALL: &[Attack] = &[
    Attack::new("slow-head", &["--headerTimeout=600ms"], slow),
    Attack::new("silent", &["--headerTimeout=600ms"], silent),
    Attack::new("large-head", &[], large),
];

const LIMIT: Duration = Duration::from_millis(600);

/// Each connection sends one byte of a head after the other.
fn slow(target: &Target) -> anyhow::Result<String> {
    // One that is slow, but not too slow.
    let mut patient = target.open(b"POST / HTTP/1.1\r\nHost: h\r\n")?;
    let begin = Instant::now();
    while begin.elapsed() < LIMIT / 3 {
        target.ask()?;
    }
    patient.write_all(b"Connection: close\r\n\r\n")?;
    ensure!(statuses(&rest(&mut patient)?) == [200], "a head that comes in time is refused");

    let count = target.count(10, 5000);
    let begin = Instant::now();
    let streams = target.crowd(count, b"GET / HTTP/1.1\r\nHost: h\r\nX: ")?;
    let mut slowest = Duration::ZERO;
    let ends = drip(streams, b'x', || {
        slowest = slowest.max(target.ask()?);
        Ok(())
    })?;
    ensure!(begin.elapsed() >= LIMIT, "they were closed after {:?}", begin.elapsed());
    let told = ends.iter().filter(|(end, _)| end.starts_with("HTTP/1.1 408 ") && end.contains("`--headerTimeout`"));
    ensure!(told.count() == count, "expected 408 on each, found {ends:?}");
    target.wait_closed("header", count)?;
    Ok(format!("{count} heads that drip: each 408 after its time, a normal client meanwhile {slowest:.1?}"))
}

/// Each connection says nothing, or stops in the midst of HTTP/2's first bytes.
fn silent(target: &Target) -> anyhow::Result<String> {
    // Fewer than the limit of the server, which would close some of them for the normal client.
    let count = target.count(10, 4950);
    let mut streams = target.crowd(count, b"")?;
    streams.extend(target.crowd(count, b"PRI * HTTP/2.0\r\n\r\nSM")?);
    let slowest = target.ask()?;
    for stream in &mut streams {
        let end = rest(stream)?;
        ensure!(end.is_empty(), "expected no answer, found `{end}`");
    }
    target.wait_closed("header", 2 * count)?;
    Ok(format!("{} silent connections: each closed, a normal client meanwhile {slowest:.1?}", 2 * count))
}

/// Heads at the edge of what is taken, beyond it, and without end.
fn large(target: &Target) -> anyhow::Result<String> {
    let head = |more: &str| format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{more}\r\n");
    let headers = |count: usize| (0..count).map(|index| format!("X-{index}: y\r\n")).collect::<String>();
    let of_size = |size: usize| head(&format!("X: {}\r\n", "y".repeat(size)));
    for (what, bytes, expected) in [
        ("98 more headers", head(&headers(98)), 200),
        ("99 more headers", head(&headers(99)), 431),
        ("10,000 headers", head(&headers(10_000)), 431),
        ("60 KiB", of_size(60 << 10), 200),
        ("70 KiB", of_size(70 << 10), 431),
        ("1 MiB", of_size(1 << 20), 431),
        ("a path of 60 KiB", format!("GET /{} HTTP/1.0\r\n\r\n", "y".repeat(60 << 10)), 200),
        ("a path of 1 MiB", format!("GET /{} HTTP/1.0\r\n\r\n", "y".repeat(1 << 20)), 431),
        ("a method of 1 MiB", "G".repeat(1 << 20), 431),
    ] {
        let found = statuses(&rest(&mut target.open(bytes.as_bytes())?)?);
        // A client that still sends when the server closes may not see the answer.
        ensure!(found == [expected] || (found.is_empty() && bytes.len() > 100 << 10), "{what}: {found:?}");
    }
    let count = target.count(10, 1000);
    let streams = target.crowd(count, b"GET / HTTP/1.1\r\nHost: h\r\n")?;
    let (mut open, mut sent) = (streams, 0);
    let piece = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(128);
    // The connections are closed: what is sent finds nobody.
    while !open.is_empty() {
        open.retain_mut(|stream| stream.write_all(piece.as_bytes()).is_ok());
        sent += piece.len();
        ensure!(sent < 100 << 20, "{} heads without end are read for ever", open.len());
    }
    Ok(format!("98 headers and 60 KiB pass, more is 431; {count} heads without end: each closed"))
}
