//! Go's flag syntax, row by row, and that no argument vector does harm.

use std::ffi::OsString;
use std::time::Duration;

use capsule_cmd::flags::{Flag, Kind, Table, Type};
use capsule_cmd::parse::{Parsed, parse};
use capsule_cmd::usage::UsageError;
use proptest::prelude::*;

const WASM: Flag = Flag::value("wasm", "PATH", Type::Path, "Module.");
const PARAMS: Flag = Flag::value("params", "TEXT", Type::Text, "Argument.");
const FAAS: Flag = Flag::switch("faas", "FaaS mode.").env("T_FAAS");
const PORT: Flag = Flag::value("httpPort", "PORT", Type::Port, "Port.").env("T_PORT");
const TIMEOUT: Flag = Flag::value("callTimeout", "DURATION", Type::Duration, "Time.").default("30s");
const MEMORY: Flag = Flag::value("maxMemory", "SIZE", Type::Size, "Memory.").default("256MiB");
const QUEUE: Flag = Flag::value("maxQueue", "N", Type::Count, "Queue.").default("1024");
const DIR: Flag = Flag::repeated("dir", "DIR", Type::Path, "Folder.").default(".");
const FORMAT: Flag = Flag::value("logFormat", "FORMAT", Type::Choice(&["text", "json"]), "Format.").default("text");
const SECRET: Flag = Flag::value("token", "TOKEN", Type::Checked(even), "Token.").secret().env("T_TOKEN");

fn even(text: &str) -> Result<(), String> {
    if text.len().is_multiple_of(2) { Ok(()) } else { Err(format!("expected an even length, found `{text}`")) }
}

fn table() -> Table {
    Table::new([WASM, PARAMS, FAAS, PORT, TIMEOUT, MEMORY, QUEUE, DIR, FORMAT, SECRET])
}

fn read_with(args: &[&str], env: &[(&str, &str)]) -> Result<Parsed, UsageError> {
    parse(&table(), args.iter().map(OsString::from), |name| {
        env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    })
}

fn read(args: &[&str]) -> Result<Parsed, UsageError> {
    read_with(args, &[])
}

/// Everything that was given, in one line: flags in the order of the table, operands, and what follows `--`.
fn check(args: &[&str], expected: &str) {
    let shown = match read(args) {
        Ok(parsed) => {
            let mut parts = Vec::new();
            for flag in parsed.given() {
                let values = match flag.kind {
                    Kind::Switch => parsed.switch(flag).to_string(),
                    _ => parsed.texts(flag).join(","),
                };
                parts.push(format!("{}={values}", flag.name));
            }
            parts.extend(parsed.operands().iter().cloned());
            if let Some(rest) = parsed.rest() {
                parts.push(format!("-- {}", rest.join(" ")));
            }
            parts.join(" | ")
        }
        Err(error) => {
            let lines = error.problems().iter().map(|problem| match &problem.hint {
                Some(hint) => format!("{} ({hint})", problem.message),
                None => problem.message.clone(),
            });
            lines.collect::<Vec<_>>().join(" | ")
        }
    };
    assert_eq!(shown, expected, "{args:?}");
}

#[test]
fn every_form_of_a_flag() {
    for form in [&["-wasm=a.wasm"][..], &["--wasm=a.wasm"], &["-wasm", "a.wasm"], &["--wasm", "a.wasm"]] {
        check(form, "wasm=a.wasm");
    }
    check(&["--http-port=80"], "httpPort=80");
    check(&["-http-port", "80"], "httpPort=80");
    check(&["--params=a=b=c"], "params=a=b=c");
    check(&["--params=--x"], "params=--x");
}

#[test]
fn a_value_flag_takes_the_next_word_whatever_it_is() {
    check(&["--params", "-5"], "params=-5");
    check(&["--params", "--wasm"], "params=--wasm");
    check(&["--params", "--"], "params=--");
    check(&["--params", "--help"], "params=--help");
    check(&["--params", ""], "");
    check(&["--params", "", "x"], "x");
}

