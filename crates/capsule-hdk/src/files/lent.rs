//! The folders that a function was given, as they are opened: without following a symbolic link.
//!
//! A folder is known by its path, and opened anew when something is done in it: when the operator replaces it (a new mount, a
//! renamed release), the next one sees the new one. But of two folders that are lent, one may lie within the other, and who
//! may write to the outer one may put a link in the place of the inner one. So each component is opened below the one before
//! it, and none may be a link.

use std::fs::File;
use std::io;
use std::path::{Component, Path};

/// Opens the folder at `path`, no component of which is a symbolic link.
pub(crate) fn open_lent(path: &Path) -> io::Result<File> {
    let absolute = std::path::absolute(path)?;
    let mut parts = absolute.components().peekable();
    let mut root = std::path::PathBuf::new();
    while let Some(part) = parts.next_if(|part| matches!(part, Component::Prefix(_) | Component::RootDir)) {
        root.push(part);
    }
    let mut folder = open_root(&root, parts.peek().is_none())?;
    while let Some(part) = parts.next() {
        let below = open_below(&folder, Path::new(&part), parts.peek().is_none());
        folder = below.map_err(|error| explained(&folder, Path::new(&part), error))?;
    }
    Ok(folder)
}

/// "Not a directory" is what the system says of a link that it does not follow.
fn explained(folder: &File, part: &Path, error: io::Error) -> io::Error {
    use cap_primitives::fs::{FollowSymlinks, stat};
    match stat(folder, part, FollowSymlinks::No) {
        Ok(found) if found.is_symlink() => {
            let text = format!("`{}` in its path is a symbolic link, which is not followed", part.display());
            io::Error::new(io::ErrorKind::NotADirectory, text)
        }
        _ => error,
    }
}

#[cfg(unix)]
fn open_root(root: &Path, last: bool) -> io::Result<File> {
    open_at(rustix::fs::CWD, root, last)
}

#[cfg(unix)]
fn open_below(folder: &File, part: &Path, last: bool) -> io::Result<File> {
    open_at(folder, part, last)
}

/// One on the way is only passed through, which takes no right to read it.
#[cfg(unix)]
fn open_at(folder: impl std::os::fd::AsFd, part: &Path, last: bool) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, openat};
    let mut flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    flags.set(OFlags::PATH, !last);
    #[cfg(not(target_os = "linux"))]
    let _ = last;
    flags |= OFlags::RDONLY;
    Ok(File::from(openat(folder, part, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_root(root: &Path, _: bool) -> io::Result<File> {
    cap_primitives::fs::open_ambient_dir(root, cap_primitives::ambient_authority())
}

#[cfg(not(unix))]
fn open_below(folder: &File, part: &Path, _: bool) -> io::Result<File> {
    cap_primitives::fs::open_dir_nofollow(folder, part)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn no_component_may_be_a_link() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("a/b/c")).unwrap();
        std::fs::write(home.join("a/b/c/file"), "x").unwrap();
        for (target, name) in [("c", "a/b/last"), ("b", "a/middle"), ("/", "root"), ("nothing", "a/nowhere")] {
            symlink(target, home.join(name)).unwrap();
        }
        let names = |path: &str| {
            let folder = open_lent(&home.join(path))?;
            let entries = cap_primitives::fs::read_base_dir(&folder)?;
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        };
        assert_eq!(names("a/b/c").unwrap(), ["file"]);
        for path in ["a/b/last", "a/middle/c", "root", "root/usr", "a/nowhere"] {
            let error = names(path).unwrap_err().to_string();
            assert!(error.ends_with("in its path is a symbolic link, which is not followed"), "{path}: {error}");
        }
        assert_eq!(names("a/none").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(names("a/b/c/file").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(open_lent(Path::new("/")).is_ok() && open_lent(Path::new("src")).is_ok());
        // One that may be entered and not read is passed through.
        std::fs::set_permissions(home.join("a"), std::fs::Permissions::from_mode(0o300)).unwrap();
        assert_eq!(names("a/b/c").unwrap(), ["file"]);
    }
}
