//! Which folders are lent to a module only when the operator has named them.
//!
//! The root of the file system, what the system shows of itself, and every folder that holds what belongs to the runner:
//! compiled code (whoever writes there runs what he likes), records of functions, keys, tokens.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};

/// Folders that show the system's own state, the environments of processes among it.
const OF_THE_SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Files and folders of the runner's own.
#[derive(Debug, Clone, Default)]
pub struct Private {
    paths: Vec<PathBuf>,
}

impl Private {
    /// These, wherever symbolic links lead.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Private {
        Private { paths: paths.into_iter().map(|path| real(&path)).collect() }
    }

    /// True for one of these files.
    pub fn contains(&self, path: &Path) -> bool {
        self.paths.contains(&real(path))
    }

    /// What speaks against lending this folder; none when nothing does.
    pub fn objection(&self, folder: &Path) -> Option<&'static str> {
        let folder = real(folder);
        if folder.parent().is_none() {
            return Some("is the root of the file system");
        }
        if OF_THE_SYSTEM.iter().any(|of| folder.starts_with(of)) {
            return Some("is a folder of the system");
        }
        let holds = |private: &PathBuf| private.starts_with(&folder) || folder.starts_with(private);
        self.paths.iter().any(holds).then_some("holds files of the server, such as its data, compiled code or keys")
    }
}

/// The path without symbolic links, as far as it exists.
pub fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut missing = PathBuf::new();
    for part in absolute.ancestors() {
        if let Ok(found) = part.canonicalize() {
            return if missing.as_os_str().is_empty() { found } else { found.join(missing) };
        }
        let name = part.file_name().map(PathBuf::from).unwrap_or_default();
        missing = if missing.as_os_str().is_empty() { name } else { name.join(missing) };
    }
    absolute
}

/// The folders of several tenants. Of two that are lent, one may lie within the other: a link in the path of the inner one is
/// followed only where nobody may have put it who was given the outer one for writing.
#[derive(Debug, Clone, Default)]
pub struct Tenants {
    /// Folders that were lent for writing.
    writable: BTreeSet<PathBuf>,
    /// Folders with the links that led to one that was lent.
    crossed: BTreeSet<PathBuf>,
    /// They are at work: who is not lent a folder is going to change nothing in it.
    at_work: bool,
}

impl Tenants {
    /// From now on tenants may change what they are lent.
    pub fn begin(&mut self) {
        self.at_work = true;
    }

    /// Notes that somebody is going to be lent this folder, who may have changed it in an earlier life. Nothing once they are at
    /// work: [`Tenants::lend`] knows then.
    pub fn note(&mut self, folder: &Path, read_only: bool) {
        if self.at_work {
            return;
        }
        let mut crossed = Vec::new();
        let found = self.follow(folder, &mut crossed);
        self.crossed.extend(crossed);
        if !read_only {
            self.writable.insert(found);
        }
    }

    /// The path to lend `folder` by, without symbolic links, as far as it exists. A link that is not followed stays in it, and is
    /// refused when the folder is opened.
    ///
    /// # Errors
    /// The folder is asked for to write in, and holds a link by which another one was lent.
    pub fn lend(&mut self, folder: &Path, read_only: bool) -> Result<PathBuf, &'static str> {
        let mut crossed = Vec::new();
        let found = self.follow(folder, &mut crossed);
        if !read_only {
            if self.crossed.iter().any(|place| place.starts_with(&found)) {
                return Err("holds a link that is in the path of another function's folder");
            }
            self.writable.insert(found.clone());
        }
        self.crossed.extend(crossed);
        Ok(found)
    }

    /// Follows links, each of which is read once.
    fn follow(&self, folder: &Path, crossed: &mut Vec<PathBuf>) -> PathBuf {
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<VecDeque<_>>();
        let mut rest = parts(&absolute);
        let mut found = PathBuf::new();
        while let Some(part) = rest.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::CurDir) | None => {}
                Some(Component::ParentDir) => drop(found.pop()),
                Some(Component::Prefix(_) | Component::RootDir) => found.push(part),
                Some(Component::Normal(_)) => {
                    let trusted = !self.writable.iter().any(|folder| found.starts_with(folder));
                    let target = std::fs::read_link(found.join(&part)).ok().filter(|_| trusted);
                    match target.filter(|_| crossed.len() < MAX_LINKS) {
                        None => found.push(part),
                        Some(target) => {
                            crossed.push(found.clone());
                            let mut further = parts(&target);
                            further.append(&mut rest);
                            rest = further;
                        }
                    }
                }
            }
        }
        found
    }
}

