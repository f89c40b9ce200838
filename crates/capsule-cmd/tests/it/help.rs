//! Help and completions against the table that they are made from.

use std::ffi::OsString;

use capsule_cmd::completions::{Shell, script};
use capsule_cmd::exit;
use capsule_cmd::flags::{Flag, Scope, Table, Type};
use capsule_cmd::help::{Example, Program, Request, Variable};

fn program() -> Program {
    Program {
        name: "demo-run",
        version: "1.2.3",
        about: "Runs a demonstration, which is described here with enough words that the sentence has to be wrapped.",
        usage: &["[flags] MODULE"],
        examples: &[Example { what: "Run it", line: "demo-run a.wasm" }],
        variables: &[Variable { name: "DEMO_HOME", help: "Where it lives." }],
        exit_codes: exit::CODES,
        table: Table::new([
            Flag::value("wasm", "PATH", Type::Path, "Path of the module. It may be a pipe.").group("Module"),
            Flag::repeated("dir", "HOST[:GUEST]", Type::Path, "Folder, `a|b`.")
                .default(".")
                .default_note("the current folder")
                .scope(Scope::Both)
                .group("Module"),
            Flag::switch("quiet", "Say nothing: it's [silent].").env("DEMO_QUIET"),
            Flag::value("format", "FORMAT", Type::Choice(&["text", "json"]), "Format of the output.").default("text"),
        ]),
    }
}

/// Compares with the file beside this one; `BLESS=1` rewrites it.
fn check(file: &str, actual: &str) {
    let path = format!("{}/tests/it/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{path}; `BLESS=1 cargo test` rewrites it");
}

#[test]
fn texts_are_as_blessed() {
    let program = program();
    assert_eq!(program.table.mistakes(), [""; 0]);
    check("help.txt", &program.help());
    check("bash.txt", &script(Shell::Bash, &program));
    check("zsh.txt", &script(Shell::Zsh, &program));
    check("fish.txt", &script(Shell::Fish, &program));
}

#[test]
fn every_flag_and_variable_is_everywhere() {
    let program = program();
    let help = program.help();
    for flag in program.table.flags() {
        assert!(help.contains(&format!("\n  {}\n", flag.form())), "{}", flag.name);
        for shell in [Shell::Bash, Shell::Zsh] {
            assert!(script(shell, &program).contains(&format!("--{}", flag.name)), "{} {shell:?}", flag.name);
        }
        assert!(script(Shell::Fish, &program).contains(&format!(" -l {} ", flag.name)), "{}", flag.name);
    }
    for variable in ["DEMO_HOME", "DEMO_QUIET"] {
        assert!(help.contains(variable));
    }
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
}

/// One with commands too.
fn program_with_commands() -> Program {
    Program { usage: &["start --wasm=PATH", "stop [--quiet]", "--cmd=COMMAND"], ..program() }
}

#[test]
fn scripts_are_accepted_by_their_shells() {
    for program in [program(), program_with_commands()] {
        for (shell, interpreter) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("script");
            std::fs::write(&file, script(shell, &program)).unwrap();
            // A shell that this machine lacks is covered by the golden files; bash is everywhere.
            match std::process::Command::new(interpreter).arg("-n").arg(&file).output() {
                Ok(output) => assert!(output.status.success(), "{interpreter}: {output:?}"),
                Err(error) => assert!(interpreter != "bash", "{error}"),
            }
        }
    }
}

/// What bash offers in place of the word at `index`.
fn complete(program: &Program, words: &str, index: usize) -> String {
    let script = format!(
        "{}\nCOMP_WORDS=({words}); COMP_CWORD={index}; compopt() {{ :; }}; _demo_run; echo \"${{COMPREPLY[@]}}\"",
        script(Shell::Bash, program)
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stone.wasm"), "").unwrap();
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["--norc", "-c", &script]).current_dir(folder.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_flags_and_choices() {
    let complete = |words, index| complete(&program(), words, index);
    assert_eq!(complete("demo-run --wa", 1), "--wasm=");
    assert_eq!(complete("demo-run --q", 1), "--quiet");
    assert_eq!(complete("demo-run --format = ", 2), "text json");
    assert_eq!(complete("demo-run --format = j", 3), "json");
    assert_eq!(complete("demo-run --format j", 2), "json");
    assert_eq!(complete("demo-run st", 1), "stone.wasm");
}

#[test]
fn the_first_word_is_a_command_where_there_are_some() {
    let program = program_with_commands();
    assert_eq!(complete(&program, "demo-run ''", 1), "start stop");
    assert_eq!(complete(&program, "demo-run sto", 1), "stop");
    assert_eq!(complete(&program, "demo-run --q", 1), "--quiet");
    assert_eq!(complete(&program, "demo-run start st", 2), "stone.wasm");
    assert!(script(Shell::Zsh, &program).contains("'1:command:(start stop)'"));
    assert!(script(Shell::Fish, &program).contains("-n __fish_use_subcommand -f -a 'start stop'"));
}

#[test]
fn requests() {
    let ask = |args: &[&str]| program().parse(args.iter().map(OsString::from), |_| None).unwrap();
    assert!(matches!(ask(&["a.wasm", "--help"]), Request::Print(text) if text == program().help()));
    assert!(matches!(ask(&["-version"]), Request::Print(text) if text == "demo-run 1.2.3\n"));
    assert!(matches!(ask(&["--completions", "zsh"]), Request::Print(text) if text.starts_with("#compdef demo-run")));
    assert!(matches!(ask(&["a.wasm"]), Request::Run(parsed) if parsed.operands() == ["a.wasm"]));
}
