//! Files of guests: what WASI and the host functions do in the folders that a function was given.
//!
//! - Paths are resolved by `cap-primitives`, what `cap-std` stands on, component by component below an open folder: nothing
//!   leads out of it.
//! - Only regular files and folders are opened, and without waiting: a pipe or a device would hold a thread for ever. What the
//!   system tells of processes (`/proc`) is not opened: the runner's own environment is there.
//! - Growth counts against the function's [`DiskUse`].
//! - The work is done on threads for work that blocks, of which a function has a share: see [`Blocking`].
//!
//! Everything here but [`Blocking::run`] blocks.

mod blocking;
mod closing;
mod disk;
mod known;
mod lent;
mod place;
mod share;
mod times;
mod whole;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_primitives::fs::{self, DirOptions, FollowSymlinks, Metadata, MetadataExt as _, OpenOptions};

pub use blocking::Blocking;
pub(crate) use blocking::Turn;
pub(crate) use closing::Closing;
pub use disk::DiskUse;
pub(crate) use disk::{Disk, Tracked};
use known::{Hold, Left};
pub(crate) use lent::open_lent;
pub(crate) use place::Place;
pub(crate) use share::{CountedFile, TooMany};
pub(crate) use times::{set_times, times};

/// What a file or folder takes beside its bytes, so that many empty ones are no way around the limit.
const ENTRY: u64 = 4096;
/// Mode of a file that is made, before the process's umask.
#[cfg(unix)]
const NEW_FILE_MODE: u32 = 0o644;

/// How something is opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Made when it is not there.
    pub(crate) create: bool,
    /// An error when it is there.
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    /// A symbolic link at the end of the path is followed.
    pub(crate) follow: bool,
    /// An error when it is no folder.
    pub(crate) folder: bool,
}

/// What was opened.
pub(crate) enum Opened {
    File(Tracked),
    Folder(File),
}

/// Why a file cannot be had, or not be written.
#[derive(Debug)]
pub(crate) enum FileError {
    /// It is a pipe, a socket, a device, or the system's view of a process.
    Special,
    /// It would take the function beyond its limit.
    Full,
    Io(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> FileError {
        FileError::Io(error)
    }
}

/// Opens a file or folder below `folder`.
pub(crate) fn open(disk: &Arc<Disk>, folder: &File, path: &Path, how: How) -> Result<Opened, FileError> {
    let changes = how.write || how.create || how.truncate;
    let _turn = changes.then(|| disk.turn());
    let first = if how.create && how.exclusive {
        made(disk, || open_there(folder, path, how, true))
    } else {
        open_there(folder, path, how, false).map_err(FileError::Io)
    };
    let opened = match first {
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound && how.create && !how.exclusive => {
            made(disk, || open_there(folder, path, how, true))
        }
        opened => opened,
    };
    let (opened, found) = regular(opened, folder, path, how)?;
    if found.is_dir() {
        return Ok(Opened::Folder(opened));
    }
    if how.folder {
        return Err(io::Error::from(io::ErrorKind::NotADirectory).into());
    }
    // One that has lost its name since is as good as not found.
    let hold = Hold::new(disk, opened, &found)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let file = Tracked::new(hold);
    if how.truncate {
        file.set_len(0)?;
    }
    Ok(Opened::File(file))
}

/// Opens what is there and is a regular file or a folder, for what counts nothing.
fn open_regular(folder: &File, path: &Path, how: How) -> Result<(File, Metadata), FileError> {
    regular(open_there(folder, path, how, false).map_err(FileError::Io), folder, path, how)
}

/// What was opened, if it is a regular file or a folder.
fn regular(
    opened: Result<File, FileError>,
    folder: &File,
    path: &Path,
    how: How,
) -> Result<(File, Metadata), FileError> {
    let opened = match opened {
        Err(FileError::Io(error)) => {
            // A pipe without a reader, a socket: the error's own text would say little.
            let follow = if how.follow { FollowSymlinks::Yes } else { FollowSymlinks::No };
            return Err(match fs::stat(folder, path, follow) {
                Ok(found) if is_special(&found) => FileError::Special,
                _ => error.into(),
            });
        }
        opened => opened?,
    };
    // Asked of what was opened: between a look at the path and its opening, it may have changed.
    let found = Metadata::from_file(&opened)?;
    if !found.is_file() && !found.is_dir() || is_of_processes(&opened) {
        return Err(FileError::Special);
    }
    Ok((opened, found))
}

/// Makes something that takes room of its own, or counts nothing.
fn made<T>(disk: &Disk, make: impl FnOnce() -> io::Result<T>) -> Result<T, FileError> {
    if !disk.grow(ENTRY) {
        return Err(FileError::Full);
    }
    make().inspect_err(|_| disk.give_back(ENTRY)).map_err(FileError::Io)
}

fn open_there(folder: &File, path: &Path, how: How, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(how.read).write(how.write || how.create || how.truncate);
    if create {
        // Exclusively only when that is asked for: the target of a link that leads nowhere is made, as elsewhere.
        if how.exclusive {
            options.create_new(true)
        } else {
            options.create(true)
        };
    }
    #[cfg(unix)]
    {
        use cap_primitives::fs::OpenOptionsExt as _;
        use rustix::fs::OFlags;
        // To open a pipe waits for its other end, unless one says not to.
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, !how.follow);
        flags.set(OFlags::DIRECTORY, how.folder && !create);
        options.custom_flags(flags.bits().cast_signed()).mode(NEW_FILE_MODE);
    }
    let opened = fs::open(folder, path, &options);
    #[cfg(windows)]
    if opened.is_err() && !how.write {
        return fs::open_dir(folder, path).or(opened);
    }
    opened
}

