//! Patterns of keys as Redis KEYS understands them: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, `\x`. They match bytes.

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`: any bytes, none included.
    Many,
    /// One byte of a set.
    One(Box<[bool; 256]>),
    /// This byte.
    Byte(u8),
    /// `?`: any byte.
    Any,
}

impl Glob {
    /// Every pattern is valid: an unclosed bracket ends with the pattern, a last backslash is itself.
    pub(crate) fn new(pattern: &[u8]) -> Glob {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let [first, after @ ..] = rest {
            rest = after;
            tokens.push(match first {
                b'*' if tokens.last() == Some(&Token::Many) => continue,
                b'*' => Token::Many,
                b'?' => Token::Any,
                b'[' => {
                    let (set, after) = set(rest);
                    rest = after;
                    Token::One(set)
                }
                b'\\' if !rest.is_empty() => {
                    let byte = rest[0];
                    rest = &rest[1..];
                    Token::Byte(byte)
                }
                byte => Token::Byte(*byte),
            });
        }
        Glob { tokens }
    }

    /// Whether `key` matches as a whole. A star takes as little as it can, and a later one never gives back to an earlier:
    /// at most `key.len() * tokens` steps, whatever the pattern.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // The last star, and up to where it has taken.
        let mut star: Option<(usize, usize)> = None;
        while at < key.len() {
            match self.tokens.get(token) {
                Some(Token::Many) => {
                    star = Some((token, at));
                    token += 1;
                }
                Some(one) if one.takes(key[at]) => {
                    token += 1;
                    at += 1;
                }
                _ => {
                    let Some((many, taken)) = star else { return false };
                    star = Some((many, taken + 1));
                    token = many + 1;
                    at = taken + 1;
                }
            }
        }
        self.tokens[token..].iter().all(|token| *token == Token::Many)
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Many => false,
            Token::One(set) => set[usize::from(byte)],
            Token::Byte(own) => *own == byte,
            Token::Any => true,
        }
    }
}

/// The set behind a `[`, and what follows it.
fn set(pattern: &[u8]) -> (Box<[bool; 256]>, &[u8]) {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut set = Box::new([false; 256]);
    loop {
        rest = match rest {
            [] => break,
            [b'\\', byte, after @ ..] => {
                set[usize::from(*byte)] = true;
                after
            }
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [from, b'-', to, after @ ..] => {
                let (from, to) = (usize::from(*from.min(to)), usize::from(*from.max(to)));
                set[from..=to].fill(true);
                after
            }
            [byte, after @ ..] => {
                set[usize::from(*byte)] = true;
                after
            }
        };
    }
    if negated {
        set.iter_mut().for_each(|one| *one = !*one);
    }
    (set, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let rows: [(&str, &[&str], &[&str]); 18] = [
            ("*", &["", "a", "abc"], &[]),
            ("", &[""], &["a"]),
            ("h?llo", &["hello", "hallo", "h?llo"], &["hllo", "heello"]),
            ("h*llo", &["hllo", "heeeello"], &["hell"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo", "hbllo"], &["hello"]),
            ("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("h[\\]]llo", &["h]llo"], &["h\\llo"]),
            ("h\\*llo", &["h*llo"], &["hallo", "h\\*llo"]),
            ("a\\", &["a\\"], &["a"]),
            ("[", &[], &["", "[", "a"]),
            ("[ab", &["a", "b"], &["c", "[ab"]),
            ("[]", &[], &["", "]", "[]"]),
            ("[^]", &["a", "]"], &["", "ab"]),
            ("[a-]", &["]", "_", "a"], &["-", "b"]),
            ("a**b", &["ab", "axxb"], &["a", "abx"]),
            ("*ab*ab", &["abab", "xabxab"], &["ab", "ababx"]),
        ];
        for (pattern, matching, others) in rows {
            let glob = Glob::new(pattern.as_bytes());
            for key in matching {
                assert!(glob.matches(key.as_bytes()), "`{pattern}` matches `{key}`");
            }
            for key in others {
                assert!(!glob.matches(key.as_bytes()), "`{pattern}` does not match `{key}`");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_key_times_pattern() {
        // Exponential in a matcher that tries every way of sharing the key among the stars.
        let glob = Glob::new("*a".repeat(200).as_bytes());
        assert!(!glob.matches("a".repeat(10_000).replace('a', "ab").as_bytes()));
    }

    /// The obvious matcher: exponential, but plain to see that it is right.
    fn plain(tokens: &[Token], key: &[u8]) -> bool {
        match (tokens, key) {
            ([], []) => true,
            ([Token::Many, rest @ ..], _) => (0..=key.len()).any(|taken| plain(rest, &key[taken..])),
            ([token, tokens @ ..], [byte, key @ ..]) => token.takes(*byte) && plain(tokens, key),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_obvious_matcher(pattern in "[ab*?\\[\\]^\\\\-]{0,8}", key in "[ab*\\]-]{0,8}") {
            let glob = Glob::new(pattern.as_bytes());
            prop_assert_eq!(glob.matches(key.as_bytes()), plain(&glob.tokens, key.as_bytes()));
        }

        #[test]
        fn any_bytes_are_a_pattern(pattern: Vec<u8>, key: Vec<u8>) {
            Glob::new(&pattern).matches(&key);
        }

        #[test]
        fn an_escaped_key_matches_itself_alone(key: Vec<u8>, other: Vec<u8>) {
            let pattern: Vec<u8> = key.iter().flat_map(|byte| [b'\\', *byte]).collect();
            let glob = Glob::new(&pattern);
            prop_assert!(glob.matches(&key));
            prop_assert_eq!(glob.matches(&other), key == other);
        }
    }
}
