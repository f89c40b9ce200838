//! The arguments in a start body: which flags of the function they set, and how they look in lists.
//!
//! This crate knows no flags. The server hands its flag table in as a [`FlagTable`]; the rules of reading are here.

use crate::refusal::{Refusal, quote};

/// Whom a flag configures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagScope {
    /// One function: it may stand in `args`.
    Function,
    /// The server: it may not.
    Server,
}

/// What must be known about a flag to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagInfo {
    /// The name in camelCase, without dashes.
    pub name: &'static str,
    /// Whom it configures.
    pub scope: FlagScope,
    /// On or off: it never takes the next word.
    pub switch: bool,
    /// Its value is never shown.
    pub secret: bool,
}

/// The server's flags, as far as `args` are concerned.
pub trait FlagTable {
    /// The flag that a person means with this word without dashes, in any spelling that the server accepts.
    fn find(&self, typed: &str) -> Option<FlagInfo>;

    /// A value as it may be shown: masked when it is a secret, without passwords when it is a URL.
    fn mask(&self, secret: bool, value: &str) -> String;
}

/// One flag of a function.
#[derive(Clone, PartialEq, Eq)]
pub struct FlagValue {
    /// The name in camelCase, without dashes.
    pub name: &'static str,
    /// The value as written; none for a switch without one. An empty value means that the flag is not set.
    pub value: Option<String>,
}

impl FlagValue {
    /// The flag as one word of a command line.
    pub fn to_word(&self) -> String {
        match &self.value {
            Some(value) => format!("--{}={value}", self.name),
            None => format!("--{}", self.name),
        }
    }
}

/// Flags that the reference's server and its clients put into `args`; here the server decides about these things.
/// All but `faas` take a value.
const IGNORED: [&str; 7] = ["httpPort", "crt", "key", "faas", "parentEndpoint", "moduleName", "moduleRevision"];

/// Flags of unknown programs that look like this hold secrets.
const SECRET_WORDS: [&str; 7] = ["token", "secret", "passw", "pwd", "auth", "credential", "apikey"];

/// Reads the arguments of a function in the server's own process, in the order given.
///
/// The first argument stands for the program's name and is skipped, and so are empty ones and the flags that the
/// reference's server sets. Values are not checked: the server's parser does, with [`FlagValue::to_word`].
///
/// # Errors
/// A word that is no flag, an unknown flag, a flag of the server, or one without its value. Values are not repeated.
pub fn function_flags(args: &[String], table: &impl FlagTable) -> Result<Vec<FlagValue>, Refusal> {
    let mut flags = Vec::new();
    let mut words = args.iter().enumerate().skip(1).filter(|(_, word)| !word.is_empty());
    while let Some((position, word)) = words.next() {
        let wrong = |found: String| Refusal::invalid(format!("`args[{position}]`: {found}"));
        let Some((typed, value)) = flag(word) else {
            return Err(wrong("expected a flag such as `-wasm=hello.wasm`, found another word".to_owned()));
        };
        let ignored = IGNORED.contains(&typed);
        let info = table.find(typed);
        let switch = if ignored { typed == "faas" } else { info.is_some_and(|info| info.switch) };
        let known = match info {
            _ if ignored => None,
            Some(info) if info.scope == FlagScope::Function => Some(info),
            Some(info) => {
                return Err(wrong(format!("`-{}` configures the server, not a function", info.name)));
            }
            None => return Err(wrong(format!("unknown flag {}", quote(&format!("-{typed}"))))),
        };
        let value = match value {
            Some(value) => Some(value.to_owned()),
            None if switch => None,
            // Not from the filtered words: an empty word is a value too.
            None => match args.get(position + 1) {
                Some(next) => {
                    if !next.is_empty() {
                        words.next();
                    }
                    Some(next.clone())
                }
                None => return Err(wrong(format!("{} needs a value", quote(&format!("-{typed}"))))),
            },
        };
        flags.extend(known.map(|info| FlagValue { name: info.name, value }));
    }
    Ok(flags)
}

/// The arguments as lists show them: values of secret flags and passwords in URLs are masked, all else is as written.
///
/// Arguments of a child process may be of another program; there the name of an unknown flag tells a secret.
pub fn masked(args: &[String], table: &impl FlagTable) -> Vec<String> {
    let mut shown = Vec::with_capacity(args.len());
    // Whether the last word was a flag that waits for its value, and then if that is a secret.
    let mut waiting: Option<bool> = None;
    for word in args {
        let value_of_last = waiting.take();
        shown.push(match (value_of_last, flag(word)) {
            (Some(secret), _) => table.mask(secret, word),
            (None, None) => table.mask(false, word),
            (None, Some((typed, value))) => {
                let info = table.find(typed);
                let secret = info.map_or_else(|| looks_secret(typed), |info| info.secret);
                match value {
                    Some(value) => {
                        format!("{}={}", &word[..word.len() - value.len() - 1], table.mask(secret, value))
                    }
                    None => {
                        let takes_next = info.map_or(secret, |info| !info.switch);
                        waiting = takes_next.then_some(secret);
                        word.clone()
                    }
                }
            }
        });
    }
    shown
}