#[test]
fn a_switch_takes_a_value_only_with_an_equals_sign() {
    check(&["--faas"], "faas=true");
    check(&["-faas=true"], "faas=true");
    check(&["--faas=0"], "faas=false");
    check(&["--faas", "false"], "faas=true | false");
    check(&["--faas="], "");
    check(&["--faas", "--faas=F"], "faas=false");
    check(&["--faas=yes"], "`--faas`: expected `true` or `false`, found `yes`");
}

#[test]
fn the_last_one_wins_and_an_empty_one_unsets() {
    check(&["--wasm=a", "-wasm", "b"], "wasm=b");
    check(&["--wasm="], "");
    check(&["--wasm=a", "--wasm="], "");
    check(&["--dir=a", "--dir", "b:ro", "-dir=c"], "dir=a,b:ro,c");
    check(&["--dir=a", "--dir=", "--dir=b"], "dir=b");
}

#[test]
fn operands_and_flags_mix_until_two_dashes() {
    check(&["a.wasm", "--faas", "Bob", "-httpPort=1"], "faas=true | httpPort=1 | a.wasm | Bob");
    check(&["-", "a"], "- | a");
    check(&["a", "--", "--faas", "-x", "--"], "a | -- --faas -x --");
    check(&["--"], "-- ");
    check(&[""], "");
    check(&[], "");
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    check(
        &["--wsam=x", "--callTimeout=soon", "--maxMemory=1Q", "--maxQueue=-1", "--logFormat=xml", "--httpPort=99999"],
        "unknown flag `--wsam` (did you mean `--wasm`?) \
         | `--callTimeout`: expected a duration such as `500ms`, `10s` or `2m`, found `soon` \
         | `--maxMemory`: expected a size such as `64MiB`, `10MB` or a number of bytes, found `1Q` \
         | `--maxQueue`: expected a whole number or `none`, found `-1` \
         | `--logFormat`: expected `text` or `json`, found `xml` \
         | `--httpPort`: expected a port number from 0 to 65535, found `99999`",
    );
    check(&["--wasm"], "`--wasm` needs a value, found the end of the line (write `--wasm=PATH`)");
    let advice = "`--help` lists all flags; what follows `--` is never read as a flag";
    check(&["---wasm=a"], "unknown flag `---wasm` (did you mean `--wasm`?)");
    check(&["-=x"], &format!("unknown flag `--` ({advice})"));
    check(&["--=x"], &format!("unknown flag `--` ({advice})"));
    check(&["-q\nq"], &format!("unknown flag `--q\\nq` ({advice})"));
    // Go has no clusters of short flags, and neither has this.
    check(&["-wf"], &format!("unknown flag `--wf` ({advice})"));
    assert_eq!(read(&["--a", "--b"]).unwrap_err().to_string(), "unknown flag `--a`; unknown flag `--b`");
}

#[test]
fn secrets_are_not_repeated() {
    check(&["--token=abc"], "`--token`: expected an even length");
    let error = read_with(&[], &[("T_TOKEN", "hunter2")]).unwrap_err();
    assert_eq!(error.to_string(), "`T_TOKEN`: expected an even length");
    assert_eq!(table().secret_variables().collect::<Vec<_>>(), ["T_TOKEN"]);
}

