//! What `perf script -F ip,sym,dso` prints: a line for each sample.

use std::collections::HashMap;

use super::groups::Group;

/// Where a processor was when it was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Sample<'a> {
    address: u64,
    symbol: &'a str,
    file: &'a str,
}

/// Samples by function.
pub(super) struct Samples {
    functions: HashMap<(String, Group), u64>,
    count: u64,
}

impl Samples {
    /// Reads all lines; what is no sample is passed over.
    pub(super) fn parse(text: &str) -> Samples {
        let mut samples = Samples { functions: HashMap::new(), count: 0 };
        for Sample { address, symbol, file } in text.lines().filter_map(sample) {
            let group = Group::of(address, symbol, file);
            let name = if symbol == "[unknown]" { format!("[unknown] in {file}") } else { symbol.to_owned() };
            *samples.functions.entry((name, group)).or_default() += 1;
            samples.count += 1;
        }
        samples
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many are of a group.
    pub(super) fn of(&self, group: Group) -> u64 {
        self.functions.iter().filter(|((_, of), _)| *of == group).map(|(_, count)| count).sum()
    }

    /// The functions with the most samples.
    pub(super) fn hottest(&self, most: usize) -> Vec<(&str, Group, u64)> {
        let mut functions: Vec<_> =
            self.functions.iter().map(|((name, group), count)| (name.as_str(), *group, *count)).collect();
        functions.sort_by(|one, other| other.2.cmp(&one.2).then(one.0.cmp(other.0)));
        functions.truncate(most);
        functions
    }
}

/// `  ffffffff8100 name of a function (/path/of/file (deleted))`
fn sample(line: &str) -> Option<Sample<'_>> {
    let (address, rest) = line.trim().split_once(' ')?;
    let rest = rest.trim().strip_suffix(')')?;
    let (symbol, file) = rest.strip_suffix(" (deleted)").unwrap_or(rest).rsplit_once(" (")?;
    Some(Sample { address: u64::from_str_radix(address, 16).ok()?, symbol: symbol.trim(), file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        let check = |line: &str, address, symbol: &str, file: &str| {
            assert_eq!(sample(line), Some(Sample { address, symbol, file }), "{line}");
        };
        check("  ffffffff9a tcp_sendmsg ([kernel.kallsyms])", 0xff_ffff_ff9a, "tcp_sendmsg", "[kernel.kallsyms]");
        check("  55d0 <a::B as c::D<(u8, u8)>>::e (/bin/x)", 0x55d0, "<a::B as c::D<(u8, u8)>>::e", "/bin/x");
        check("7f00 [unknown] (/tmp/code (deleted))", 0x7f00, "[unknown]", "/tmp/code");
        for other in ["", "no sample", "xyz name (file)"] {
            assert_eq!(sample(other), None, "{other}");
        }
    }

    #[test]
    fn functions_are_sorted_by_their_samples() {
        let text = "1 a::b (/x)\n2 tokio::c (/x)\n3 tokio::c (/x)\nnothing\n";
        let samples = Samples::parse(text);
        assert_eq!((samples.count(), samples.of(Group::Http), samples.of(Group::Guest)), (3, 2, 0));
        assert_eq!(samples.hottest(1), [("tokio::c", Group::Http, 2)]);
    }
}
