//! A connection to a Redis server whose answers are bounded, each by itself: the client takes an answer apart when all of it is
//! there, however large the server makes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a value of an answer costs beside its bytes, in bytes.
const VALUE: usize = 64;
/// Bytes of a line that says what follows: a type and a number.
const LONGEST_HEAD: usize = 32;

/// Reads no answer that is larger than a limit.
pub(super) struct Bounded<S> {
    stream: S,
    answer: Answer,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, limit: usize) -> Bounded<S> {
        Bounded { stream, answer: Answer { limit, size: 0, missing: 0, part: Part::Type } }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = self.answer.read(&buffer.filled()[before..]);
        if read.is_err() {
            buffer.set_filled(before);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The answer that is being read, as far as its size is concerned: version 2 of the protocol.
struct Answer {
    limit: usize,
    /// What it takes so far, with what it has announced.
    size: usize,
    /// Values that are still to come.
    missing: usize,
    part: Part,
}

enum Part {
    /// The next byte says what comes.
    Type,
    /// A text up to the end of the line.
    Line,
    /// A number up to the end of the line: of values, or of bytes.
    Head { is_list: bool, digits: Vec<u8> },
    /// So many bytes.
    Bytes(usize),
}

impl Answer {
    fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.part {
                Part::Type => {
                    if self.missing == 0 {
                        (self.size, self.missing) = (0, 1);
                    }
                    self.part = match first {
                        b'+' | b'-' | b':' => Part::Line,
                        b'$' | b'*' => Part::Head { is_list: first == b'*', digits: Vec::new() },
                        _ => return Err(strange()),
                    };
                    self.grow(VALUE)?;
                    bytes = rest;
                }
                Part::Line => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    self.grow(line.len())?;
                    if end.is_some() {
                        self.end_of_value();
                    }
                    bytes = rest;
                }
                Part::Head { is_list, digits } => {
                    bytes = rest;
                    if first != b'\n' {
                        digits.push(first);
                        if digits.len() > LONGEST_HEAD {
                            return Err(strange());
                        }
                        continue;
                    }
                    let number = std::str::from_utf8(digits).ok().and_then(|text| text.trim().parse::<i64>().ok());
                    // None at all is less than nothing.
                    let number = usize::try_from(number.ok_or_else(strange)?).ok();
                    if *is_list {
                        let count = number.unwrap_or(0);
                        self.grow(count.saturating_mul(VALUE))?;
                        self.missing += count;
                        self.end_of_value();
                    } else if let Some(length) = number {
                        self.grow(length)?;
                        self.part = Part::Bytes(length + 2);
                    } else {
                        self.end_of_value();
                    }
                }
                Part::Bytes(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.end_of_value();
                    }
                    bytes = &bytes[taken..];
                }
            }
        }
        Ok(())
    }

    fn end_of_value(&mut self) {
        self.part = Part::Type;
        self.missing -= 1;
    }

    fn grow(&mut self, more: usize) -> io::Result<()> {
        self.size = self.size.saturating_add(more);
        if self.size <= self.limit {
            return Ok(());
        }
        let text = format!("the answer exceeds the limit of {} bytes (flag `--maxHostMemory`)", self.limit);
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not one of Redis")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether answers are read to their end, in pieces of any size.
    fn read(limit: usize, bytes: &[u8]) -> Result<bool, String> {
        let mut results = [1, 2, 7, usize::MAX].map(|piece| {
            let mut bounded = Bounded::new((), limit);
            for bytes in bytes.chunks(piece.min(bytes.len().max(1))) {
                bounded.answer.read(bytes).map_err(|error| error.to_string())?;
            }
            Ok(bounded.answer.missing == 0 && matches!(bounded.answer.part, Part::Type))
        });
        results.sort();
        assert_eq!(results.first(), results.last());
        results[0].clone()
    }

    #[test]
    fn every_answer_has_the_limit_for_itself() {
        for whole in [
            &b"+OK\r\n"[..],
            b"-ERR no\r\n",
            b":1\r\n",
            b"$5\r\na\r\nb\n\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n$1\r\na\r\n*1\r\n:7\r\n",
        ] {
            let many = whole.repeat(100);
            assert_eq!(read(600, &many), Ok(true), "{whole:?}");
            assert_eq!(read(600, &many[..many.len() - 1]), Ok(false), "{whole:?}");
        }
    }

    #[test]
    fn what_is_larger_is_refused_when_it_is_announced() {
        let refused = |bytes: &[u8]| read(1000, bytes).unwrap_err();
        for large in [
            &b"$937\r\n"[..],
            b"$9223372036854775807\r\n",
            b"*15\r\n",
            b"*9223372036854775807\r\n",
            b"*2\r\n*10\r\n*2\r\n",
        ] {
            assert_eq!(refused(large), "the answer exceeds the limit of 1000 bytes (flag `--maxHostMemory`)");
        }
        assert_eq!(read(1000, b"$936\r\n"), Ok(false));
        assert_eq!(read(1000, b"*14\r\n"), Ok(false));
        let line = [b"+".as_slice(), &[b'x'; 1000]].concat();
        assert!(refused(&line).starts_with("the answer exceeds"));
        for strange in [&b"HTTP/1.1 200 OK\r\n"[..], b"$x\r\n", b"$\r\n", b"%1\r\n", &[b'$'; 100]] {
            assert_eq!(refused(strange), "the answer is not one of Redis");
        }
    }
}