#[test]
fn environment_variables_stand_in() {
    let env = [("T_PORT", "8080"), ("T_FAAS", "true"), ("wasm", "x")];
    let parsed = read_with(&[], &env).unwrap();
    assert_eq!((parsed.port(&PORT), parsed.switch(&FAAS), parsed.text(&WASM)), (Some(8080), true, None));
    let parsed = read_with(&["--httpPort=1", "--faas=false"], &env).unwrap();
    assert_eq!((parsed.port(&PORT), parsed.switch(&FAAS)), (Some(1), false));
    // Unset on the command line is as if it had not been given; an empty variable too.
    assert_eq!(read_with(&["--httpPort="], &env).unwrap().port(&PORT), Some(8080));
    assert_eq!(read_with(&[], &[("T_PORT", "")]).unwrap().port(&PORT), None);
    let error = read_with(&[], &[("T_PORT", "http"), ("T_FAAS", "maybe")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`T_FAAS`: expected `true` or `false`, found `maybe`; \
         `T_PORT`: expected a port number from 0 to 65535, found `http`"
    );
}

#[test]
fn typed_values_and_defaults() {
    let parsed = read(&[]).unwrap();
    assert_eq!(parsed.duration(&TIMEOUT), Some(Duration::from_secs(30)));
    assert_eq!(parsed.size(&MEMORY), Some(256 << 20));
    assert_eq!(parsed.count(&QUEUE), Some(1024));
    assert_eq!(parsed.texts(&DIR), ["."]);
    assert_eq!(parsed.text(&FORMAT), Some("text"));
    assert_eq!(parsed.port(&PORT), None);
    assert!(!parsed.is_given(&TIMEOUT));

    let parsed = read(&["--callTimeout=none", "--maxMemory=0", "--maxQueue=none", "--dir=x"]).unwrap();
    assert_eq!((parsed.duration(&TIMEOUT), parsed.size(&MEMORY), parsed.count(&QUEUE)), (None, None, None));
    assert_eq!(parsed.texts(&DIR), ["x"]);

    // A program's own default replaces the one of the shared record, also when it is read through the latter.
    let table = Table::new([TIMEOUT.default("none")]);
    let parsed = parse(&table, [], |_| None).unwrap();
    assert_eq!(parsed.duration(&TIMEOUT), None);
    assert_eq!(parsed.count(&QUEUE), Some(1024));
}

#[test]
fn asking_for_help_is_never_answered_with_a_complaint() {
    for args in [["--help", "--nonsense"], ["-h", "--httpPort=x"], ["--wsam", "-help"], ["--version", "--wasm"]] {
        assert!(read(&args).is_ok(), "{args:?}");
    }
    assert!(read(&["--help=false", "--nonsense"]).is_err());
    assert_eq!(
        read(&["--completions=tcsh"]).unwrap_err().to_string(),
        "`--completions`: expected `bash` or `zsh` or `fish`, found `tcsh`"
    );
}

#[cfg(unix)]
#[test]
fn words_that_are_not_utf8() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = || OsString::from_vec(b"\xffsecret".to_vec());
    let error =
        parse(&table(), ["a".into(), bad(), "--wasm".into(), bad()], |name| (name == "T_PORT").then(bad)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "argument 2 is not valid UTF-8; the value of `--wasm` is not valid UTF-8; `T_PORT` is not valid UTF-8"
    );
}

fn word() -> impl Strategy<Value = OsString> {
    let known = prop::sample::select(vec![
        "--",
        "-",
        "--wasm",
        "-wasm=",
        "--faas",
        "--faas=",
        "--dir=a",
        "--callTimeout=",
        "--maxMemory",
        "--token=abc",
        "--http-port",
        "--help=0",
        "=",
        "-=",
    ]);
    prop_oneof![
        known.prop_map(OsString::from),
        "-{0,3}[a-zA-Z-]{0,12}(=.{0,12})?".prop_map(OsString::from),
        "\\PC{0,20}".prop_map(OsString::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(os_string),
        "[0-9]{0,25}(\\.[0-9]{0,25})?[a-zA-Z]{0,4}".prop_map(|text| OsString::from(format!("--callTimeout={text}"))),
        "[0-9]{0,25}(\\.[0-9]{0,25})?[a-zA-Z]{0,4}".prop_map(|text| OsString::from(format!("--maxMemory={text}"))),
    ]
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

proptest! {
    #[test]
    fn no_argument_vector_panics(args in prop::collection::vec(word(), 0..8), variable in word()) {
        if let Ok(parsed) = parse(&table(), args, |_| Some(variable.clone())) {
            // What the parser accepts, every getter reads.
            let _ = (parsed.duration(&TIMEOUT), parsed.size(&MEMORY), parsed.count(&QUEUE), parsed.port(&PORT));
            let _ = (parsed.switch(&FAAS), parsed.texts(&DIR), parsed.text(&SECRET));
        }
    }
}
