//! Host functions as a module in the terminal has them.

use capsule_test::redis::Redis;
use capsule_test::stub::{Answer, HttpStub};

use crate::support::{capsule, check, check_error, fixture};
use capsule_test::process::Finished;
use capsule_test::program::Program;

fn host(argument: &str) -> Program {
    capsule().arg(fixture("host.wat")).args(["--params", argument])
}

fn run(argument: &str) -> Finished {
    host(argument).run().unwrap()
}

#[test]
fn print_log_and_talk() {
    check(&run("pprinted"), 0, "printed\n\n", "");
    check(&run("thi"), 0, "hi\nHello 😀 I'm the host\n", "");
    let logged = run("llogged").success().unwrap().stdout();
    // `2026/11/22 19:57:49 logged`
    let shape: String = logged.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000/00/00 00:00:00 logged\n\n");
}

#[test]
fn environment() {
    check(&host("eNAME").env("NAME", "value 👋").run().unwrap(), 0, "value 👋\n", "");
    check(&host("eNAME").env("NAME", "outer").arg("--env=NAME=inner").run().unwrap(), 0, "inner\n", "");
    check(&host("eNAME").env("NAME", "hidden").arg("--passEnv=OTHER").run().unwrap(), 0, "\n", "");
    check(&run("eNAME"), 0, "\n", "");
    // What is the runner's own secret is never shown.
    for name in ["CAPSULE_AUTH_HEADER_VALUE", "CAPSULE_FAAS_TOKEN", "REDIS_PWD"] {
        check(&host(&format!("e{name}")).env(name, "secret").run().unwrap(), 0, "\n", "");
    }
}

#[test]
fn files_below_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = |argument: &str, flags: &[&str]| host(argument).args(flags).current_dir(folder.path()).run().unwrap();
    check(&run("w./new.txt", &[]), 0, "./new.txt\n", "");
    assert_eq!(std::fs::read(folder.path().join("new.txt")).unwrap(), b"written");
    check(&run("rnew.txt", &[]), 0, "written\n", "");
    let outside = run("r/etc/hostname", &[]);
    assert_eq!(outside.code, Some(1));
    assert!(outside.stdout().contains("--dir"), "{outside:?}");
    assert_eq!(run("r../secret", &[]).code, Some(1));
    assert_eq!(run("rnew.txt", &["--dir=none"]).code, Some(1));
    check(&run("r/data/new.txt", &["--dir=.:/data:ro"]), 0, "written\n", "");
    assert_eq!(run("w/data/other.txt", &["--dir=.:/data:ro"]).code, Some(1));
    assert!(!folder.path().join("other.txt").exists());
    let missing = folder.path().canonicalize().unwrap().join("no-such-folder");
    let error =
        format!("cannot open folder `{}`: No such file or directory (os error 2) (flag `--dir`)", missing.display());
    check_error(&run("rnew.txt", &["--dir=no-such-folder"]), 1, &error);
}

#[test]
fn cache_keys_match_any_pattern() {
    check(&run("c*"), 0, "{\"keys\":[\"a1\",\"a2\",\"b2\"]}\n", "");
    check(&run("ca?"), 0, "{\"keys\":[\"a1\",\"a2\"]}\n", "");
    check(&run("c[ab]2"), 0, "{\"keys\":[\"a2\",\"b2\"]}\n", "");
    check(&run("kx"), 0, "{\"keys\":[]}\n", "");
}

#[test]
fn a_bad_pointer_is_a_trap_of_the_call() {
    check_error(
        &run("b"),
        1,
        "the module trapped: host function `hostPrintString`: address 0xfffffff0 with length 1000 is outside of the memory of \
         131072 bytes",
    );
    check_error(
        &run("B"),
        1,
        "the module trapped: host function `hostGetEnv`: address 0xfffffffe with length 4 is outside of the memory of 131072 \
         bytes",
    );
}

#[test]
fn outbound_http() {
    let stub = HttpStub::start().unwrap();
    stub.answer("/json", Answer::new(200, "application/json", "{\"a\": [1, 2]}"));
    stub.answer("/text", Answer::new(404, "text/plain", "say \"no\"\n"));
    let get = |path: &str| format!("h{{\"URI\":\"{}\",\"Method\":\"GET\",\"Headers\":{{}}}}", stub.url(path));
    let json = run(&get("/json")).success().unwrap().stdout();
    assert!(json.contains("\"JSONBody\":{\"a\": [1, 2]}") || json.contains("\"JSONBody\":{\"a\":[1,2]}"), "{json}");
    assert!(json.contains("\"StatusCode\":200"), "{json}");
    let text = run(&get("/text")).success().unwrap().stdout();
    assert!(text.contains("\"TextBody\":\"say \\\"no\\\"\\n\"") && text.contains("\"StatusCode\":404"), "{text}");
    // What the operator does not allow is a failure of the module's call, not of the runner.
    let refused = host(&get("/json")).arg("--allowHosts=none").run().unwrap();
    assert_eq!((refused.code, refused.stderr().as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stdout().contains("--allowHosts"), "{refused:?}");
    assert_eq!(run("hno document").code, Some(1));
}

#[test]
fn redis_of_the_operator() {
    let redis = Redis::with_password("secret").unwrap();
    redis.command(3, &[b"SET", b"key", b"value"]).unwrap();
    check(&host("gkey").env("REDIS_URI", redis.url(3)).run().unwrap(), 0, "value\n", "");
    let parts =
        [("REDIS_ADDR", redis.address().to_string()), ("REDIS_PWD", "secret".into()), ("REDIS_DEFAULTDB", "3".into())];
    check(&host("gkey").envs(parts).run().unwrap(), 0, "value\n", "");
    check(&host("gno").env("REDIS_URI", redis.url(3)).run().unwrap(), 1, "redis: nil\n", "");
    for uri in ["redis://127.0.0.1:1/0", "not a uri"] {
        let finished = host("gkey").env("REDIS_URI", uri).run().unwrap();
        assert_eq!((finished.code, finished.stderr().as_str()), (Some(1), ""), "{finished:?}");
    }
}

#[test]
fn a_home_with_compiled_code_is_lent_only_by_name() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("file"), "content").unwrap();
    let run = |flags: &[&str]| {
        let program = host("rfile").env("HOME", home.path()).env("XDG_CACHE_HOME", "").current_dir(home.path());
        program.args(flags).run().unwrap()
    };
    let withheld = run(&[]);
    assert_eq!((withheld.code, withheld.stderr().as_str()), (Some(1), ""), "{withheld:?}");
    let text = withheld.stdout();
    let expected = "cannot read `file`: the current folder is not lent: `";
    assert!(text.starts_with(expected) && text.ends_with("name it (flag `--dir`)\n"), "{text}");
    check(&run(&["--dir=."]), 0, "content\n", "");
    check(&run(&["--cacheDir=none"]), 0, "content\n", "");
}
