//! HTTP/2 by hand: frames as they are, for clients that no library would be. Header blocks are written without compression.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::DEADLINE;

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The kinds of frames.
#[expect(missing_docs, reason = "they are those of RFC 9113 section 6")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// What it says beside its payload.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// Its bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status in the headers of an answer.
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS { None } else { status(&self.payload) }
    }

    /// The code of an error, in a frame that ends a stream or the connection.
    pub fn error(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }
}

/// The bytes of a frame; `length` is what it says its payload has.
pub fn frame_of_length(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame_of_length(payload.len(), kind, flags, stream, payload)
}

/// The bytes of a frame with settings.
pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// A header block: literal fields that no table keeps (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 0, 7, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of so many bits (RFC 7541 section 5.1).
pub fn integer(block: &mut Vec<u8>, first: u8, bits: u8, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        return block.push(first | value as u8);
    }
    block.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The fields of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "h"), (":path", path)]
}

/// A connection that speaks HTTP/2 without TLS.
pub struct Http2 {
    stream: BufReader<TcpStream>,
}

impl Http2 {
    /// Connects, and says the preface and these settings. No table of headers is used in either direction.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(address: SocketAddr, more: &[(u16, u32)]) -> anyhow::Result<Self> {
        let mut connection = Self::open_raw(address)?;
        let pairs: Vec<(u16, u32)> = [(1, 0)].iter().chain(more).copied().collect();
        connection.write(&[PREFACE, &settings(&pairs)].concat())?;
        Ok(connection)
    }

    /// Connects, and says nothing.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open_raw(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The server has closed the connection, or takes no more.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        Ok(())
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// The server has closed the connection.
    pub fn get(&mut self, stream: u32, path: &str) -> anyhow::Result<()> {
        let block = block(&request("GET", path));
        self.write(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block))
    }

    /// Sends a request with a body in one frame.
    ///
    /// # Errors
    /// The server has closed the connection.
    pub fn post(&mut self, stream: u32, path: &str, body: &[u8]) -> anyhow::Result<()> {
        let head = frame(kind::HEADERS, END_HEADERS, stream, &block(&request("POST", path)));
        self.write(&[head, frame(kind::DATA, END_STREAM, stream, body)].concat())
    }

    /// The socket, for what is no frame.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Reads a frame; `None` when the server has closed the connection.
    ///
    /// # Errors
    /// Nothing comes, or not all of a frame.
    pub fn read_frame(&mut self) -> anyhow::Result<Option<Frame>> {
        let mut head = [0; 9];
        let mut count = 0;
        while count < head.len() {
            match self.stream.read(&mut head[count..]) {
                Ok(0) => return Ok(None),
                Ok(more) => count += more,
                // Closed with unread input in it, a socket resets.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error).context("no frame comes"),
            }
        }
        let [one, two, three, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, one, two, three]) as usize];
        match self.stream.read_exact(&mut payload) {
            Ok(()) => Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), payload })),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error).context("half a frame came"),
        }
    }

    /// Reads to the first frame that `find` makes something of.
    ///
    /// # Errors
    /// The server closes the connection before.
    pub fn wait_for<T>(&mut self, what: &str, mut find: impl FnMut(&Frame) -> Option<T>) -> anyhow::Result<T> {
        let mut seen = Vec::new();
        while let Some(frame) = self.read_frame()? {
            if let Some(found) = find(&frame) {
                return Ok(found);
            }
            seen.push((frame.kind, frame.stream, frame.error()));
        }
        bail!("the server closed the connection before {what}; frames before that: {seen:?}")
    }

    /// Reads to the status of the answer on a stream.
    ///
    /// # Errors
    /// There is none.
    pub fn status(&mut self, stream: u32) -> anyhow::Result<u16> {
        self.wait_for("an answer", |frame| if frame.stream == stream { frame.status() } else { None })
    }

    /// Reads to the end that the server makes, and answers the error that it names: of the connection, or else the first one of a
    /// stream.
    ///
    /// # Errors
    /// The server does not close the connection.
    pub fn end(&mut self) -> anyhow::Result<Option<u32>> {
        let (mut of_connection, mut of_stream) = (None, None);
        while let Some(frame) = self.read_frame()? {
            match frame.kind {
                kind::GOAWAY => of_connection = frame.error(),
                kind::RST_STREAM => of_stream = of_stream.or(frame.error()),
                _ => {}
            }
        }
        Ok(of_connection.or(of_stream))
    }
}

/// The status that a header block begins with, as servers write it: one of the static table, or a literal of it.
fn status(block: &[u8]) -> Option<u16> {
    // An update of the table's size comes first when the client asked for one.
    let start = block.iter().take_while(|byte| *byte >> 5 == 1).count();
    match &block[start..] {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied(),
        // Name 8 of the static table, indexed or not.
        [0x48 | 0x08 | 0x18, length, rest @ ..] => {
            let text = rest.get(..usize::from(length & 127))?;
            if length & 128 == 0 { std::str::from_utf8(text).ok()?.parse().ok() } else { digits(text) }
        }
        _ => None,
    }
}

/// Digits in Huffman's code (RFC 7541 appendix B): `0` to `2` have five bits, the others six.
fn digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |number, bit| number * 2 + u16::from(*bit));
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = number(bits.get(at..at + 5)?);
        let (digit, length) =
            if short <= 2 { (short, 5) } else { (number(bits.get(at..at + 6)?).checked_sub(0b011_001)? + 3, 6) };
        value = value * 10 + digit;
        at += length;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_integers() {
        assert_eq!(frame(kind::PING, ACK, 0, b"12345678"), b"\0\0\x08\x06\x01\0\0\0\x0012345678");
        assert_eq!(settings(&[(4, 1)]), b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01");
        // The examples of RFC 7541 section C.1.
        for (value, bits, expected) in [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42])] {
            let mut block = Vec::new();
            integer(&mut block, 0, bits, value);
            assert_eq!(block, expected);
        }
    }

    #[test]
    fn statuses() {
        for (block, expected) in [
            (&[0x88][..], Some(200)),
            (&[0x20, 0x8c], Some(400)),
            (b"\x48\x03302", Some(302)),
            // RFC 7541 section C.6.1.
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            (&[0x08, 0x83, 0b0110_1100, 0b0000_1100, 0b1111_1111], Some(503)),
            (&[0x40], None),
        ] {
            assert_eq!(status(block), expected, "{block:?}");
        }
    }
}
