//! Clients that cannot shake hands, do not, or stop in the middle.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{Attack, Target, rest};
use crate::program::Program;

pub(super) const ALL: &[Attack] = &[
    Attack { over_tls: true, ..Attack::new("tls-garbage", &[], garbage) },
    Attack { over_tls: true, ..Attack::new("tls-stall", &["--headerTimeout=600ms"], stall) },
    Attack { over_tls: true, ..Attack::new("tls-renegotiation", &["--headerTimeout=600ms"], renegotiation) },
];

/// The first message of a client: TLS 1.2 with one cipher suite and one group, enough for the server to answer.
fn hello() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 0x17, // the group secp256r1
        0, 11, 0, 2, 1, 0, // uncompressed points
        0, 13, 0, 4, 0, 2, 4, 3, // signatures ecdsa_secp256r1_sha256
        0, 23, 0, 0, // extended master secret
    ];
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
    body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    record(22, &message)
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend((payload.len() as u16).to_be_bytes());
    record.extend(payload);
    record
}

/// What is no handshake.
fn garbage(target: &Target) -> anyhow::Result<String> {
    let count = target.count(5, 500);
    let too_large = [&[22, 3, 3, 0xff, 0xff][..], &[0; 70_000]].concat();
    let cases: [(&str, Vec<u8>); 8] = [
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        ("plain HTTP/2", crate::http2::PREFACE.to_vec()),
        ("noise", (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("zeros", vec![0; 100_000]),
        ("a record too large", too_large),
        ("data before keys", record(23, b"data")),
        ("an alert", record(21, &[2, 40])),
        ("a hello of SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 2, 0, 0x80, 3, 0, 0x80]),
    ];
    for (what, bytes) in &cases {
        for mut stream in target.crowd(count, bytes)? {
            // So that what waits for more finds the end.
            let _ = stream.shutdown(Shutdown::Write);
            let end = rest(&mut stream).with_context(|| format!("after {what}"))?;
            ensure!(end.len() < 100, "{what} is answered with {} bytes", end.len());
        }
    }
    // Cut off after each number of bytes.
    let hello = hello();
    for length in 0..hello.len() {
        let mut stream = target.open(&hello[..length])?;
        stream.shutdown(Shutdown::Write)?;
        rest(&mut stream)?;
    }
    Ok(format!(
        "{count} times each of {} kinds of what is no handshake, and a hello cut off at each byte: each closed",
        cases.len()
    ))
}

/// Handshakes that stop.
fn stall(target: &Target) -> anyhow::Result<String> {
    let count = target.count(5, 1000);
    let hello = hello();
    let mut streams = target.crowd(count, b"")?;
    streams.extend(target.crowd(count, &hello[..20])?);
    // The server has answered, and waits for the client's keys.
    streams.extend(target.crowd(count, &hello)?);
    let begin = Instant::now();
    let slowest = target.ask()?;
    for stream in &mut streams {
        rest(stream)?;
    }
    let last = begin.elapsed();
    // A handshake byte by byte has no more time.
    let mut stream = target.open(b"")?;
    let begin = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    for byte in &hello {
        if stream.write_all(&[*byte]).is_err()
            || std::io::Read::read(&mut stream, &mut [0]).is_ok_and(|count| count == 0)
        {
            break;
        }
    }
    ensure!(begin.elapsed() < Duration::from_secs(3), "a handshake that drips takes {:?}", begin.elapsed());
    Ok(format!("{} handshakes that stop: closed within {last:.1?}, a normal client meanwhile {slowest:.1?}", 3 * count))
}

/// A client that wants to shake hands anew, as TLS 1.2 had it: refused, and no work for the server.
fn renegotiation(target: &Target) -> anyhow::Result<String> {
    let address = target.server.address().to_string();
    let client = Program::tool("openssl", "openssl")?
        .args(["s_client", "-tls1_2", "-connect", &address])
        .stdin("R\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let finished = client.run()?;
    let text = finished.stdout() + &finished.stderr();
    ensure!(text.contains("RENEGOTIATING"), "`openssl` did not try: {text}");
    ensure!(!text.contains("HTTP/1.1 200"), "the server shook hands anew: {text}");
    Ok("a renegotiation: refused".to_owned())
}
