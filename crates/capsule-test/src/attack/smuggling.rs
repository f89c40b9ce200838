//! Requests that two programs could understand differently: where a body ends, which host is meant, what a line is. And methods
//! that ask for something else than an answer.

use std::net::Shutdown;

use anyhow::ensure;

use super::{Attack, Target, rest, statuses};

pub(super) const ALL: &[Attack] = &[
    Attack { guest: "mirror.wat", ..Attack::new("smuggling", &[], smuggle) },
    Attack { guest: "mirror.wat", ..Attack::new("methods", &[], methods) },
];

/// What has to follow, as a client that smuggles writes it behind its request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// A request with these lines of headers and this body, behind which comes what is smuggled.
fn post(headers: &str, body: &str) -> String {
    format!("POST /first HTTP/1.1\r\nHost: h\r\n{headers}\r\n{body}")
}

fn smuggle(target: &Target) -> anyhow::Result<String> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let refused: &[u16] = &[400];
    let mut count = 0;
    for (what, wire, expected) in [
        // A body has one end. Where both are given, chunks are what counts (RFC 9112 section 6.3).
        ("CL.TE", post(&format!("Content-Length: 6\r\n{chunked}"), "0\r\n\r\nX"), &[200][..]),
        ("TE.CL", post(&format!("{chunked}Content-Length: 4\r\n"), "2\r\nab\r\n0\r\n\r\n"), &[200]),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 36\r\n", SMUGGLED), refused),
        ("two lengths in one", post("Content-Length: 0, 36\r\n", SMUGGLED), refused),
        ("the same length twice", post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), &[200]),
        ("a negative length", post("Content-Length: -1\r\n", SMUGGLED), refused),
        ("a length with a sign", post("Content-Length: +2\r\n", "ab"), refused),
        ("a length of base 16", post("Content-Length: 0x2\r\n", "ab"), refused),
        ("a length with a blank", post("Content-Length: 1 2\r\n", "ab"), refused),
        ("no length", post("Content-Length: \r\n", SMUGGLED), refused),
        ("a length of 64 bits", post("Content-Length: 18446744073709551615\r\n", "ab"), &[431]),
        ("a length of 65 bits", post("Content-Length: 18446744073709551618\r\n", "ab"), refused),
        ("a length of 200 digits", post(&format!("Content-Length: {}\r\n", "9".repeat(200)), "ab"), refused),
        // A coding that is none, or is written so that some do not see it.
        ("TE: xchunked", post("Transfer-Encoding: xchunked\r\n", SMUGGLED), refused),
        ("TE: identity", post("Transfer-Encoding: identity\r\n", SMUGGLED), refused),
        ("TE: chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), refused),
        ("TE: chunked; q=1", post("Transfer-Encoding: chunked; q=1\r\n", "0\r\n\r\n"), refused),
        ("TE: \"chunked\"", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), refused),
        ("TE : chunked", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), refused),
        ("TE: vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), refused),
        ("TE: NUL", post("Transfer-Encoding: chunked\0\r\n", "0\r\n\r\n"), refused),
        ("TE twice", post(&format!("{chunked}Transfer-Encoding: identity\r\n"), "0\r\n\r\n"), refused),
        ("TE with a tab", post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"), &[200]),
        ("TE in capitals", post("TRANSFER-ENCODING: CHUNKED\r\n", "0\r\n\r\n"), &[200]),
        ("TE in HTTP/1.0", format!("POST / HTTP/1.0\r\n{chunked}\r\n0\r\n\r\n"), refused),
        ("TE in a folded line", post("X: y\r\n Transfer-Encoding: chunked\r\n", SMUGGLED), refused),
        ("a folded line", post("X: y\r\n\tz\r\n", ""), refused),
        ("a line that begins blank", format!("GET / HTTP/1.1\r\n Host: h\r\n\r\n{SMUGGLED}"), refused),
        // Chunks.
        ("a chunk of base 16 twice", post(chunked, "0x2\r\nab\r\n0\r\n\r\n"), refused),
        ("a negative chunk", post(chunked, "-2\r\nab\r\n0\r\n\r\n"), refused),
        ("a chunk of 65 bits", post(chunked, "10000000000000002\r\nab\r\n0\r\n\r\n"), refused),
        ("a chunk longer than it says", post(chunked, "1\r\nab\r\n0\r\n\r\n"), refused),
        ("a chunk without its end", post(chunked, "2\r\nab0\r\n\r\n"), refused),
        ("a chunk that ends with LF", post(chunked, "2\nab\n0\n\n"), refused),
        ("a chunk without a size", post(chunked, "\r\nab\r\n0\r\n\r\n"), refused),
        ("an extension", post(chunked, "2;a=b;c=\"d\"\r\nab\r\n0\r\n\r\n"), &[200]),
        ("an extension with LF", post(chunked, "2;a\nab\r\n0\r\n\r\n"), refused),
        ("an extension of 1 MiB", post(chunked, &format!("2;{}\r\nab\r\n0\r\n\r\n", "a".repeat(1 << 20))), refused),
        ("trailers", post(chunked, "0\r\nContent-Length: 5\r\nHost: evil\r\n\r\n"), &[200]),
        ("trailers of 1 MiB", post(chunked, &format!("0\r\nX: {}\r\n\r\n", "a".repeat(1 << 20))), refused),
        // Lines.
        ("lines that end with LF", "GET /first HTTP/1.1\nHost: h\n\n".to_owned(), &[200]),
        ("a lone CR", post("X: y\rContent-Length: 36\r\n", ""), refused),
        ("a lone CR in a name", post("X\r: y\r\n", ""), refused),
        ("a header without a colon", post("Content-Length 36\r\n", ""), refused),
        ("a header without a name", post(": y\r\n", ""), refused),
        ("NUL in a name", post("X\0Y: z\r\n", ""), refused),
        ("NUL in a value", post("X: y\0z\r\n", ""), refused),
        ("a method that is none", "G@T / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), refused),
        ("two blanks", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), refused),
        ("a blank in the path", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), refused),
        ("HTTP/0.9", "GET /\r\n\r\n".to_owned(), refused),
        ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n".to_owned(), refused),
        ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), refused),
        ("HTTP/9.9", "GET / HTTP/9.9\r\nHost: h\r\n\r\n".to_owned(), refused),
        ("no path", "GET HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), refused),
        ("a path that is none", "GET first HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), refused),
        // Hosts.
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), refused),
        ("two hosts", post("Host: evil\r\n", ""), refused),
        ("a host with a path", "GET / HTTP/1.1\r\nHost: h/evil\r\n\r\n".to_owned(), refused),
        ("a host with a user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n".to_owned(), refused),
        ("a host with a blank", "GET / HTTP/1.1\r\nHost: h evil\r\n\r\n".to_owned(), refused),
        ("another host in the target", "GET http://evil/first HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), &[200]),
    ] {
        let mut stream = target.open(wire.as_bytes())?;
        let _ = stream.shutdown(Shutdown::Write);
        let text = rest(&mut stream)?;
        let found = statuses(&text);
        ensure!(found == expected, "{what}: expected {expected:?}, found {found:?} in `{text}`");
        ensure!(!text.contains("/smuggled"), "{what}: what was smuggled is answered: `{text}`");
        count += 1;
    }
    // The target's host wins over the header, and is what the module sees (RFC 9112 section 3.2.2).
    let text = rest(&mut target.open(b"GET http://evil/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?)?;
    ensure!(text.contains(r#""URI":"http://evil/""#), "the module sees another host: `{text}`");
    Ok(format!("{count} requests with two meanings: refused, or with one meaning; none brought a second request"))
}

/// What a client may ask for beside an answer.
fn methods(target: &Target) -> anyhow::Result<String> {
    let of = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: h\r\n{more}\r\n");
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (what, wire, expected) in [
        ("an upgrade to HTTP/2", of("GET /", h2c), 200),
        ("an upgrade to WebSocket", of("GET /", websocket), 200),
        ("an upgrade to nothing", of("GET /", "Connection: Upgrade\r\nUpgrade: \r\n"), 200),
        ("CONNECT", of("CONNECT evil:443", ""), 501),
        ("CONNECT with a path", of("CONNECT /", ""), 501),
        ("TRACE", of("TRACE /", "X: secret\r\n"), 200),
        ("OPTIONS *", of("OPTIONS *", ""), 200),
        ("a method of one's own", of("HACK /", ""), 200),
        ("100-continue for nothing", of("GET /", "Expect: 100-continue\r\n"), 200),
        ("an expectation that nobody knows", of("GET /", "Expect: wonders\r\n"), 200),
    ] {
        // With something behind it, which would be the first bytes of the other protocol.
        let mut stream = target.open((wire + "\0\0\0\x04").as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let text = rest(&mut stream)?;
        let found = statuses(&text);
        ensure!(found.first() == Some(&expected), "{what}: expected {expected}, found {found:?} in `{text}`");
        ensure!(!found.contains(&101), "{what}: the server changes its protocol");
    }
    Ok("upgrades are ignored, CONNECT is 501, TRACE is the module's".to_owned())
}
