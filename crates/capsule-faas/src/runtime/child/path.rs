//! Which executables may become child processes.

use std::fs;
use std::path::{Path, PathBuf};

use capsule_faas_model::Refusal;

use super::Children;

/// The executable that `path` names, without symbolic links: the server's own, or one below an allowed folder.
pub(crate) fn executable(children: Option<&Children>, path: &str) -> Result<PathBuf, Refusal> {
    let refused = |what: String| Refusal::invalid(format!("`path`: {what}"));
    let Some(children) = children else {
        return Err(refused("this server runs functions in its own process only; leave `path` out".into()));
    };
    // As in the reference's examples, where the program is named without its folder.
    if Path::new(path).components().count() == 1 && children.executable.file_name() == Some(path.as_ref()) {
        return Ok(children.executable.clone());
    }
    let found = fs::canonicalize(path).map_err(|error| refused(format!("cannot find `{path}`: {error}")))?;
    let own = fs::canonicalize(&children.executable).is_ok_and(|own| own == found);
    let below = |folder: &PathBuf| fs::canonicalize(folder).is_ok_and(|folder| found.starts_with(folder));
    if !own && !children.allowed.iter().any(below) {
        return Err(refused(format!(
            "`{path}` is neither the server's own executable nor below a folder that the operator allows (flag \
             `--allowPath`)"
        )));
    }
    if !is_executable(&found) {
        return Err(refused(format!("`{path}` is not a file that can be executed")));
    }
    Ok(found)
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_what_is_allowed_is_executed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, mode) in [("server", 0o755), ("outside", 0o755), ("in/run", 0o755), ("in/text", 0o644)] {
            fs::create_dir_all(at("in/folder")).unwrap();
            fs::write(at(name), "").unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(at("outside"), at("in/out")).unwrap();
        symlink(at("in/run"), at("link")).unwrap();
        let mut children = Children::new(at("server"));
        children.allowed.push(at("in"));
        let check = |path: &str, expected: Result<&str, &str>| {
            let path = if path.contains('/') { at(path).to_str().unwrap().to_owned() } else { path.to_owned() };
            match (executable(Some(&children), &path), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, fs::canonicalize(at(expected)).unwrap(), "{path}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{path}: {error}"),
                (found, _) => panic!("{path}: {found:?}"),
            }
        };
        check("./server", Ok("server"));
        check("in/run", Ok("in/run"));
        check("./link", Ok("in/run"));
        check("in/../in/run", Ok("in/run"));
        check("in/out", Err("neither the server's own"));
        check("./outside", Err("neither the server's own"));
        check("in/../outside", Err("neither the server's own"));
        check("in/text", Err("not a file that can be executed"));
        check("in/folder", Err("not a file that can be executed"));
        check("in/nothing", Err("cannot find"));
        assert_eq!(executable(Some(&children), "server").unwrap(), at("server"));
        assert!(executable(None, "server").unwrap_err().to_string().contains("own process only"));
    }
}