fn is_special(found: &Metadata) -> bool {
    !found.is_file() && !found.is_dir() && !found.is_symlink()
}

/// True for what lies in `/proc`, wherever that is mounted.
#[cfg(target_os = "linux")]
fn is_of_processes(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_of_processes(_: &File) -> bool {
    false
}

/// Makes a folder.
pub(crate) fn create_folder(disk: &Disk, folder: &File, path: &Path) -> Result<(), FileError> {
    let _turn = disk.turn();
    made(disk, || fs::create_dir(folder, path, &DirOptions::new()))
}

/// Makes a symbolic link. One to an absolute path is refused.
#[cfg(not(windows))]
pub(crate) fn create_link(disk: &Disk, target: &Path, folder: &File, path: &Path) -> Result<(), FileError> {
    let _turn = disk.turn();
    made(disk, || fs::symlink(target, folder, path))
}

/// Makes a symbolic link: the system asks for a right that the runner seldom has.
#[cfg(windows)]
pub(crate) fn create_link(_: &Disk, _: &Path, _: &File, _: &Path) -> Result<(), FileError> {
    Err(FileError::Io(io::ErrorKind::Unsupported.into()))
}

/// Gives a file a second name.
pub(crate) fn hard_link(disk: &Disk, from: (&File, &Path), to: (&File, &Path)) -> Result<(), FileError> {
    let _turn = disk.turn();
    made(disk, || fs::hard_link(from.0, from.1, to.0, to.1))
}

/// Takes a file or a symbolic link away.
pub(crate) fn remove_file(disk: &Arc<Disk>, folder: &File, path: &Path) -> io::Result<()> {
    let _turn = disk.turn();
    let held = hold(disk, folder, path);
    fs::remove_file(folder, path)?;
    if held.is_some_and(|held| held.lost_a_name() != Left::Nobody) || !KNOWN_BY_HANDLES {
        disk.give_back(ENTRY);
    }
    Ok(())
}

/// Takes an empty folder away.
pub(crate) fn remove_folder(disk: &Disk, folder: &File, path: &Path) -> io::Result<()> {
    let _turn = disk.turn();
    fs::remove_dir(folder, path)?;
    disk.give_back(ENTRY);
    Ok(())
}

/// Gives something another name; a file that has this name is replaced.
pub(crate) fn rename(disk: &Arc<Disk>, from: (&File, &Path), to: (&File, &Path)) -> io::Result<()> {
    let _turn = disk.turn();
    let replaced = hold(disk, to.0, to.1);
    fs::rename(from.0, from.1, to.0, to.1)?;
    if replaced.is_some_and(|replaced| replaced.lost_a_name() == Left::Nothing) {
        disk.give_back(ENTRY);
    }
    Ok(())
}

/// Whether a file that is about to lose its name is held.
const KNOWN_BY_HANDLES: bool = cfg!(target_os = "linux");

/// Holds a file by a handle that neither reads nor waits, so that it is known after it has lost its name.
#[cfg(target_os = "linux")]
fn hold(disk: &Arc<Disk>, folder: &File, path: &Path) -> Option<Hold> {
    use cap_primitives::fs::OpenOptionsExt as _;
    use rustix::fs::OFlags;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::PATH | OFlags::NOFOLLOW).bits().cast_signed());
    let file = fs::open(folder, path, &options).ok()?;
    let found = Metadata::from_file(&file).ok()?;
    Hold::new(disk, file, &found).ok()?
}

