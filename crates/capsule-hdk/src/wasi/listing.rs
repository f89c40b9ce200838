//! The entries of a folder, as preview 1 packs them into a buffer.

use std::fs::File;
use std::io;

use super::interface::types::Filetype;
use cap_primitives::fs::{self, Metadata};

use super::attributes;

/// Bytes in front of a name.
const HEAD: usize = 24;

/// Fills a buffer of `room` bytes with the entries from `cookie` on. One that does not fit whole is cut off, which tells the
/// guest that there are more.
pub(super) fn read(folder: &File, cookie: u64, room: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(room.min(1 << 16));
    let own = attributes::number(&Metadata::from_file(folder)?);
    // The inode of the folder above is not the guest's to know.
    for (place, name) in (0..).zip([".", ".."]) {
        if place >= cookie {
            push(&mut buffer, place + 1, own, Filetype::Directory, name);
        }
    }
    let mut entries = fs::read_base_dir(folder)?;
    for place in 2_u64.. {
        if buffer.len() >= room {
            break;
        }
        let Some(entry) = entries.next().transpose()? else { break };
        if place < cookie {
            continue;
        }
        let name = entry.file_name().into_string().map_err(|_| io::Error::from(NOT_UTF8))?;
        // One that was removed a moment ago is listed without a number.
        let number = entry.metadata().map_or(0, |found| attributes::number(&found));
        push(&mut buffer, place + 1, number, attributes::kind(entry.file_type()?), &name);
    }
    buffer.truncate(room);
    Ok(buffer)
}

/// What preview 1 calls an illegal sequence of bytes.
#[cfg(unix)]
const NOT_UTF8: rustix::io::Errno = rustix::io::Errno::ILSEQ;
#[cfg(not(unix))]
const NOT_UTF8: io::ErrorKind = io::ErrorKind::InvalidData;

fn push(buffer: &mut Vec<u8>, next: u64, number: u64, kind: Filetype, name: &str) {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&next.to_le_bytes());
    head[8..16].copy_from_slice(&number.to_le_bytes());
    head[16..20].copy_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    head[20] = kind as u8;
    buffer.extend_from_slice(&head);
    buffer.extend_from_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Whole entries, and the cookie behind the last of them.
    fn parse(buffer: &[u8]) -> (Vec<String>, u64) {
        let (mut names, mut next, mut rest) = (Vec::new(), 0, buffer);
        while rest.len() >= HEAD {
            let length = u32::from_le_bytes(rest[16..20].try_into().unwrap()) as usize;
            let Some(name) = rest.get(HEAD..HEAD + length) else { break };
            names.push(String::from_utf8(name.to_vec()).unwrap());
            next = u64::from_le_bytes(rest[..8].try_into().unwrap());
            rest = &rest[HEAD + length..];
        }
        (names, next)
    }

    #[test]
    fn a_listing_goes_on_where_it_was_cut_off() {
        let home = tempfile::tempdir().unwrap();
        let expected: BTreeSet<String> = (0..50).map(|number| format!("file-{number}")).collect();
        for name in &expected {
            std::fs::write(home.path().join(name), "").unwrap();
        }
        let folder = fs::open_ambient_dir(home.path(), cap_primitives::ambient_authority()).unwrap();
        for room in [1 << 16, 100, HEAD + 10] {
            let (mut found, mut cookie) = (Vec::new(), 0);
            loop {
                let buffer = read(&folder, cookie, room).unwrap();
                let (names, next) = parse(&buffer);
                if names.is_empty() {
                    break;
                }
                found.extend(names);
                cookie = next;
            }
            assert_eq!(found[..2], [".", ".."]);
            assert_eq!(found[2..].iter().cloned().collect::<BTreeSet<_>>(), expected, "{room}");
            assert_eq!(found.len(), 52);
        }
        assert!(read(&folder, 0, 0).unwrap().is_empty());
    }
}
