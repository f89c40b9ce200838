//! Running other programs: one line says what, its output passes through, a failure is an error.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// The root of the project: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// A command in a folder of the project, `.` for its root.
pub(crate) fn command(folder: &str, words: &[&str]) -> Command {
    let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root().join(folder));
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Result<()> {
    announce(&command);
    let status = command.status().with_context(|| format!("cannot start {}", shown(&command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(&command));
    }
    Ok(())
}

/// Runs a command to its end and gives every line of its stdout to `line`, which prints what is of interest. Answers whether
/// the command succeeded.
pub(crate) fn run_lines(mut command: Command, mut line: impl FnMut(&str)) -> Result<bool> {
    announce(&command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", shown(&command)))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).context("cannot read the output")? > 0 {
            line(String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
            bytes.clear();
        }
    }
    Ok(child.wait().context("cannot wait for the command")?.success())
}

/// The stdout of a command that has to succeed; nothing is shown.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {}", shown(&command)))?;
    if !output.status.success() {
        bail!("{} failed ({})", shown(&command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed bytes that are no text", shown(&command)))
}

/// True when a program is on the `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Several steps that all run, whatever becomes of the ones before.
#[derive(Default)]
pub(crate) struct Steps {
    failed: Vec<String>,
    lines: Vec<String>,
}

impl Steps {
    /// Runs one step under a heading.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let begin = Instant::now();
        let result = step();
        let seconds = begin.elapsed().as_secs();
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        self.lines.push(format!("{word:6} {seconds:5} s  {name}"));
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            self.failed.push(name.to_owned());
        }
    }

    /// How many steps failed.
    pub(crate) fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Shows all steps with their time, and fails when one of them did.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed.join(", "));
    }
}

fn announce(command: &Command) {
    println!("$ {}", shown(command));
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    match command.get_current_dir().and_then(|folder| folder.strip_prefix(root()).ok()) {
        Some(folder) if folder != Path::new("") && folder != Path::new(".") => {
            format!("(cd {}; {})", folder.display(), line.join(" "))
        }
        _ => line.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_failures_are_reported() {
        let mut seen = Vec::new();
        let ok = run_lines(command(".", &["sh", "-c", "printf 'a\\nb'; exit 3"]), |line| seen.push(line.to_owned()));
        assert!(!ok.unwrap());
        assert_eq!(seen, ["a", "b"]);
        let error = run(command("docs", &["sh", "-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "(cd docs; sh -c exit 3) failed (exit status: 3)");
        assert!(run(command(".", &["no-such-program"])).is_err());
        assert!(is_installed("sh") && !is_installed("no-such-program"));
    }

    #[test]
    fn every_step_runs_and_a_failed_one_is_named() {
        let mut steps = Steps::default();
        steps.step("one", || bail!("no"));
        let mut ran = false;
        steps.step("two", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(steps.failures(), 1);
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: one");
    }
}
