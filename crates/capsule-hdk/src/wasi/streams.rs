//! Reading and writing: standard streams and files.
//!
//! A call moves at most a piece and says how much, as any call of a system may: what the host copies at once is bounded.

use wiggle::{GuestMemory, GuestPtr, GuestType};

use super::descriptors::Descriptor;
use super::interface::types::{self, Ciovec, CiovecArray, Errno, Fd, Iovec, IovecArray, Size};
use super::stdin::Stdin;
use super::{Wasi, errno};
use crate::files::{FileError, Tracked, Turn};
use crate::held::{Held, SMALL};
use crate::limits::Limit;
use crate::output::Stream;

type Result<T> = std::result::Result<T, types::Error>;

/// Bytes of a file that one call reads or writes at most.
const FILE_PIECE: usize = 1 << 20;
/// Printed bytes that one call takes at most.
const OUTPUT_PIECE: usize = 64 << 10;
/// Buffers that one call looks at.
const MAX_BUFFERS: usize = 64;

/// Where a file is read or written.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// Where the last read or write ended.
    Cursor,
    /// There, and the cursor stays.
    Position(u64),
}

impl Wasi {
    pub(super) async fn write(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        at: At,
    ) -> Result<Size> {
        match (self.descriptors.get(fd)?, at) {
            (Descriptor::Output(stream), At::Cursor) => {
                let stream = *stream;
                self.print(memory, stream, buffers).await
            }
            (Descriptor::Output(_), At::Position(_)) => Err(Errno::Spipe.into()),
            (Descriptor::File(file), _) if file.write => {
                let (handle, append) = (file.file.clone(), file.append);
                let position = if let At::Position(position) = at { position } else { file.position };
                let turn = self.turn().await?;
                let (piece, held) = self.piece(wanted(memory, buffers)?);
                let bytes = gather(memory, buffers, piece)?;
                let work = move || {
                    let written = if append { handle.append(&bytes) } else { handle.write_at(&bytes, position) };
                    drop((bytes, held));
                    written.map(|written| (written, if append { handle.len().ok() } else { None }))
                };
                let done = turn.run(work).await.map_err(|_| Errno::Canceled)?;
                let (written, end) = done.map_err(|error| self.failed(&error))?;
                if let At::Cursor = at {
                    let next = end.unwrap_or(position.saturating_add(written as u64));
                    self.descriptors.file_mut(fd)?.position = next;
                }
                Ok(Size::try_from(written)?)
            }
            _ => Err(Errno::Badf.into()),
        }
    }

    /// Takes printed bytes; while the runner's reader is behind, the guest waits.
    async fn print(&mut self, memory: &GuestMemory<'_>, stream: Stream, buffers: CiovecArray) -> Result<Size> {
        let mut parts: [&[u8]; MAX_BUFFERS] = [&[]; MAX_BUFFERS];
        let mut taken = 0;
        for (part, buffer) in parts.iter_mut().zip(buffers.iter()) {
            let buffer = memory.read(buffer?)?;
            let bytes = memory.as_slice(buffer.buf.as_array(buffer.buf_len))?.ok_or(Errno::Notsup)?;
            *part = &bytes[..bytes.len().min(OUTPUT_PIECE - taken)];
            taken += part.len();
        }
        self.output.write(stream, &parts);
        if self.output.room() == 0 {
            self.output.relieve().await;
        }
        Ok(Size::try_from(taken)?)
    }