/// Links in one path, as many as a system follows.
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_or_is_in_something_private_is_not_lent() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        std::fs::create_dir_all(at("data/modules")).unwrap();
        std::fs::create_dir_all(at("other/sub")).unwrap();
        std::fs::write(at("other/key.pem"), "").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        let private = Private::new([at("data"), at("other/key.pem"), at("missing/cache")]);
        for folder in ["", "data", "data/modules", "other", "other/../data", "missing", "missing/cache/x"] {
            let objection = private.objection(&at(folder));
            assert!(objection.is_some_and(|reason| reason.starts_with("holds files of the server")), "{folder}");
        }
        #[cfg(unix)]
        assert!(private.objection(&at("link/modules")).is_some());
        assert_eq!(private.objection(&at("other/sub")), None);
        assert_eq!(private.objection(&at("new")), None);
        assert!(private.contains(&at("data/../other/key.pem")) && !private.contains(&at("other/sub")));
        let nothing = Private::default();
        for folder in ["/", "/usr/..", "/proc", "/proc/self", "/dev/shm", "/sys"] {
            assert!(nothing.objection(Path::new(folder)).is_some(), "{folder}");
        }
        assert_eq!(nothing.objection(Path::new("/usr")), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_that_a_tenant_may_have_made_is_not_followed() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let at = |path: &str| home.join(path);
        std::fs::create_dir_all(at("outer/v1")).unwrap();
        std::fs::create_dir_all(at("secret/below")).unwrap();
        symlink("outer", at("operators")).unwrap();
        symlink("../secret", at("outer/sub")).unwrap();
        symlink(at("secret"), at("outer/absolute")).unwrap();
        symlink("v1", at("outer/current")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let mut tenants = Tenants::default();
        // What nobody may write to is as the operator has made it.
        assert_eq!(tenants.lend(&at("outer/current"), true), Ok(at("outer/v1")));
        assert!(tenants.lend(&at("outer"), false).is_err());
        assert_eq!(tenants.lend(&at("outer"), true), Ok(at("outer")));

        let mut tenants = Tenants::default();
        assert_eq!(tenants.lend(&at("outer/./sub/../secret"), true), Ok(at("secret")), "as the system does");
        let mut tenants = Tenants::default();
        assert_eq!(tenants.lend(&at("operators"), false), Ok(at("outer")));
        for path in ["outer/sub", "operators/sub", "outer/sub/below", "outer/absolute", "outer/current"] {
            let expected = at(&path.replace("operators", "outer"));
            assert_eq!(tenants.lend(&at(path), true), Ok(expected), "{path}");
        }
        assert_eq!(tenants.lend(&at("new/folder"), false), Ok(at("new/folder")));
        assert!(tenants.lend(&at("loop/x"), true).unwrap().ends_with("x"));
        // It is enough that somebody is going to.
        let mut tenants = Tenants::default();
        tenants.note(&at("operators"), false);
        assert_eq!(tenants.lend(&at("outer/sub"), true), Ok(at("outer/sub")));
        // But not that somebody asks for it who is refused.
        let mut tenants = Tenants::default();
        tenants.begin();
        tenants.note(&at("outer"), false);
        assert_eq!(tenants.lend(&at("outer/sub"), true), Ok(at("secret")));
        assert!(tenants.lend(&at("outer"), false).is_err());
        assert_eq!(tenants.lend(&at("outer/sub"), true), Ok(at("secret")));
    }
}
