//! A small HTTP/1.1 client over a plain socket, which shows what came over the wire: headers in their order, bodies as
//! bytes. Not for TLS and HTTP/2: tests of those use curl.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::DEADLINE;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names and values, in order, as sent.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection, kept alive as long as the server likes.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address, DEADLINE).with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_string() })
    }

    /// Sends a request and reads its answer. `Host` and, when there is a body, `Content-Length` are added.
    ///
    /// # Errors
    /// The connection broke, or what came back is not HTTP.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Response> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        // A server may answer and close before it has read all; its answer is what counts.
        let written = self.write(&bytes);
        match self.read_response(method) {
            Ok(response) => Ok(response),
            Err(error) => {
                written.context("cannot send the request")?;
                Err(error)
            }
        }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The connection broke.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        Ok(())
    }

    /// Reads one answer to a request with this method, past interim ones.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub fn read_response(&mut self, method: &str) -> anyhow::Result<Response> {
        loop {
            let response = read_response(&mut self.stream, method)?;
            if response.status >= 200 || response.status == 101 {
                return Ok(response);
            }
        }
    }

    /// True when nothing comes for that long, not even the end.
    pub fn is_silent_for(&mut self, limit: Duration) -> bool {
        let stream = self.stream.get_ref();
        let _ = stream.set_read_timeout(Some(limit));
        let peeked = stream.peek(&mut [0]);
        let _ = stream.set_read_timeout(Some(DEADLINE));
        self.stream.buffer().is_empty()
            && peeked.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Reads to the end that the server makes.
    ///
    /// # Errors
    /// The server does not end.
    pub fn read_to_end(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            // Closed with unread input in it, a socket resets; what came before is still the answer.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(bytes),
            Err(error) => Err(error).with_context(|| format!("no end after `{}`", String::from_utf8_lossy(&bytes))),
        }
    }
}

/// Reads one answer, final or interim.
///
/// # Errors
/// The stream ended early, or what came is not HTTP.
pub fn read_response(stream: &mut impl BufRead, method: &str) -> anyhow::Result<Response> {
    let first = line(stream)?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    let Some(status) = status else { bail!("expected a status line, found `{first}`") };
    let headers = read_headers(stream)?;
    let mut response = Response { status, headers, body: Vec::new() };
    if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
        return Ok(response);
    }
    response.body = read_body(stream, &response.headers)?.map_or_else(
        || {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).map(|_| rest)
        },
        Ok,
    )?;
    Ok(response)
}

/// Reads headers up to the empty line.
pub(crate) fn read_headers(stream: &mut impl BufRead) -> anyhow::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let Some((name, value)) = line.split_once(':') else { bail!("expected a header, found `{line}`") };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads a body by its length or in chunks; `None` when neither is announced.
pub(crate) fn read_body(stream: &mut impl BufRead, headers: &[(String, String)]) -> anyhow::Result<Option<Vec<u8>>> {
    let header =
        |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        let mut body = Vec::new();
        loop {
            let line = line(stream)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(digits, 16).with_context(|| format!("expected a chunk, found `{line}`"))?;
            if size == 0 {
                read_headers(stream)?;
                return Ok(Some(body));
            }
            body.extend(exactly(stream, size)?);
            exactly(stream, 2)?;
        }
    }
    match header("content-length") {
        Some(length) => Ok(Some(exactly(stream, length.parse().context("`Content-Length` is no number")?)?)),
        None => Ok(None),
    }
}

fn exactly(stream: &mut impl Read, length: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        bail!("the connection ended after {} of {length} bytes", bytes.len());
    }
    Ok(bytes)
}

/// One line without its end.
fn line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).context("no answer")?;
    if bytes.pop() != Some(b'\n') {
        bail!("the connection ended in the middle of a line");
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, wire: &str) -> anyhow::Result<Response> {
        read_response(&mut wire.as_bytes(), method)
    }

    #[test]
    fn bodies_of_every_framing() {
        for (method, wire, expected) in [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabXX", "ab"),
            (
                "GET",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: v\r\n\r\nX",
                "abc",
            ),
            ("GET", "HTTP/1.0 200 OK\r\n\r\nto the end", "to the end"),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", ""),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\nX", ""),
        ] {
            assert_eq!(read(method, wire).unwrap().text(), expected, "{wire}");
        }
    }

    #[test]
    fn headers_keep_their_order_and_repetition() {
        let response = read("GET", "HTTP/1.1 302 Found\r\nB: 1\r\na:2\r\nB: 3\r\nContent-Length: 0\r\n\r\n").unwrap();
        let headers: Vec<_> = response.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((response.status, headers.join(" ").as_str()), (302, "B=1 a=2 B=3 Content-Length=0"));
        assert_eq!((response.header("b"), response.header("c")), (Some("1"), None));
    }

    #[test]
    fn broken_answers_are_errors() {
        for wire in [
            "",
            "HTTP/1.1 200 OK",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert!(read("GET", wire).is_err(), "{wire}");
        }
    }
}
