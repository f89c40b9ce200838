//! The file of functions, at the start and on SIGHUP.

use capsule_test::process::Stream;
use capsule_test::program::Program;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::faas_support::{Faas, module_path, refusal};
use crate::support::eventually;

/// A folder with this file of functions, and modules beside it: `hey.wasm`, `orange.wasm`, `counter.wat`.
fn home(file: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for (module, name) in [("hey", "hey.wasm"), ("faas-hello-orange", "orange.wasm"), ("counter.wat", "counter.wat")] {
        std::fs::copy(module_path(module), home.path().join(name)).unwrap();
    }
    write(&home, file);
    home
}

/// Writes the file; `@` stands for the folder.
fn write(home: &TempDir, file: &str) {
    std::fs::write(home.path().join("functions.toml"), file.replace('@', home.path().to_str().unwrap())).unwrap();
}

fn serve(home: TempDir) -> Faas {
    let flag = format!("--functions={}", home.path().join("functions.toml").display());
    Faas::start_in(home, &[&flag], &[])
}

/// Sends SIGHUP and waits for the line that says what came of it, which has this text.
fn hang_up(faas: &Faas, text: &str) {
    let outcomes = || {
        let log = faas.server.process.output(Stream::Stderr);
        let lines = log.lines().filter(|line| line.contains("SIGHUP: `") || line.contains("SIGHUP: the functions"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = outcomes().len();
    faas.server.process.signal(Signal::HUP).unwrap();
    eventually("the file is read", || outcomes().len() > before);
    let line = outcomes().pop().unwrap();
    assert!(line.contains(text), "{line}");
}

const FILE: &str = r#"
[[function]]
name = "count"
wasm = "@/counter.wat"

[[function]]
name = "hello"
wasm = "@/hey.wasm"

[[function]]
name = "hello"
revision = "orange"
description = "the orange one"
wasm = "@/orange.wasm"
callTimeout = "2s"
stopAfter = 600
env = { A = "1" }

[route.hello]
orange = 1
"#;

#[test]
fn what_changed_is_restarted_and_the_rest_is_untouched() {
    let faas = serve(home(FILE));
    assert_eq!(faas.keys(), ["count/default/0", "hello/default/0", "hello/orange/0"]);
    assert_eq!(faas.call("hello", "Bob"), (200, "🟠 👋 Hey Bob !".into()));
    assert_eq!(faas.processes()["hello/orange/0"]["description"], json!("the orange one"));
    for count in 1..=3 {
        assert!(faas.call("count", "").1.contains(&format!("\"count\":{count}}}")));
    }
    hang_up(&faas, "functions.toml`: nothing has changed");
    assert!(faas.call("count", "").1.contains("\"count\":4}"));

    // Other bytes, another route, one more, one less.
    std::fs::copy(module_path("faas-hello-orange"), faas.home.path().join("hey.wasm")).unwrap();
    let changed = FILE.replace("orange = 1", "default = 1").replace("callTimeout = \"2s\"\n", "callTimeout = \"3s\"\n");
    write(&faas.home, &format!("{changed}\n[[function]]\nname = \"new\"\nwasm = \"@/hey.wasm\"\n"));
    hang_up(&faas, "functions.toml`: 4 done");
    assert_eq!(faas.call("hello", "Bob"), (200, "🟠 👋 Hey Bob !".into()));
    let answer = faas.send("GET", "/functions/hello", "");
    assert_eq!(answer.header("x-capsule-revision"), Some("default"));
    assert_eq!(faas.call("new", "Bob"), (200, "🟠 👋 Hey Bob !".into()));
    assert!(faas.call("count", "").1.contains("\"count\":5}"), "it was not restarted");

    write(&faas.home, "[[function]]\nname = \"count\"\nwasm = \"@/counter.wat\"\n");
    hang_up(&faas, "functions.toml`: 4 done");
    eventually("the others are gone", || faas.keys() == ["count/default/0"]);
    assert!(faas.call("count", "").1.contains("\"count\":6}"));
}

#[test]
fn a_broken_file_changes_nothing_and_its_lines_are_named() {
    let faas = serve(home(FILE));
    let before = faas.processes();
    for (file, expected) in [
        ("[[function]]\nname = \"a\"\n\n[[function]]\nname = 7\nwasm = \"x\"\n", "line 1: expected `wasm` or `url`"),
        ("[[function]]\nname = \"a\"\n\n[[function]]\nname = 7\nwasm = \"x\"\n", "line 5: `name`: expected a text"),
        ("[[function]\n", "line 1: no TOML"),
        ("[[function]]\nname = \"drop\"\nwasm = \"x\"\n", "line 2: name: `drop` is reserved"),
        ("[[function]]\nname = \"a\"\nwasm = \"x\"\npassEnv = \"HOME\"\n", "line 4: unknown key `passEnv`"),
        ("[route.hello]\nblue = 1\n", "line 1: `route.hello`: there is no revision `blue`"),
    ] {
        write(&faas.home, file);
        hang_up(&faas, expected);
    }
    std::fs::remove_file(faas.home.path().join("functions.toml")).unwrap();
    hang_up(&faas, "the functions are as before: cannot read the functions");
    assert_eq!(faas.processes(), before);
    // One that cannot be started does not keep the others from it.
    write(
        &faas.home,
        &format!(
            "{FILE}\n[[function]]\nname = \"bad\"\nwasm = \"@/none\"\n[[function]]\nname = \"good\"\nwasm = \"@/hey.wasm\"\n"
        ),
    );
    hang_up(&faas, "1 done, 1 failed");
    faas.server.process.wait_for_line(Stream::Stderr, "start `bad/default` (line 22 of ").unwrap();
    assert_eq!(faas.call("good", "Bob").0, 200);

    let home = home("[[function]]\nname = \"a\"\n");
    let flag = format!("--functions={}", home.path().join("functions.toml").display());
    let finished =
        Program::of_workspace("capsule-http").unwrap().args(["--faas", "--httpPort=0", &flag]).run().unwrap();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr().contains("line 1: expected `wasm` or `url`"), "{finished:?}");
}

#[test]
fn file_and_commands_do_not_take_each_others_functions() {
    let faas = serve(home(FILE));
    faas.start_function("mine", "hey", &[]);
    let (status, error) = refusal(&faas.admin(
        "POST",
        "/functions/start",
        format!(r#"{{"name":"hello","args":["","-wasm={}"]}}"#, module_path("hey").display()),
    ));
    assert!(status == 409 && error.contains("hello/default"), "{status} {error}");
    write(&faas.home, &format!("{FILE}\n[[function]]\nname = \"mine\"\nwasm = \"@/hey.wasm\"\n"));
    hang_up(&faas, "`mine/default` is in the file, but `mine/default/0` was started by a command");
    write(&faas.home, "");
    hang_up(&faas, "functions.toml`: 4 done");
    assert_eq!(faas.keys(), ["mine/default/0"]);
}

#[test]
fn the_same_file_through_capsctl_and_after_a_kill() {
    let faas = serve(home(FILE)).killed_and_started();
    assert_eq!(faas.keys(), ["count/default/0", "hello/default/0", "hello/orange/0"]);
    assert_eq!(faas.status("count/default/0"), "Stopped", "the file starts nothing again that is there");
    assert_eq!(faas.call("hello", "Bob"), (200, "🟠 👋 Hey Bob !".into()));

    let (home, other) = (home(FILE), Faas::start(&[]));
    let said = other.capsctl_says(&["launch", &format!("--file={}", home.path().join("functions.toml").display())]);
    assert!(
        said.ends_with("hello is routed to orange=100\n") || said.contains("hello is routed to orange=1"),
        "{said}"
    );
    assert_eq!(other.call("hello", "Bob"), (200, "🟠 👋 Hey Bob !".into()));
}
