//! From a path of the guest to a folder and the rest of the path below it.

use std::path::PathBuf;

use crate::capabilities::Folder;

/// A path of the guest: the folder with the longest name in front of it, and the rest of the path.
///
/// `.` and a path without leading slash are the folder `.`. Links and `..` may lead anywhere within that folder; whether they
/// lead out of it is found out when the path is opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) rest: PathBuf,
}

impl<'a> Place<'a> {
    /// The place of `path`; none when it is in none of the folders.
    pub(crate) fn find(folders: &'a [Folder], path: &str) -> Option<Place<'a>> {
        let path = components(path);
        let fitting = folders.iter().filter_map(|folder| {
            let prefix = components(&folder.guest);
            let rest = path.strip_prefix(prefix.as_slice())?;
            let rest = if rest.is_empty() { ".".into() } else { rest.iter().collect() };
            Some((prefix.len(), Place { folder, rest }))
        });
        // Of several with the same name the first one counts, as in WASI.
        let longest = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
        longest.map(|(_, place)| place)
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
            let found = Place::find(&folders, path);
            let expected =
                expected.map(|(index, rest): (usize, &str)| Place { folder: &folders[index], rest: rest.into() });
            assert_eq!(found, expected, "{path}");
        }
    }
}
