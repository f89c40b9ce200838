//! Help, completions, and command lines that cannot be run.

use capsule_test::process::Finished;
use capsule_test::program::Program;

fn run(words: &[&str]) -> Finished {
    // A port that nobody serves: nothing here may need a server.
    let program = Program::of_workspace("capsctl").unwrap().env("CAPSULE_MAIN_PROCESS_URL", "http://127.0.0.1:1");
    program.args(words).run().unwrap()
}

/// The error lines and hints of wrong usage.
#[track_caller]
fn wrong(words: &[&str], stderr: &str) {
    let finished = run(words);
    let found = (finished.code, finished.stdout(), finished.stderr());
    assert_eq!(found, (Some(2), String::new(), stderr.to_owned()), "{words:?}");
}

const COMMANDS: &str =
    "start, drop, duplicate, processes, scale, launch, publish, call, route, rollback, logs, health, prune";

#[test]
fn help_names_every_command_flag_and_variable() {
    let help = run(&["start", "--help"]).success().unwrap().stdout();
    for command in COMMANDS.split(", ") {
        assert!(help.contains(&format!("\n  capsctl {command}")), "{command}\n{help}");
    }
    for word in ["--cmd=", "--maxMemory=", "--weights=", "\n  CAPSULE_FAAS_TOKEN\n", "\n  CAPSULE_MAIN_PROCESS_URL\n"] {
        assert!(help.contains(word), "{word}\n{help}");
    }
    let nothing = run(&[]);
    assert_eq!((nothing.code, nothing.stdout(), nothing.stderr()), (Some(2), String::new(), help));
    let version = format!("capsctl {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]).success().unwrap().stdout(), version);
}

#[test]
fn completions_know_the_commands() {
    for (shell, expected) in [
        ("bash", format!("--cmd) COMPREPLY=($(compgen -W '{}'", COMMANDS.replace(',', ""))),
        ("zsh", format!("COMMAND:({})", COMMANDS.replace(',', ""))),
        ("fish", format!("complete -c capsctl -l cmd -x -a '{}'", COMMANDS.replace(',', ""))),
    ] {
        let script = run(&["--completions", shell]).success().unwrap().stdout();
        assert!(script.contains(&expected) && script.contains("newRevision"), "{script}");
        // As the first word too, in the order of the help.
        let first = script.lines().find(|line| line.contains("start publish launch")).expect(&script);
        assert!(COMMANDS.split(", ").all(|command| first.contains(command)), "{first}");
    }
}

#[test]
fn commands_that_are_none() {
    let list = format!("hint: the commands are {COMMANDS}\n");
    wrong(&["--name=hello"], &format!("error: no command\n{list}"));
    wrong(&["strat"], &format!("error: unknown command `strat`\n{list}"));
    wrong(&["a\nb"], &format!("error: unknown command `a\\nb`\n{list}"));
    let belongs = "hint: every other word belongs to a flag: `--name=hello`\n";
    wrong(&["drop", "hello"], &format!("error: unexpected word `hello` after `drop`\n{belongs}"));
    wrong(&["drop", "--cmd=start"], &format!("error: two commands: `--cmd=start` and `drop`\n{belongs}"));
    let finished = run(&["--cmd=stop"]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr().starts_with("error: `--cmd`: expected `start` or `drop` or"), "{finished:?}");
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    wrong(
        &["start"],
        "error: no module is named\nhint: `--wasm=PATH` on the server's machine, or `--url=URL`\nerror: `start` needs \
         `--name=NAME`\n",
    );
    wrong(
        &["duplicate"],
        "error: `duplicate` needs `--name=NAME`\nerror: `duplicate` needs `--newRevision=REVISION`\n",
    );
    wrong(&["scale"], "error: `scale` needs `--name=NAME`\nerror: `scale` needs `--count=N`\n");
    wrong(&["route", "--name=a"], "error: `route` needs `--weights=REVISION=N,...`\n");
    wrong(&["publish", "--revision=b"], "error: `publish` needs `--wasm=PATH`\nerror: `publish` needs `--name=NAME`\n");
    wrong(&["health", "--index=1"], "error: `health` needs `--name=NAME`\n");
    wrong(
        &["start", "--name=a", "--url=http://x/a.wasm", "--authHeaderName=A"],
        "error: `--authHeaderName` is given without `--authHeaderValue`\nhint: the value can also come from \
         `CAPSULE_AUTH_HEADER_VALUE`\n",
    );
}

#[test]
fn flags_of_other_commands_are_refused() {
    wrong(&["drop", "--name=a", "--maxMemory=1MiB"], "error: `--maxMemory` means nothing to `drop`\n");
    wrong(&["publish", "--wasm=a", "--url=http://x/"], "error: `--url` means nothing to `publish`\n");
    wrong(&["prune", "--help=false", "--name=a"], "error: `--name` means nothing to `prune`\n");
}

#[test]
fn values_are_checked_before_anything_is_sent() {
    let allowed = "expected 1 to 64 of the characters A-Z a-z 0-9 . _ -, found";
    wrong(&["drop", "--name=a/b"], &format!("error: `--name`: {allowed} `a/b`\n"));
    wrong(&["drop", "--name=.."], &format!("error: `--name`: {allowed} `..`\n"));
    wrong(&["drop", "--name=start"], "error: `--name`: `start` is reserved for a route of the server\n");
    wrong(&["drop", "--name=a", "--revision=b?c"], &format!("error: `--revision`: {allowed} `b?c`\n"));
    let index = "error: `--index`: expected a number from 0 to 999999999, found";
    wrong(&["drop", "--name=a", "--index=-1"], &format!("{index} `-1`\n"));
    wrong(&["scale", "--name=a", "--count=0"], "error: `--count`: expected a number from 1 to 999999999, found `0`\n");
    let shares = "error: `--weights`: expected shares such as `blue=90,green=10`, found";
    wrong(&["route", "--name=a", "--weights=blue"], &format!("{shares} `blue`\n"));
    wrong(&["call", "--name=a", "--header=s3cret"], "error: `--header`: expected `NAME:VALUE` as HTTP allows it\n");
    wrong(&["call", "--name=a", "--method=G T"], "error: `--method`: expected a method such as `PUT`, found `G T`\n");
    let address = "error: `--server`: expected an address such as `http://localhost:8080`, found";
    wrong(&["prune", "--server=ftp://u:s3cret@x"], &format!("{address} `ftp://***@x`\n"));
    let variable = Program::of_workspace("capsctl").unwrap().env("CAPSULE_MAIN_PROCESS_URL", "http://x/?a=1");
    let finished = variable.arg("prune").run().unwrap();
    let expected = address.replace("--server", "CAPSULE_MAIN_PROCESS_URL");
    assert_eq!((finished.code, finished.stderr()), (Some(2), format!("{expected} `http://x/?a=1`\n")));
}

#[test]
fn paths_of_calls_stay_within_the_function() {
    let hint = "hint: `.` and `..` would leave the function, and what follows `#` is never sent\n";
    for path in ["/../x", "/a/%2e%2E", "/a/./b", "/a\\..\\b", "/a#b", "?a#b"] {
        let shown = path.escape_debug();
        let stderr = format!("error: `--path`: expected a plain path and query, found `{shown}`\n{hint}");
        wrong(&["call", "--name=a", "--index=0", "--path", path], &stderr);
    }
    wrong(
        &["call", "--name=a", "--path=/api"],
        "error: `--path` is given without `--index`\nhint: a function sees the path that follows its index: add \
         `--index=0`\n",
    );
}
