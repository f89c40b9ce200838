//! How a child process is tied to the life of its server: the server runs a program of its own first, which asks the
//! system for that and then becomes the child's program.
//!
//! On Linux a process may ask to be killed when its parent ends, whatever ends it. That setting belongs to the process
//! and outlives the change of its program, but it cannot be made from outside, and between fork and exec only unsafe code
//! could make it. So the server starts `SERVER --child-shim PARENT PATH ARGS...`, which is again the server's own
//! executable: [`become_child`] makes the setting, looks whether its parent is still the server (it may have ended before),
//! and replaces itself by the program at PATH. What counts as parent is the thread that has started the process;
//! the runtime starts children from one that lives as long as itself.
//!
//! The setting is for the child alone: what the child starts in turn ends with its process group when the server ends the
//! child, but survives a server that is killed. Elsewhere than on Linux a child survives such a server, too.

use std::ffi::OsString;

/// The first word by which the program recognises that it is to call [`become_child`] with the words that follow.
pub const WORD: &str = "--child-shim";

/// Becomes the program of a child process; returns only when that fails.
///
/// # Errors
/// One line that says what is wrong. The caller prints it and ends the process.
pub fn become_child(words: impl IntoIterator<Item = OsString>) -> Result<std::convert::Infallible, String> {
    let mut words = words.into_iter();
    let parent = words.next().and_then(|word| word.to_str()?.parse::<u32>().ok());
    let (Some(parent), Some(path)) = (parent, words.next()) else {
        return Err(format!("expected `{WORD} PARENT PATH ARGS...`; it is the server that writes these words"));
    };
    system::die_with(parent)?;
    let error = system::replace(std::process::Command::new(&path).args(words));
    Err(format!("cannot run `{}`: {error}", path.display()))
}

#[cfg(unix)]
mod system {
    use std::io;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[cfg(target_os = "linux")]
    pub(super) fn die_with(parent: u32) -> Result<(), String> {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| format!("cannot be tied to the server: {error}"))?;
        let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if now == Some(parent) { Ok(()) } else { Err("the server has ended".into()) }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn die_with(_: u32) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn replace(command: &mut Command) -> io::Error {
        command.exec()
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::process::Command;

    pub(super) fn die_with(_: u32) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn replace(_: &mut Command) -> io::Error {
        io::ErrorKind::Unsupported.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: &str) {
        let error = become_child(words.iter().map(OsString::from)).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_the_server_would_not_write_is_refused() {
        check(&[], "expected `--child-shim PARENT PATH");
        check(&["x", "/bin/true"], "expected `--child-shim PARENT PATH");
        check(&["1"], "expected `--child-shim PARENT PATH");
    }
}
