//! What requests take, as multiples of the floor: a small file of names and numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::RECORD;

const HEAD: &str = "\
# Instructions of a request, as multiples of those of `bench-floor` in the same run. `cargo xtask instructions` compares, and with `--bless`
# writes this file.
";

/// Multiples by name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Record(BTreeMap<String, f64>);

impl Record {
    /// Reads a file.
    pub(super) fn read(file: &Path) -> Result<Record> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        Record::parse(&text).with_context(|| format!("`{}` is no record", file.display()))
    }

    /// Writes a file.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        std::fs::write(file, self.text()).with_context(|| format!("cannot write `{}`", file.display()))
    }

    /// The multiple of a row.
    pub(super) fn get(&self, name: &str) -> Result<f64> {
        let found = self.0.get(name).copied();
        found.with_context(|| format!("{RECORD} has no `{name}`: `cargo xtask instructions --bless` writes it"))
    }

    /// Sets that of a row.
    pub(super) fn set(&mut self, name: &str, multiple: f64) {
        self.0.insert(name.to_owned(), multiple);
    }

    /// Lines such as `direct = 1.352`, and those that begin with `#`.
    fn parse(text: &str) -> Result<Record> {
        let mut record = Record::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, number) = line.split_once('=').with_context(|| format!("`{line}` has no `=`"))?;
            let number: f64 = number.trim().parse().with_context(|| format!("`{line}` has no number"))?;
            ensure!(number.is_finite() && number > 0.0, "`{line}` is no multiple");
            record.set(name.trim(), number);
        }
        Ok(record)
    }

    fn text(&self) -> String {
        self.0.iter().fold(HEAD.to_owned(), |mut text, (name, multiple)| {
            let _ = writeln!(text, "{name} = {multiple:.3}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut record = Record::default();
        record.set("hosted", 1.75);
        record.set("direct", 1.3);
        assert_eq!(record.text(), format!("{HEAD}direct = 1.300\nhosted = 1.750\n"));
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert!(record.get("fresh").unwrap_err().to_string().contains("--bless"));
        for wrong in ["direct", "direct = x", "direct = 0", "direct = NaN"] {
            assert!(Record::parse(wrong).is_err(), "{wrong}");
        }
    }
}
