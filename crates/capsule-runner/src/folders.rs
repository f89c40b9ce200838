//! Which folders are lent to a module only when the operator has named them.
//!
//! The root of the file system, what the system shows of itself, and every folder that holds what belongs to the runner:
//! compiled code (whoever writes there runs what he likes), records of functions, keys, tokens.

use std::path::{Path, PathBuf};

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
}
