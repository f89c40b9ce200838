//! Where the modules of this repository are: `functions/` and `fixtures/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::program::{Program, profile_folder};

/// The root of the repository.
pub fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    crates.unwrap_or(Path::new(".")).to_owned()
}

/// A module of an example function, such as `hello/hello.wasm`.
///
/// # Errors
/// It is not there; names the command that builds it.
pub fn function(path: &str) -> anyhow::Result<PathBuf> {
    existing(root().join("functions").join(path), "`cargo xtask guests` builds it")
}

/// The Go variant of an example function, such as `hello`, built now. The compiler's own cache makes that fast from the second
/// time on.
///
/// # Errors
/// Go (1.24 or later) is not installed, or the function does not compile.
pub fn function_in_go(name: &str) -> anyhow::Result<PathBuf> {
    let folder = profile_folder()?.join("test-guests");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let module = folder.join(format!("{name}.wasm"));
    // Tests that run at the same time never see a half file.
    let unfinished = tempfile::Builder::new().prefix(name).tempfile_in(&folder)?.into_temp_path();
    let finished = Program::tool("go", "golang-go")?
        .current_dir(root().join("functions").join(name).join("go"))
        .envs(GO_SETTINGS.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOFLAGS", "-mod=readonly")])
        .args(["build", "-trimpath", "-ldflags=-s -w", "-buildmode=c-shared", "-o"])
        .arg(&unfinished)
        .arg(".")
        .start()?
        .wait(GO_BUILD)?;
    finished.success().with_context(|| format!("`functions/{name}/go` cannot be built"))?;
    unfinished.persist(&module).with_context(|| format!("cannot write `{}`", module.display()))?;
    Ok(module)
}

/// Where Go keeps and finds what it builds with.
const GO_SETTINGS: [&str; 10] = [
    "HOME",
    "GOCACHE",
    "GOMODCACHE",
    "GOPATH",
    "GOPROXY",
    "GOSUMDB",
    "GOTOOLCHAIN",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
];
/// The standard library for WebAssembly is compiled at the first time.
const GO_BUILD: Duration = Duration::from_secs(300);

/// A guest of the tests, such as `counter.wat`.
///
/// # Errors
/// It is not there.
pub fn fixture(name: &str) -> anyhow::Result<PathBuf> {
    existing(root().join("fixtures").join(name), "the names are in `fixtures/README.md`")
}

/// All modules of the example functions, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn functions() -> anyhow::Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    let mut folders = vec![root().join("functions")];
    while let Some(folder) = folders.pop() {
        for path in files(&folder)? {
            // What a guest's own build leaves behind is not committed.
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if has_extension(&path, "wasm") {
                modules.push(path);
            }
        }
    }
    modules.sort();
    Ok(modules)
}

/// All guests of the tests, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn fixtures() -> anyhow::Result<Vec<PathBuf>> {
    Ok(files(&root().join("fixtures"))?.into_iter().filter(|file| has_extension(file, "wat")).collect())
}

fn existing(path: PathBuf, hint: &str) -> anyhow::Result<PathBuf> {
    if !path.is_file() {
        bail!("`{}` is missing: {hint}", path.display());
    }
    Ok(path)
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_workspace() {
        assert!(std::fs::read_to_string(root().join("Cargo.toml")).unwrap().contains("[workspace]"));
    }

    #[test]
    fn a_missing_guest_says_what_to_do() {
        let error = function("no/such.wasm").unwrap_err().to_string();
        assert!(error.ends_with("functions/no/such.wasm` is missing: `cargo xtask guests` builds it"), "{error}");
        let error = fixture("no.wat").unwrap_err().to_string();
        assert!(error.ends_with("fixtures/no.wat` is missing: the names are in `fixtures/README.md`"), "{error}");
    }
}