    pub(super) async fn read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: IovecArray,
        at: At,
    ) -> Result<Size> {
        match (self.descriptors.get(fd)?, at) {
            (Descriptor::Stdin, At::Cursor) if self.surroundings.capabilities.stdin => {
                read_stdin(memory, buffers).await
            }
            (Descriptor::Stdin, At::Cursor) => Ok(0),
            (Descriptor::Stdin, At::Position(_)) => Err(Errno::Spipe.into()),
            (Descriptor::File(file), _) if file.read => {
                let handle = file.file.clone();
                let position = if let At::Position(position) = at { position } else { file.position };
                let turn = self.turn().await?;
                let (piece, held) = self.piece(wanted(memory, buffers)?);
                let work = move || {
                    let mut bytes = vec![0; piece];
                    let read = handle.read_at(&mut bytes, position)?;
                    bytes.truncate(read);
                    Ok::<_, std::io::Error>((bytes, held))
                };
                let done = turn.run(work).await.map_err(|_| Errno::Canceled)?;
                let (bytes, _held) = done.map_err(|error| errno::of(&error))?;
                scatter(memory, buffers, &bytes)?;
                if let At::Cursor = at {
                    self.descriptors.file_mut(fd)?.position = position.saturating_add(bytes.len() as u64);
                }
                Ok(Size::try_from(bytes.len())?)
            }
            _ => Err(Errno::Badf.into()),
        }
    }

    /// Does what blocks on a thread for it.
    pub(super) async fn on_a_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let blocking = self.surroundings.blocking.clone();
        blocking.run(work).await.map_err(|_| Errno::Canceled.into())
    }

    /// A thread for work that takes memory.
    pub(super) async fn turn(&mut self) -> Result<Turn> {
        let blocking = self.surroundings.blocking.clone();
        blocking.turn().await.map_err(|_| Errno::Canceled.into())
    }

    /// How much of what is wanted is moved at once, and the memory that is held for it. Where the function has none left for a whole
    /// piece, it moves small ones.
    fn piece(&self, wanted: usize) -> (usize, Option<Held>) {
        if wanted <= SMALL {
            return (wanted, None);
        }
        match self.surroundings.host_memory.hold(wanted) {
            Ok(held) => (wanted, Some(held)),
            Err(_) => (SMALL, None),
        }
    }

    /// The number for a file that cannot be had; what a limit refuses is counted, and told.
    pub(super) fn failed(&mut self, error: &FileError) -> Errno {
        if let FileError::Full = error {
            self.surroundings.counters.hit(Limit::Written);
            self.tell(|surroundings| {
                let limit = surroundings.disk.limit();
                format!("the function's files would grow beyond the limit of {limit} bytes (flag `--maxWritten`)")
            });
        }
        errno::of_file(error)
    }
}

/// Reads what there is into the first buffer that has room, and waits until there is something.
async fn read_stdin(memory: &mut GuestMemory<'_>, buffers: IovecArray) -> Result<Size> {
    let mut found = None;
    for buffer in buffers.iter().take(MAX_BUFFERS) {
        let buffer = memory.read(buffer?)?;
        if buffer.buf_len > 0 {
            found = Some(buffer);
            break;
        }
    }
    let Some(buffer) = found else {
        Stdin::of_process().ready().await;
        return Err(Errno::Intr.into());
    };
    let bytes = Stdin::of_process().read(buffer.buf_len as usize).await.map_err(|error| errno::of(&error))?;
    let length = Size::try_from(bytes.len())?;
    memory.copy_from_slice(&bytes, buffer.buf.as_array(length))?;
    Ok(length)
}

/// A copy of what is to be written, a piece of it.
fn gather(memory: &GuestMemory<'_>, buffers: CiovecArray, piece: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(piece);
    for buffer in buffers.iter().take(MAX_BUFFERS) {
        let buffer = memory.read(buffer?)?;
        let part = memory.as_slice(buffer.buf.as_array(buffer.buf_len))?.ok_or(Errno::Notsup)?;
        bytes.extend_from_slice(&part[..part.len().min(piece - bytes.len())]);
    }
    Ok(bytes)
}

/// How much the guest wants to move, a piece at most.
fn wanted<T: Buffer>(memory: &GuestMemory<'_>, buffers: GuestPtr<[T]>) -> Result<usize> {
    let mut wanted = 0;
    for buffer in buffers.iter().take(MAX_BUFFERS) {
        wanted = FILE_PIECE.min(wanted + memory.read(buffer?)?.length() as usize);
    }
    Ok(wanted)
}

/// A place in the guest's memory, to read or to write.
trait Buffer: GuestType {
    fn length(&self) -> Size;
}

impl Buffer for Ciovec {
    fn length(&self) -> Size {
        self.buf_len
    }
}

impl Buffer for Iovec {
    fn length(&self) -> Size {
        self.buf_len
    }
}

/// Puts what was read where the guest wants it.
fn scatter(memory: &mut GuestMemory<'_>, buffers: IovecArray, mut bytes: &[u8]) -> Result<()> {
    for buffer in buffers.iter().take(MAX_BUFFERS) {
        if bytes.is_empty() {
            break;
        }
        let buffer = memory.read(buffer?)?;
        let (part, rest) = bytes.split_at(bytes.len().min(buffer.buf_len as usize));
        memory.copy_from_slice(part, buffer.buf.as_array(Size::try_from(part.len())?))?;
        bytes = rest;
    }
    Ok(())
}

/// For its length.
pub(super) fn length(file: &Tracked) -> std::result::Result<u64, Errno> {
    file.len().map_err(|error| errno::of(&error))
}
