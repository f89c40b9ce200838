//! The text that is expected of somebody, in which `...` stands for any text.

use std::fmt;

/// A text with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Stands for any text, none included.
const GAP: &str = "...";

impl Pattern {
    /// From a text with `...` in it, or without.
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(text.into())
    }

    /// True when it is the whole of `text`.
    pub fn is(&self, text: &str) -> bool {
        let mut parts = self.0.split(GAP);
        let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }

    /// True when it is somewhere in `text`, within one line.
    pub fn is_in(&self, text: &str) -> bool {
        let anywhere = Pattern(format!("{GAP}{}{GAP}", self.0));
        text.lines().any(|line| anywhere.is(line))
    }

    /// True when every text is right.
    pub fn is_anything(&self) -> bool {
        self.0.contains(GAP) && self.0.split(GAP).all(str::is_empty)
    }

    /// True when it speaks of a time limit that was exceeded.
    pub fn is_late(&self) -> bool {
        self.0.contains("exceeded its time limit")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("a...", "ab", true),
            ("...b", "ab", true),
            ("...", "", true),
            ("a...b...c", "a-b-c", true),
            ("a...b...c", "a-c", false),
            ("a...a", "a", false),
            ("a......b", "ab", true),
        ] {
            assert_eq!(Pattern::new(pattern).is(text), expected, "{pattern} {text}");
        }
        assert!(Pattern::new("a...b").is_in("x\nx a - b x\n") && !Pattern::new("a...b").is_in("a\nb"));
    }
}
