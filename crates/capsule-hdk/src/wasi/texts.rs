//! Arguments and environment, as preview 1 lays them out.

use wiggle::{GuestMemory, GuestPtr};

use super::interface::types::{self, Size};

type Result<T> = std::result::Result<T, types::Error>;

/// Writes texts one after the other, each with a zero byte behind it, and where each begins.
pub(super) fn write<'t>(
    memory: &mut GuestMemory<'_>,
    texts: impl Iterator<Item = [&'t str; 3]>,
    mut pointers: GuestPtr<GuestPtr<u8>>,
    mut buffer: GuestPtr<u8>,
) -> Result<()> {
    for text in texts {
        memory.write(pointers, buffer)?;
        pointers = pointers.add(1)?;
        for bytes in text.iter().map(|part| part.as_bytes()).chain([&[0][..]]) {
            let length = Size::try_from(bytes.len())?;
            memory.copy_from_slice(bytes, buffer.as_array(length))?;
            buffer = buffer.add(length)?;
        }
    }
    Ok(())
}

/// How many there are, and their bytes.
pub(super) fn sizes<'t>(texts: impl Iterator<Item = [&'t str; 3]>) -> Result<(Size, Size)> {
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for text in texts {
        count += 1;
        bytes += text.iter().map(|part| part.len()).sum::<usize>() + 1;
    }
    Ok((Size::try_from(count)?, Size::try_from(bytes)?))
}