/// Elsewhere what is removed is not given back: the count errs on the side of the disk.
#[cfg(not(target_os = "linux"))]
fn hold(_: &Arc<Disk>, _: &File, _: &Path) -> Option<Hold> {
    None
}

/// Names of a file that are left.
fn links(found: &Metadata) -> u64 {
    #[cfg(unix)]
    return found.nlink();
    #[cfg(not(unix))]
    1
}

/// What tells a file from all others.
pub(crate) fn identity(found: &Metadata) -> (u64, u64) {
    #[cfg(unix)]
    return (found.dev(), found.ino());
    #[cfg(not(unix))]
    (0, 0)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use cap_primitives::ambient_authority;

    use super::*;

    struct Room {
        home: tempfile::TempDir,
        folder: File,
        disk: Arc<Disk>,
    }

    impl Room {
        fn new(limit: u64) -> Room {
            let home = tempfile::tempdir().unwrap();
            let folder = fs::open_ambient_dir(home.path(), ambient_authority()).unwrap();
            Room { home, folder, disk: Disk::new(DiskUse::default(), limit) }
        }

        fn file(&self, name: &str, how: How) -> Result<Tracked, FileError> {
            match open(&self.disk, &self.folder, Path::new(name), how)? {
                Opened::File(file) => Ok(file),
                Opened::Folder(_) => panic!("{name} is a folder"),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.home.path().join(name)
        }
    }

    const NEW: How =
        How { read: true, write: true, create: true, exclusive: false, truncate: false, follow: true, folder: false };
    const READ: How = How { write: false, create: false, ..NEW };

    #[test]
    fn growth_counts_to_the_byte_and_overwriting_does_not() {
        let room = Room::new(ENTRY + 10);
        let file = room.file("a", NEW).unwrap();
        assert_eq!(room.disk.used(), ENTRY);
        assert_eq!(file.write_at(b"0123456789", 0).unwrap(), 10);
        assert_eq!(file.write_at(b"abcdefghij", 0).unwrap(), 10);
        assert!(matches!(file.write_at(b"x", 10), Err(FileError::Full)));
        assert!(matches!(file.append(b"x"), Err(FileError::Full)));
        assert!(matches!(file.set_len(11), Err(FileError::Full)));
        // What a hole takes is taken as if it were full.
        assert!(matches!(file.write_at(b"x", 1 << 40), Err(FileError::Full)));
        file.set_len(4).unwrap();
        assert_eq!(room.disk.used(), ENTRY + 4);
        assert_eq!(file.append(b"efghij").unwrap(), 6);
        assert!(matches!(room.file("b", NEW), Err(FileError::Full)), "an entry takes room");
        assert!(matches!(room.file("b", How { exclusive: true, ..NEW }), Err(FileError::Full)));
        assert!(!room.path("b").exists());
        assert_eq!(std::fs::read(room.path("a")).unwrap(), b"abcdefghij");
        assert_eq!(room.file("a", How { truncate: true, ..NEW }).unwrap().len().unwrap(), 0);
        assert_eq!(room.disk.used(), ENTRY);
    }

    #[test]
    fn what_is_removed_is_given_back_once_and_when_it_is_gone() {
        let room = Room::new(1 << 20);
        let write = |name: &str| room.file(name, NEW).unwrap().write_at(&[b'x'; 1000], 0).unwrap();
        write("a");
        write("b");
        assert_eq!(room.disk.used(), 2 * ENTRY + 2000);
        remove_file(&room.disk, &room.folder, Path::new("a")).unwrap();
        assert_eq!(room.disk.used(), ENTRY + 1000);
        // Another name keeps the bytes.
        hard_link(&room.disk, (&room.folder, Path::new("b")), (&room.folder, Path::new("c"))).unwrap();
        remove_file(&room.disk, &room.folder, Path::new("b")).unwrap();
        assert_eq!(room.disk.used(), ENTRY + 1000);
        // And so does an open file, up to its last handle.
        let held = [room.file("c", READ).unwrap(), room.file("c", READ).unwrap()];
        remove_file(&room.disk, &room.folder, Path::new("c")).unwrap();
        assert_eq!(room.disk.used(), 1000);
        let [first, second] = held;
        drop(first);
        assert_eq!(room.disk.used(), 1000);
        drop(second);
        assert_eq!(room.disk.used(), 0);
        // A replaced file is as good as removed.
        write("d");
        write("e");
        rename(&room.disk, (&room.folder, Path::new("d")), (&room.folder, Path::new("e"))).unwrap();
        assert_eq!(room.disk.used(), ENTRY + 1000);
        create_folder(&room.disk, &room.folder, Path::new("f")).unwrap();
        create_link(&room.disk, Path::new("e"), &room.folder, Path::new("l")).unwrap();
        assert_eq!(room.disk.used(), 3 * ENTRY + 1000);
        remove_folder(&room.disk, &room.folder, Path::new("f")).unwrap();
        remove_file(&room.disk, &room.folder, Path::new("l")).unwrap();
        assert_eq!(room.disk.used(), ENTRY + 1000);
        // What others made is no credit.
        std::fs::write(room.path("theirs"), vec![0; 1 << 16]).unwrap();
        remove_file(&room.disk, &room.folder, Path::new("theirs")).unwrap();
        assert_eq!(room.disk.used(), 0);
    }

    /// Those who open a file, close it and take its name away at once: each byte is given back once.
    #[test]
    fn what_is_opened_while_it_is_removed_is_given_back_once() {
        let (room, other) = (Room::new(1 << 30), Disk::new(DiskUse::default(), 1 << 30));
        room.file("kept", NEW).unwrap().set_len(1 << 20).unwrap();
        let open = |disk: &Arc<Disk>, how: How| open(disk, &room.folder, Path::new("a"), how);
        // It goes on until those who read have often found the file, and often not.
        let (found, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for disk in [&room.disk, &room.disk, &other] {
                scope.spawn(|| {
                    while found.load(Relaxed) < 2000 || missed.load(Relaxed) < 2000 {
                        match open(disk, READ) {
                            Ok(_) => found.fetch_add(1, Relaxed),
                            Err(_) => missed.fetch_add(1, Relaxed),
                        };
                    }
                });
            }
            while found.load(Relaxed) < 2000 || missed.load(Relaxed) < 2000 {
                let Ok(Opened::File(file)) = open(&room.disk, NEW) else { panic!("it cannot be made") };
                file.set_len(1000).unwrap();
                drop(file);
                remove_file(&room.disk, &room.folder, Path::new("a")).unwrap();
            }
        });
        assert_eq!(room.disk.used(), ENTRY + (1 << 20));
    }

    #[test]
    fn functions_that_share_a_folder_are_given_back_what_is_their_own() {
        let (room, other) = (Room::new(1 << 20), Disk::new(DiskUse::default(), 1 << 20));
        let theirs = |name: &str, how| match open(&other, &room.folder, Path::new(name), how).unwrap() {
            Opened::File(file) => file,
            Opened::Folder(_) => panic!("{name} is a folder"),
        };
        theirs("theirs", NEW).set_len(2000).unwrap();
        room.file("ours", NEW).unwrap().set_len(1000).unwrap();
        // One holds what the other one removes.
        let held = theirs("ours", READ);
        remove_file(&room.disk, &room.folder, Path::new("ours")).unwrap();
        assert_eq!((room.disk.used(), other.used()), (1000, ENTRY + 2000), "it takes its room");
        drop(held);
        assert_eq!((room.disk.used(), other.used()), (0, ENTRY + 2000));
        // One of them makes it shorter, whoever does.
        theirs("theirs", NEW).set_len(500).unwrap();
        assert_eq!(room.file("theirs", How { truncate: true, ..NEW }).unwrap().len().unwrap(), 0);
        assert_eq!((room.disk.used(), other.used()), (0, ENTRY + 500));
        // What had lost its name before it was held is nobody's credit.
        let file = open_there(&room.folder, Path::new("theirs"), READ, false).unwrap();
        let found = Metadata::from_file(&file).unwrap();
        std::fs::remove_file(room.path("theirs")).unwrap();
        assert!(Hold::new(&other, file, &found).unwrap().is_none());
    }

    /// To close the last handle of a large file takes long.
    #[tokio::test]
    async fn a_file_is_closed_on_a_thread_for_that() {
        let room = Room::new(1 << 20);
        let file = room.file("a", NEW).unwrap();
        file.set_len(1000).unwrap();
        let file = Closing::new(file, &Blocking::new(tokio::runtime::Handle::current()));
        remove_file(&room.disk, &room.folder, Path::new("a")).unwrap();
        drop(file);
        assert_eq!(room.disk.used(), 1000, "it is not closed by whoever drops it");
        while room.disk.used() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn only_files_and_folders_are_opened() {
        let room = Room::new(1 << 20);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, room.path("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(room.path("socket")).unwrap();
        std::os::unix::fs::symlink("pipe", room.path("link")).unwrap();
        let write = How { read: false, create: false, ..NEW };
        for name in ["pipe", "socket", "link"] {
            for how in [READ, write, NEW, How { read: true, ..write }, How { truncate: true, ..write }] {
                assert!(matches!(room.file(name, how), Err(FileError::Special)), "{name} {how:?}");
            }
        }
        let refused = room.file("pipe", How { folder: true, ..READ });
        assert!(matches!(refused, Err(FileError::Special | FileError::Io(_))));
        let dev = fs::open_ambient_dir(Path::new("/dev"), ambient_authority()).unwrap();
        assert!(matches!(open(&room.disk, &dev, Path::new("null"), READ), Err(FileError::Special)));
        let proc = fs::open_ambient_dir(Path::new("/proc"), ambient_authority()).unwrap();
        for path in ["self/environ", "self/cmdline", "1", "."] {
            assert!(matches!(open(&room.disk, &proc, Path::new(path), READ), Err(FileError::Special)), "{path}");
        }
        let root = fs::open_ambient_dir(Path::new("/"), ambient_authority()).unwrap();
        for path in ["proc/self/environ", "proc/self/root/etc/hostname", "proc/self/cwd/x", "proc"] {
            assert!(open(&room.disk, &root, Path::new(path), READ).is_err(), "{path}");
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_filled_as_elsewhere() {
        let room = Room::new(1 << 20);
        std::os::unix::fs::symlink("target", room.path("link")).unwrap();
        assert!(room.file("link", How { exclusive: true, ..NEW }).is_err());
        room.file("link", NEW).unwrap().write_at(b"x", 0).unwrap();
        assert_eq!(std::fs::read(room.path("target")).unwrap(), b"x");
        assert!(room.file("link", How { follow: false, ..READ }).is_err());
    }
}
