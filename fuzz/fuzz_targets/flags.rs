//! Flags as the programs read them: values with units, lists, folders, and whole command lines. Nothing panics, what is accepted
//! is read as the same when it is written in another way, and no message holds a secret or drives a terminal.

#![no_main]

use std::ffi::OsString;
use std::sync::LazyLock;

use capsule_cmd::capabilities::{self, Capabilities, PassEnv};
use capsule_cmd::flags::{Flag, Kind, Table};
use capsule_cmd::limits::{self, Limits};
use capsule_cmd::module_source::{self, ModuleSource};
use capsule_cmd::parse::{Parsed, parse};
use capsule_cmd::usage::Problems;
use capsule_cmd::{logging, message, redact, units};
use libfuzzer_sys::fuzz_target;

/// All flags that programs share.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let groups = [module_source::FLAGS, limits::FLAGS, capabilities::FLAGS, &[capabilities::CACHE_DIR], logging::FLAGS];
    let table = Table::new(groups.concat());
    assert_eq!(table.mistakes(), [""; 0]);
    table
});

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    values(&text);
    for flag in TABLE.flags() {
        check(flag, &text);
    }
    secrets(&text);
    lines(bytes);
});

/// Values with a unit: the smallest unit says the same.
fn values(text: &str) {
    if let Some(duration) = found(units::duration(text)).flatten() {
        assert!(!duration.is_zero() && duration <= units::MAX_DURATION);
        assert_eq!(units::duration(&format!("{}ns", duration.as_nanos())), Ok(Some(duration)));
    }
    if let Some(size) = found(units::size(text)).flatten() {
        assert_ne!(size, 0);
        assert_eq!(units::size(&size.to_string()), Ok(Some(size)));
    }
    if let Some(count) = found(units::count(text)).flatten() {
        assert_ne!(count, 0);
        assert_eq!(units::count(&count.to_string()), Ok(Some(count)));
    }
    if let Some(port) = found(units::port(text)) {
        assert_eq!(units::port(&port.to_string()), Ok(port));
    }
    found(units::boolean(text));
    found(limits::Instances::parse(text));
}

/// A value, or an error that says what was expected.
fn found<T>(result: Result<T, String>) -> Option<T> {
    result.map_err(|message| assert!(message.starts_with("expected "), "{message}")).ok()
}

fn check(flag: &Flag, text: &str) {
    let result = flag.check(text);
    if let Err(message) = &result {
        assert!(message.starts_with("expected "), "{message}");
        // What is said of a secret does not depend on it.
        let other = flag.check("\0");
        assert!(!flag.secret || other.as_ref() == Err(message), "{message}");
    }
    // As a word of its own, with a single dash, and in the environment: the same decision.
    let spellings = [vec![format!("--{}={text}", flag.name)], vec![format!("-{}", flag.name), text.to_owned()]];
    for words in &spellings[..if matches!(flag.kind, Kind::Switch) { 1 } else { 2 }] {
        let parsed = parse(&TABLE, words.iter().map(OsString::from), |_| None);
        // An empty value unsets a flag; those that answer questions hide every problem.
        if !text.is_empty() && !["help", "version", "completions"].contains(&flag.name) {
            assert_eq!(parsed.is_ok(), result.is_ok());
        }
        let Some(flag_is) = parsed.ok().filter(|_| result.is_ok() && !text.is_empty()) else { continue };
        assert_eq!(flag_is.text(flag), Some(text));
    }
    if let Some(variable) = flag.env.filter(|_| !text.is_empty()) {
        let parsed = parse(&TABLE, [], |name| (name == variable).then(|| text.into()));
        assert_eq!(parsed.is_ok(), result.is_ok());
    }
}

/// A password in an address is shown nowhere, whatever is around it.
fn secrets(text: &str) {
    const SECRET: &str = "OpenSesame";
    let address = format!("https://user:{SECRET}@{text}");
    assert!(!redact::url(&address).contains(SECRET), "{address}");
    let words = [format!("--url={address}"), format!("--env={SECRET}"), format!("--env=A={SECRET}")];
    match parse(&TABLE, words[..2].iter().map(OsString::from), |_| None) {
        Ok(_) => unreachable!("a variable has a value"),
        Err(error) => assert!(!error.to_string().contains(SECRET), "{error}"),
    }
    if let Ok(parsed) = parse(&TABLE, [&words[0], &words[2]].map(OsString::from), |_| None) {
        assert!(!format!("{parsed:?}").contains(SECRET), "{parsed:?}");
        assert!(!format!("{:?}", Capabilities::read(&parsed, &mut Problems::new())).contains(SECRET));
    }
}

/// A command line, a word on each line.
fn lines(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == b'\n').map(word);
    let parsed = match parse(&TABLE, words, |_| None) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.problems().is_empty());
            let mut out = Vec::new();
            message::write(&error.into(), false, &mut out).expect("a vector takes all");
            let out = String::from_utf8(out).expect("messages are text");
            assert!(!out.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{out:?}");
            return;
        }
    };
    let mut problems = Problems::new();
    let limits = Limits::read(&parsed);
    let granted = Capabilities::read(&parsed, &mut problems);
    let (source, operands) = ModuleSource::read(&parsed, &mut problems);
    assert!(operands.len() <= parsed.operands().len());
    assert!(granted.folders.iter().all(|folder| !folder.guest.is_empty() && folder.host != std::path::Path::new("")));
    assert!(granted.env.iter().all(|(name, _)| !name.is_empty() && !name.contains('=')));
    let words = granted.allow_hosts.iter().flatten().chain(match &granted.pass_env {
        PassEnv::All => [].iter(),
        PassEnv::Names(names) => names.iter(),
    });
    words.for_each(|word| assert!(!word.is_empty() && word.trim() == word && !word.contains(',')));
    // The same words in one spelling.
    let again = parse(&TABLE, rewritten(&parsed), |_| None).expect("what is accepted is accepted again");
    let mut more = Problems::new();
    assert_eq!(Limits::read(&again), limits);
    assert!(Capabilities::read(&again, &mut more) == granted);
    let (source_again, operands_again) = ModuleSource::read(&again, &mut more);
    assert_eq!((format!("{source_again:?}"), operands_again), (format!("{source:?}"), operands));
    assert_eq!((again.rest(), more.finish()), (parsed.rest(), problems.finish()));
}

fn word(bytes: &[u8]) -> OsString {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec());
    #[cfg(not(unix))]
    return String::from_utf8_lossy(bytes).into_owned().into();
}

/// `--name=value` for each flag, then operands, then the rest.
fn rewritten(parsed: &Parsed) -> Vec<OsString> {
    let flags =
        parsed.given().flat_map(|flag| parsed.texts(flag).into_iter().map(|text| format!("--{}={text}", flag.name)));
    let operands = parsed.operands().iter().cloned();
    let rest = parsed.rest().map(|rest| [&["--".to_owned()], rest].concat());
    flags.chain(operands).chain(rest.into_iter().flatten()).map(OsString::from).collect()
}
