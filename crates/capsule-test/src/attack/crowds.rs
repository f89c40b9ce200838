//! Many connections: idle ones, slow ones, half-closed ones.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{Attack, Target, exchange, rest, statuses};
use crate::DEADLINE;

pub(super) const ALL: &[Attack] = &[
    Attack::new("idle-crowd", &[], idle),
    Attack::new("idle-timeout", &["--idleTimeout=600ms"], timeout),
    Attack::new("full-of-idle", &["--maxConnections=20", "--instances=2", "--callTimeout=3s"], full_of_idle),
    Attack::new("full-of-slow", &["--maxConnections=5"], full_of_slow),
    Attack::new("half-closed", &[], half_closed),
    Attack::new("hang-up", &[], hang_up),
];

/// As many connections as there are descriptors for, which do nothing between two requests. Fewer than the limit of the server:
/// the normal client needs a place, for which one of them would be closed.
fn idle(target: &Target) -> anyhow::Result<String> {
    // This process has one of each connection, and some other files.
    let possible = usize::try_from(target.descriptors.saturating_sub(1000)).unwrap_or(usize::MAX);
    let count = target.count(500, 9_900).min(possible);
    let before = target.resources()?;
    let mut crowd = Vec::new();
    for _ in 0..count {
        crowd.push(target.server.connect()?);
    }
    let mut slowest = target.ask()?;
    for connection in &mut crowd {
        connection.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    }
    for connection in &mut crowd {
        connection.read_response("GET")?;
    }
    slowest = slowest.max(target.ask()?);
    let during = target.resources()?;
    let each = during.memory.saturating_sub(before.memory) * 1024 / count as u64;
    // Each of them is still of use.
    for connection in crowd.iter_mut().step_by(count / 100) {
        connection.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        ensure!(connection.read_response("GET")?.status == 200, "an idle connection is closed");
    }
    Ok(format!(
        "{count} idle connections of {} that files are allowed for: {each} bytes each, a normal client meanwhile {slowest:.1?}",
        target.descriptors
    ))
}

/// Connections that nobody uses are closed, also when their clients send what is no request.
fn timeout(target: &Target) -> anyhow::Result<String> {
    let count = target.count(10, 2000);
    let mut crowd = Vec::new();
    let begin = Instant::now();
    for _ in 0..count {
        let mut connection = target.server.connect()?;
        exchange(&mut connection, "x")?;
        crowd.push(connection);
    }
    for connection in &mut crowd {
        ensure!(connection.read_to_end()?.is_empty(), "an idle connection is told something");
    }
    ensure!(begin.elapsed() >= Duration::from_millis(600), "they are closed after {:?}", begin.elapsed());
    target.wait_closed("idle", count)?;

    let mut pings = crate::http2::Http2::open(target.server.address(), &[])?;
    pings.get(1, "/")?;
    ensure!(pings.status(1)? == 200, "HTTP/2 is not served");
    let ping = crate::http2::frame(crate::http2::kind::PING, 0, 0, b"12345678");
    let begin = Instant::now();
    while target.closed("idle")? <= count as u64 {
        let _ = pings.write(&ping);
        ensure!(begin.elapsed() < DEADLINE, "pings keep a connection for ever");
    }
    Ok(format!("{count} connections without a request, and one of HTTP/2 that sends pings: each closed"))
}

/// At the limit the longest idle connections make room, and none with a call.
fn full_of_idle(target: &Target) -> anyhow::Result<String> {
    let mut busy = target.server.connect()?;
    busy.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nl")?;
    let begin = Instant::now();
    while target.metric("capsule_instances")? < 2 {
        target.ask()?;
        ensure!(begin.elapsed() < DEADLINE, "the loop does not run");
    }
    let closed = target.closed("limit")?;
    let mut crowd = Vec::new();
    for _ in 0..60 {
        let mut connection = target.server.connect()?;
        exchange(&mut connection, "x").context("a new connection at the limit")?;
        crowd.push(connection);
    }
    let closed = target.closed("limit")? - closed;
    ensure!(closed >= 40, "{closed} connections were closed for 60 new ones, with room for 20");
    for connection in &mut crowd[..40] {
        connection.read_to_end().context("a connection that was idle for longest")?;
    }
    // The youngest ones are there yet: it is the oldest ones that go.
    exchange(crowd.last_mut().context("no connection")?, "x").context("the youngest connection")?;
    let looped = busy.read_response("POST").context("the connection with a call")?;
    ensure!(looped.status == 504, "the call that ran was answered {}", looped.status);
    Ok(format!("20 connections at most, 60 came: {closed} idle ones made room, the one with a call was left alone"))
}

/// All places are taken by heads, bodies and readers that are slow.
fn full_of_slow(target: &Target) -> anyhow::Result<String> {
    let large = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n9".repeat(2);
    let mut slowest = Duration::ZERO;
    for (what, bytes) in [
        ("slow heads", &b"GET / HTTP/1.1\r\nHo"[..]),
        ("slow bodies", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"),
        ("slow readers", &large),
    ] {
        let crowd = target.crowd(10, bytes)?;
        slowest = slowest.max(target.ask().with_context(|| format!("all places are taken by {what}"))?);
        drop(crowd);
    }
    Ok(format!("5 connections at most, 10 slow ones of each kind came: a normal client waits {slowest:.1?} at most"))
}

/// Clients that close their side: before, in and after a request.
fn half_closed(target: &Target) -> anyhow::Result<String> {
    let count = target.count(20, 2000);
    for (bytes, expected) in [
        (&b""[..], &[][..]),
        (b"GET / HTTP/1.1\r\nHo", &[]),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nx", &[400]),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &[200]),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", &[200, 200]),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /", &[200]),
    ] {
        let mut crowd = target.crowd(count, bytes)?;
        for stream in &crowd {
            stream.shutdown(Shutdown::Write)?;
        }
        for stream in &mut crowd {
            let found = statuses(&rest(stream)?);
            ensure!(found == expected, "`{}`: expected {expected:?}, found {found:?}", String::from_utf8_lossy(bytes));
        }
    }
    Ok(format!("{count} half-closed connections of each of six kinds: answered as far as they asked, and closed"))
}

/// Clients that go away without reading their answers: the system resets the connection.
fn hang_up(target: &Target) -> anyhow::Result<String> {
    let count = target.count(50, 5000);
    for _ in 0..count {
        let mut stream = target.open(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        // Unread bytes make it a reset.
        let _ = stream.read(&mut [0]);
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    Ok(format!("{count} clients that reset their connection"))
}