/// `-name`, `--name`, `-name=value`, `--name=value`.
fn flag(word: &str) -> Option<(&str, Option<&str>)> {
    let rest = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (rest, None),
    };
    (!name.is_empty() && !name.starts_with('-')).then_some((name, value))
}

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small table in place of the server's.
    pub(crate) struct Table;

    impl FlagTable for Table {
        fn find(&self, typed: &str) -> Option<FlagInfo> {
            let flag = |name, scope, switch, secret| Some(FlagInfo { name, scope, switch, secret });
            match typed {
                "wasm" => flag("wasm", FlagScope::Function, false, false),
                "url" => flag("url", FlagScope::Function, false, false),
                "stopAfter" | "stop-after" => flag("stopAfter", FlagScope::Function, false, false),
                "callTimeout" => flag("callTimeout", FlagScope::Function, false, false),
                "authHeaderValue" => flag("authHeaderValue", FlagScope::Function, false, true),
                "quiet" => flag("quiet", FlagScope::Function, true, false),
                "httpPort" => flag("httpPort", FlagScope::Server, false, false),
                "logFormat" => flag("logFormat", FlagScope::Server, false, false),
                _ => None,
            }
        }

        fn mask(&self, secret: bool, value: &str) -> String {
            match value.split_once('@') {
                _ if secret => "***".to_owned(),
                Some((before, after)) if before.contains("://") => format!("***@{after}"),
                _ => value.to_owned(),
            }
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(|word| if word == "''" { "" } else { word }.to_owned()).collect()
    }

    fn check(args: &str, expected: &str) {
        let shown = match function_flags(&words(args), &Table) {
            Ok(flags) => flags.iter().map(FlagValue::to_word).collect::<Vec<_>>().join(" "),
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(shown, expected, "{args}");
    }

    #[test]
    fn flags_are_read_as_the_reference_reads_them() {
        check("''", "");
        check("'' -wasm=h.wasm -stopAfter=10", "--wasm=h.wasm --stopAfter=10");
        check("capsule-http --wasm h.wasm --stop-after 10", "--wasm=h.wasm --stopAfter=10");
        check("'' -stopAfter= -url=", "--stopAfter= --url=");
        check("'' -stopAfter '' -wasm=a", "--stopAfter= --wasm=a");
        check("'' '' -quiet -wasm -x", "--quiet --wasm=-x");
        check("'' -quiet=false -url=http://a/?b=c", "--quiet=false --url=http://a/?b=c");
        check("'' -httpPort=8080 -faas -crt a -moduleName x -wasm=h", "--wasm=h");
        check("-wasm=skipped", "");
    }

    #[test]
    fn other_words_are_refused() {
        check("'' h.wasm", "`args[1]`: expected a flag such as `-wasm=hello.wasm`, found another word");
        check("'' --", "`args[1]`: expected a flag such as `-wasm=hello.wasm`, found another word");
        check("'' -wasm=a -x=1", "`args[2]`: unknown flag `-x`");
        check("'' -logFormat=json", "`args[1]`: `-logFormat` configures the server, not a function");
        check("'' -wasm", "`args[1]`: `-wasm` needs a value");
        check("'' ---wasm=x", "`args[1]`: expected a flag such as `-wasm=hello.wasm`, found another word");
        assert_eq!(function_flags(&[], &Table).unwrap().len(), 0);
    }

    #[test]
    fn secrets_are_masked_in_lists() {
        for (args, expected) in [
            ("'' -wasm=a.wasm", "'' -wasm=a.wasm"),
            ("'' -authHeaderValue=s -wasm=a", "'' -authHeaderValue=*** -wasm=a"),
            ("'' --authHeaderValue s -wasm=a", "'' --authHeaderValue *** -wasm=a"),
            ("'' -authHeaderValue", "'' -authHeaderValue"),
            ("'' -url=http://u:p@h/x", "'' -url=***@h/x"),
            ("'' -url http://u:p@h/x", "'' -url ***@h/x"),
            ("'' http://u:p@h", "'' ***@h"),
            ("'' --api-token=s --API_KEY s --other s", "'' --api-token=*** --API_KEY *** --other s"),
            ("'' -quiet -authHeaderValue=s=t", "'' -quiet -authHeaderValue=***"),
        ] {
            assert_eq!(masked(&words(args), &Table), words(expected), "{args}");
        }
    }
}
