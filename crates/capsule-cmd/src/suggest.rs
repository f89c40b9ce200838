//! "Did you mean": the known name that is closest to a mistyped one.

/// No flag name is longer; what a hostile caller sends is not compared letter by letter.
const MAX_NAME: usize = 64;

/// The closest of the known names, when it is close enough that a slip of the fingers explains it.
pub(crate) fn closest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.is_empty() || typed.len() > MAX_NAME {
        return None;
    }
    let plain = |name: &str| -> Vec<char> {
        name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
    };
    let typed = plain(typed);
    let allowed = (typed.len() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(&typed, &plain(name)), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A name as it may be shown: one line, of bounded length.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(MAX_NAME).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX_NAME).is_some() {
        text.push_str("...");
    }
    text
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one name into the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["wasm", "url", "httpPort", "callTimeout", "help"];
        for (typed, expected) in [
            ("wsam", Some("wasm")),
            ("wasn", Some("wasm")),
            ("httpport", Some("httpPort")),
            ("http_port", Some("httpPort")),
            ("calltimout", Some("callTimeout")),
            ("hlep", Some("help")),
            ("banana", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, known), expected, "{typed}");
        }
        assert_eq!(closest(&"w".repeat(1_000_000), known), None);
    }

    #[test]
    fn names_are_shown_on_one_bounded_line() {
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown(&"é".repeat(100)), format!("{}...", "é".repeat(64)));
    }
}
