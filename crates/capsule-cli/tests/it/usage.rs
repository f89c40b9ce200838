//! Flags, help, and what is wrong with a command line.

use crate::support::{capsule, check, check_error, fixture, hints};

#[test]
fn without_a_word_it_helps_and_exits_with_2() {
    let finished = capsule().run().unwrap();
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(2), ""));
    assert!(finished.stderr().contains("\nUsage:\n  capsule [FLAGS] MODULE [ARGUMENT]\n"), "{finished:?}");
}

#[test]
fn help_names_every_flag_variable_and_exit_code() {
    let finished = capsule().arg("--help").run().unwrap().success().unwrap();
    let help = finished.stdout();
    for part in [
        "--wasm=PATH",
        "--url=URL",
        "--authHeaderName=NAME",
        "--authHeaderValue=VALUE",
        "--registry=TEXT",
        "--params=TEXT",
        "--callTimeout=DURATION",
        "--maxMemory=SIZE",
        "--maxBody=SIZE",
        "--maxResult=SIZE",
        "--maxHostMemory=SIZE",
        "--maxCache=SIZE",
        "--outboundTimeout=DURATION",
        "--maxOutboundBody=SIZE",
        "--maxOutboundCalls=N",
        "--dir=HOST[:GUEST][:ro]",
        "--allowHosts=A,B",
        "--env=NAME=VALUE",
        "--passEnv=A,B",
        "--cacheDir=PATH",
        "--logFormat=FORMAT",
        "--logLevel=LEVEL",
        "--help",
        "--version",
        "--completions=SHELL",
        "REDIS_URI",
        "REDIS_ADDR",
        "REDIS_PWD",
        "REDIS_DEFAULTDB",
        "CAPSULE_AUTH_HEADER_VALUE",
        "RUST_LOG",
        "\n  0  ",
        "\n  1  ",
        "\n  2  ",
        "\n  130  ",
    ] {
        assert!(help.contains(part), "`{part}` is not in the help:\n{help}");
    }
    assert_eq!(finished.stderr(), "");
}

#[test]
fn version() {
    let finished = capsule().arg("--version").run().unwrap();
    check(&finished, 0, concat!("capsule ", env!("CARGO_PKG_VERSION"), "\n"), "");
}

#[test]
fn completions() {
    let script = capsule().arg("--completions=bash").run().unwrap().success().unwrap().stdout();
    assert!(script.contains("--params=") && script.contains("capsule"), "{script}");
}

#[test]
fn all_forms_of_a_flag_mean_the_same() {
    let wasm = fixture("tricks.wat").display().to_string();
    for words in [
        vec![wasm.clone(), "echo me".into()],
        vec![format!("--wasm={wasm}"), "--params=echo me".into()],
        vec![format!("-wasm={wasm}"), "-params=echo me".into()],
        vec!["--wasm".into(), wasm.clone(), "--params".into(), "echo me".into()],
        vec!["-params".into(), "echo me".into(), "-wasm".into(), wasm.clone()],
        vec!["--params=echo me".into(), wasm.clone()],
        vec![wasm.clone(), "--registry=unused".into(), "echo me".into()],
        vec![wasm.clone(), "--params=other".into(), "--params=echo me".into()],
    ] {
        check(&capsule().args(&words).run().unwrap(), 0, "echo me\n", "");
    }
}

#[test]
fn contradictions_are_wrong_usage() {
    let wasm = fixture("tricks.wat");
    let run = |words: &[&str]| capsule().arg(&wasm).args(words).run().unwrap();
    check(
        &run(&["one", "--params=two"]),
        2,
        "",
        "error: the argument is given twice: by `--params` and as `one`\nhint: leave one of them out\n",
    );
    check_error(&run(&["one", "two"]), 2, "unexpected word `two`: a module takes one argument");
    check_error(
        &run(&["--authHeaderName=PRIVATE-TOKEN", "--url=http://localhost/a.wasm"]),
        2,
        "`--authHeaderName` is given without `--authHeaderValue`",
    );
    check_error(&run(&["--dir=none", "--dir=."]), 2, "`--dir=none` is given together with another `--dir`");
    check_error(
        &run(&["--callTimeout=soon"]),
        2,
        "`--callTimeout`: expected a duration such as `500ms`, `10s` or `2m`, found `soon`",
    );
    check_error(
        &run(&["--maxMemory=lots"]),
        2,
        "`--maxMemory`: expected a size such as `64MiB`, `10MB` or a number of bytes, found `lots`",
    );
    let typo = run(&["--parms=x"]);
    check_error(&typo, 2, "unknown flag `--parms`");
    assert_eq!(hints(&typo), ["did you mean `--params`?"]);
    check_error(&capsule().arg("--params=x").run().unwrap(), 2, "no module is named");
    check_error(&capsule().arg("--url=http://localhost/a.wasm").run().unwrap(), 2, "`--url` is given without `--wasm`");
}

#[test]
fn every_problem_is_told_at_once() {
    let finished = capsule().args(["--maxMemory=x", "--nope", "--callTimeout"]).run().unwrap();
    assert_eq!(finished.code, Some(2));
    assert_eq!(finished.stderr().lines().filter(|line| line.starts_with("error: ")).count(), 3, "{finished:?}");
}
