//! A command in the making: which executable, with what, in which surroundings.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::DEADLINE;
use crate::process::{Finished, Process};

/// What a child inherits from the test's environment. All else is left behind, so that a developer's settings do not
/// change what a test shows.
const INHERITED: [&str; 4] = ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];

/// Mounts a file system in memory at the second word, as large as the first one says, then becomes the program behind them.
const ON_SMALL_DISK: &str =
    "size=$1 folder=$2; shift 2; mount -t tmpfs -o size=$size,mode=700 none \"$folder\" && exec \"$0\" \"$@\"";

/// A program to start. The environment is almost empty; the compile cache is one folder for all tests of a profile.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    stdin: Vec<u8>,
}

impl Program {
    /// A program of this workspace, such as `capsule-http`: the one of the profile that the test was built in.
    ///
    /// # Errors
    /// It was not built.
    pub fn of_workspace(name: &str) -> anyhow::Result<Self> {
        let folder = profile_folder()?;
        let path = folder.join(name);
        if !path.is_file() {
            bail!("`{}` is missing: run `cargo build --workspace` first", path.display());
        }
        let cache = folder.join("test-cache");
        private_folder(&cache).with_context(|| format!("cannot make `{}`", cache.display()))?;
        Ok(Self::at(path).env("XDG_CACHE_HOME", cache))
    }

    /// A tool of the machine, found on `PATH`.
    ///
    /// # Errors
    /// It is not installed; names the Debian package that has it.
    pub fn tool(name: &str, package: &str) -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        match std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()) {
            Some(file) => Ok(Self::at(file)),
            None => bail!("`{name}` is missing: install the Debian package `{package}`"),
        }
    }

    /// The executable at this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), env: Vec::new(), folder: None, stdin: Vec::new() }
    }

    /// Where the executable is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the executable.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Adds one word.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.args.push(word.as_ref().to_owned());
        self
    }

    /// Adds words.
    #[must_use]
    pub fn args(mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets environment variables.
    #[must_use]
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        variables.into_iter().fold(self, |program, (name, value)| program.env(name, value))
    }

    /// Sets the working folder; the test's own unless said otherwise.
    #[must_use]
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Has it see a disk of its own at `folder`, which is as large as `size` says (`64k`, `2m`), empty, and gone when the program is.
    ///
    /// # Errors
    /// The system does not let this process mount anything.
    pub fn on_small_disk(self, folder: impl AsRef<Path>, size: &str) -> anyhow::Result<Self> {
        // Root needs no namespace of users, and in a container often may not make one.
        let apart = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
        let unshare = Self::tool("unshare", "util-linux")?;
        let tried = unshare.clone().args([apart, "true"]).run()?;
        if tried.code != Some(0) {
            bail!(
                "a small disk cannot be mounted: this test runs as root with CAP_SYS_ADMIN, or where user namespaces are \
                 allowed\n{tried:?}"
            );
        }
        let words = [apart, "sh", "-c", ON_SMALL_DISK].map(OsString::from);
        let behind = [self.path.into_os_string(), size.into(), folder.as_ref().into()];
        let args = words.into_iter().chain(behind).chain(self.args).collect();
        Ok(Self { path: unshare.path, args, ..self })
    }

    /// Sets what it reads from stdin; nothing unless said otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The same, with its stdout thrown away: for one that writes more than a test should keep.
    ///
    /// # Errors
    /// There is no shell.
    pub fn without_stdout(self) -> anyhow::Result<Self> {
        let Self { path, mut args, env, folder, stdin } = self;
        let shell = Self::tool("sh", "dash")?;
        // The shell becomes the program: number and signals are the program's.
        args.splice(0..0, ["-c".into(), r#"exec "$0" "$@" > /dev/null"#.into(), path.into_os_string()]);
        Ok(Self { path: shell.path, args, env, folder, stdin })
    }

    /// Starts it.
    ///
    /// # Errors
    /// The system cannot.
    pub fn start(self) -> anyhow::Result<Process> {
        let name = self.name();
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot start `{}`", self.path.display()))?;
        Process::watch(name, child, self.stdin)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The system cannot, or it does not end in time.
    pub fn run(self) -> anyhow::Result<Finished> {
        self.start()?.wait(DEADLINE)
    }
}

/// `target/<profile>`: the folder above the one that test executables are in.
pub(crate) fn profile_folder() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("cannot find the test's own executable")?;
    let folder = test.parent().context("the test has no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().context("`deps` has no folder")? } else { folder };
    Ok(folder.to_owned())
}

/// A folder for its owner alone, as a compile cache has to be.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_variables_folder_and_stdin_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo \"$1-$2\"; echo \"$NAME:$HOME:$CARGO_MANIFEST_DIR\"; pwd; cat; echo oops >&2; exit 7";
        let finished = Program::tool("sh", "dash")
            .unwrap()
            .args(["-c", script, "sh", "one"])
            .arg("two words")
            .envs([("NAME", "value")])
            .current_dir(folder.path().canonicalize().unwrap())
            .stdin("typed")
            .run()
            .unwrap();
        let here = folder.path().canonicalize().unwrap();
        assert_eq!(finished.stdout(), format!("one-two words\nvalue::\n{}\ntyped", here.display()));
        assert_eq!((finished.stderr().as_str(), finished.code), ("oops\n", Some(7)));
    }

    #[test]
    fn stdout_is_thrown_away_and_nothing_else() {
        let program = Program::tool("sh", "dash").unwrap().args(["-c", "echo $1; echo $NAME >&2; exit 3", "sh", "a b"]);
        let finished = program.env("NAME", "value").without_stdout().unwrap().run().unwrap();
        assert_eq!((finished.stdout().as_str(), finished.stderr().as_str(), finished.code), ("", "value\n", Some(3)));
    }

    #[test]
    fn a_small_disk_is_full_soon_and_the_programs_own() {
        let folder = tempfile::tempdir().unwrap();
        let script = "head -c 60000 /dev/zero > \"$1/small\" && head -c 60000 /dev/zero > \"$1/large\"; ls \"$1\"";
        let program = Program::tool("sh", "dash").unwrap().args(["-c", script, "sh"]).arg(folder.path());
        let finished = program.on_small_disk(folder.path(), "64k").unwrap().run().unwrap();
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(0), "large\nsmall\n"), "{finished:?}");
        assert!(finished.stderr().contains("No space left on device"), "{finished:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Program::of_workspace("no-such-program").unwrap_err().to_string();
        assert!(error.ends_with("/no-such-program` is missing: run `cargo build --workspace` first"), "{error}");
        let error = Program::tool("no-such-tool", "toolbox").unwrap_err().to_string();
        assert_eq!(error, "`no-such-tool` is missing: install the Debian package `toolbox`");
        assert!(Program::at("/no/such").run().unwrap_err().to_string().starts_with("cannot start `/no/such`"));
    }
}
