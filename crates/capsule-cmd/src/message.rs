//! What users read on stderr: `error:` lines, their causes, and `hint:` lines.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};

use crate::usage::UsageError;

/// An error with advice. It shows itself as the error that it carries; the advice is printed on a line of its own.
pub struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\nhint: {}", self.error, self.hint)
    }
}

impl StdError for Hinted {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

/// Adds advice to an error or to a failed result.
pub trait HintExt {
    /// The same with advice.
    type Output;

    /// Adds one line that says what to do.
    fn hint(self, hint: impl Into<String>) -> Self::Output;
}

impl HintExt for anyhow::Error {
    type Output = Self;

    fn hint(self, hint: impl Into<String>) -> Self {
        Self::new(Hinted { error: self, hint: hint.into() })
    }
}

impl<T, E: Into<anyhow::Error>> HintExt for Result<T, E> {
    type Output = anyhow::Result<T>;

    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| error.into().hint(hint))
    }
}

/// Finds an error of this type among an error and its causes, also behind advice.
pub fn find<E: StdError + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| {
        cause.downcast_ref::<E>().or_else(|| cause.downcast_ref::<Hinted>().and_then(|hinted| find(&hinted.error)))
    })
}

/// Prints an error to stderr, in colour on a terminal unless `NO_COLOR` is set.
pub fn print(error: &anyhow::Error) {
    let mut stderr = io::stderr().lock();
    let colour = stderr_has_colour();
    // Nobody is left to tell when stderr is closed.
    let _ = write(error, colour, &mut stderr);
}

/// True when stderr is a terminal and `NO_COLOR` is unset or empty.
pub fn stderr_has_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes an error: one `error:` line, a `caused by:` line for each cause, a `hint:` line for each advice. A wrong
/// command line has an `error:` line for each problem.
///
/// # Errors
/// Those of the writer.
pub fn write(error: &anyhow::Error, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let (red, cyan, plain) = if colour { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
    if let Some(usage) = find::<UsageError>(error) {
        for problem in usage.problems() {
            writeln!(out, "{red}error{plain}: {}", Clean(&problem.message))?;
            if let Some(hint) = &problem.hint {
                writeln!(out, "{cyan}hint{plain}: {}", Clean(hint))?;
            }
        }
    } else {
        writeln!(out, "{red}error{plain}: {}", Clean(&error.to_string()))?;
        for cause in error.chain().skip(1) {
            writeln!(out, "  caused by: {}", Clean(&cause.to_string()))?;
        }
    }
    for hint in hints(error) {
        writeln!(out, "{cyan}hint{plain}: {}", Clean(&hint))?;
    }
    out.flush()
}

/// All advice of an error and its causes, outermost first.
fn hints(error: &anyhow::Error) -> Vec<String> {
    let mut hints = Vec::new();
    for cause in error.chain() {
        // Advice on advice hides in the same level: its own causes are already those of the chain.
        let mut level = cause.downcast_ref::<Hinted>();
        while let Some(hinted) = level {
            hints.push(hinted.hint.clone());
            level = hinted.error.chain().next().and_then(|inner| inner.downcast_ref::<Hinted>());
        }
    }
    hints
}

/// Text without control characters: what a module or a server sent must not drive the terminal.
struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("\n  ")?,
                '\t' => f.write_str("\t")?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;
    use crate::exit;
    use crate::usage::{Problem, Problems};

    fn written(error: &anyhow::Error, colour: bool) -> String {
        let mut out = Vec::new();
        write(error, colour, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn causes_and_hints_are_lines_of_their_own() {
        let error = Err::<(), _>(anyhow!("connection refused"))
            .hint("start the server")
            .context("cannot read `a`")
            .hint("inner")
            .hint("outer")
            .unwrap_err();
        assert_eq!(
            written(&error, false),
            "error: cannot read `a`\n  caused by: connection refused\nhint: outer\nhint: inner\nhint: start the server\n"
        );
        assert_eq!(exit::code_of(&error), 1);
    }

    #[test]
    fn usage_has_a_line_for_each_problem_and_exits_with_2() {
        let mut problems = Problems::new();
        problems.push(Problem::new("one"));
        problems.push(Problem::new("two").hint("do that"));
        let error = anyhow::Error::new(problems.finish().unwrap_err());
        assert_eq!(written(&error, false), "error: one\nerror: two\nhint: do that\n");
        assert_eq!(exit::code_of(&error), 2);
        let wrapped = error.hint("see `--help`").context("in `capsule.toml`");
        assert_eq!(exit::code_of(&wrapped), 2);
        assert_eq!(written(&wrapped, false), "error: one\nerror: two\nhint: do that\nhint: see `--help`\n");
    }

    #[test]
    fn colour_and_control_characters() {
        let error = anyhow!("bad \x1b[2J byte\nnext\u{7}").hint("h");
        assert_eq!(written(&error, false), "error: bad \\u{1b}[2J byte\n  next\\u{7}\nhint: h\n");
        assert!(written(&error, true).starts_with("\x1b[1;31merror\x1b[0m: bad \\u{1b}"));
    }
}
