//! `hostReadFile` and `hostWriteFile`: files below the folders that the function was given, and no others.
//!
//! - A path belongs to the folder with the longest guest name in front of it; `.` and a path without leading slash are the
//!   folder `.`. Links and `..` may lead anywhere within that folder; what leads out of it is refused by the operating system
//!   or by cap-std, component by component.
//! - A folder is opened at each call: when the operator replaces it (a new mount, a renamed release), the next call sees the
//!   new one.
//! - Only regular files: a pipe or a device could hold a thread for ever.
//! - The work is done on threads of its own. A call that ends at its deadline does not undo a write that has begun.

use std::io::{Read, Write};
use std::path::PathBuf;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};
use capsule_hdk::{Folder, HostContext, HostFunction, HostFunctions, HostResult, Reply};

/// Mode of a file that is made, before the process's umask.
#[cfg(unix)]
const NEW_FILE_MODE: u32 = 0o644;

/// Adds the functions of this file.
pub fn add(host: &mut HostFunctions) {
    host.add(HostFunction::waiting("hostReadFile", Reply::Framed, |context, [path]| {
        on_a_thread(move || read(&context, &path))
    }));
    host.add(HostFunction::waiting("hostWriteFile", Reply::Framed, |context, [path, content]| {
        on_a_thread(move || write(&context, path, &content))
    }));
}

async fn on_a_thread(work: impl FnOnce() -> HostResult + Send + 'static) -> HostResult {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("the runner is being stopped".into()))
}

fn read(context: &HostContext, path: &[u8]) -> HostResult {
    let path = text(path)?;
    let place = Place::find(&context.capabilities().folders, path).map_err(|error| error.text("read", path))?;
    let mut options = OpenOptions::new();
    options.read(true);
    let file = place.open(&mut options).map_err(|error| error.text("read", path))?;
    let limit = context.limits().host_memory;
    let too_large =
        || format!("cannot read `{path}`: the file exceeds the limit of {limit} bytes (flag `--maxHostMemory`)");
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    if size > limit as u64 {
        return Err(too_large());
    }
    let mut content = Vec::with_capacity(size as usize);
    // The size is a hint: the file may grow, and those of the kernel have none.
    let read = file.take(limit as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| Failure::Io(place.folder, error).text("read", path))?;
    if content.len() > limit { Err(too_large()) } else { Ok(content) }
}

fn write(context: &HostContext, path: Vec<u8>, content: &[u8]) -> HostResult {
    let name = text(&path)?;
    let place = Place::find(&context.capabilities().folders, name).map_err(|error| error.text("write", name))?;
    if place.folder.read_only {
        return Err(Failure::ReadOnly(place.folder).text("write", name));
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = place.open(&mut options).map_err(|error| error.text("write", name))?;
    file.write_all(content).map_err(|error| Failure::Io(place.folder, error).text("write", name))?;
    Ok(path)
}

fn text(path: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(path).map_err(|_| "the path is not UTF-8".to_owned())?;
    if text.is_empty() { Err("the path is empty".into()) } else { Ok(text) }
}

/// Why a file cannot be had.
enum Failure<'a> {
    Outside,
    ReadOnly(&'a Folder),
    NotAFile(&'a Folder),
    Io(&'a Folder, std::io::Error),
}

impl Failure<'_> {
    fn text(&self, verb: &str, path: &str) -> String {
        let why = match self {
            Failure::Outside => "it is in none of the module's folders (flag `--dir`)".into(),
            Failure::ReadOnly(folder) => format!("folder `{}` is for reading only (flag `--dir`)", folder.guest),
            Failure::NotAFile(folder) => format!("it is not a regular file (folder `{}` of `--dir`)", folder.guest),
            Failure::Io(folder, error) => format!("{error} (folder `{}` of `--dir`)", folder.guest),
        };
        format!("cannot {verb} `{path}`: {why}")
    }
}

/// A path of the guest: a folder, and the rest of the path below it.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    folder: &'a Folder,
    rest: PathBuf,
}

impl<'a> Place<'a> {
    fn find(folders: &'a [Folder], path: &str) -> Result<Place<'a>, Failure<'a>> {
        let path = components(path);
        let fitting = folders.iter().filter_map(|folder| {
            let prefix = components(&folder.guest);
            let rest = path.strip_prefix(prefix.as_slice())?;
            let rest = if rest.is_empty() { ".".into() } else { rest.iter().collect() };
            Some((prefix.len(), Place { folder, rest }))
        });
        // Of several with the same name the first one counts, as in WASI.
        let longest = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
        longest.map(|(_, place)| place).ok_or(Failure::Outside)
    }

    /// Opens a regular file.
    fn open(&self, options: &mut OpenOptions) -> Result<File, Failure<'a>> {
        let io = |error| Failure::Io(self.folder, error);
        let dir = Dir::open_ambient_dir(&self.folder.host, ambient_authority()).map_err(io)?;
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt;
            // To open a pipe waits for its other end, unless one says not to.
            options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).mode(NEW_FILE_MODE);
        }
        let file = dir.open_with(&self.rest, options).map_err(|error| {
            // A pipe without reader, a socket, a folder: the error's own text would say little.
            let special = dir.metadata(&self.rest).is_ok_and(|metadata| !metadata.is_file());
            if special { Failure::NotAFile(self.folder) } else { io(error) }
        })?;
        // Asked of what was opened: between a look at the path and its opening, it may have changed.
        if file.metadata().map_err(io)?.is_file() { Ok(file) } else { Err(Failure::NotAFile(self.folder)) }
    }
}

/// The components of a guest path behind `/` or, when it is relative, `.`. Another `.` adds nothing; `..` is kept, since only
/// the file system knows where it leads.
fn components(path: &str) -> Vec<&str> {
    let start = if path.starts_with('/') { "/" } else { "." };
    std::iter::once(start).chain(path.split('/').filter(|part| !matches!(*part, "" | "."))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(guest: &str) -> Folder {
        Folder { host: guest.into(), guest: guest.into(), read_only: false }
    }

    #[test]
    fn a_path_belongs_to_the_folder_with_the_longest_name() {
        let folders = [folder("."), folder("data"), folder("/srv"), folder("/srv/deep/er"), folder("data")];
        for (path, expected) in [
            ("a.txt", Some((0, "a.txt"))),
            ("./a/./b", Some((0, "a/b"))),
            ("../a", Some((0, "../a"))),
            ("data/x", Some((1, "x"))),
            (".//data//x", Some((1, "x"))),
            ("data/../x", Some((1, "../x"))),
            ("database", Some((0, "database"))),
            ("/srv/x", Some((2, "x"))),
            ("/srv/../etc/passwd", Some((2, "../etc/passwd"))),
            ("/srv/deep/x", Some((2, "deep/x"))),
            ("/srv/deep/er/x", Some((3, "x"))),
            ("/etc/passwd", None),
            ("/", None),
            (".", Some((0, "."))),
        ] {
            let found = Place::find(&folders, path).ok();
            let expected =
                expected.map(|(index, rest): (usize, &str)| Place { folder: &folders[index], rest: rest.into() });
            assert_eq!(found, expected, "{path}");
        }
    }
}
