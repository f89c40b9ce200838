//! What log lines look like, and that a broken stderr harms nobody. In children, because a process has one log.
#![cfg(unix)]

use capsule_cmd::flags::Table;
use capsule_cmd::logging;
use capsule_cmd::parse::parse;
use capsule_test::process::Finished;
use capsule_test::program::Program;

/// Tells the child which flags to log with.
const CHILD_FLAGS: &str = "CAPSULE_TEST_FLAGS";
const NAME: &str = "logs::lines_have_level_time_and_fields";

fn child(flags: &str, redirect: &str) -> Finished {
    let script = format!("exec \"$0\" --exact {NAME} --nocapture {redirect}");
    let test = std::env::current_exe().unwrap();
    let shell = Program::tool("sh", "dash").unwrap().args(["-c", &script]).arg(test);
    shell.env(CHILD_FLAGS, flags).env("RUST_LOG", "warn").run().unwrap()
}

#[test]
fn lines_have_level_time_and_fields() {
    if let Ok(flags) = std::env::var(CHILD_FLAGS) {
        let table = Table::new(logging::FLAGS.iter().copied());
        let args = flags.split_whitespace().map(Into::into);
        logging::init(&parse(&table, args, |name| std::env::var_os(name)).unwrap()).unwrap();
        tracing::warn!(port = 80, "listening");
        tracing::info!("details");
        return;
    }
    let text = child("", "").success().unwrap().stderr();
    let line = text.lines().find(|line| line.contains("listening")).unwrap();
    assert!(line.starts_with("20") && line.contains("Z  WARN it::logs: listening port=80"), "{line}");
    assert!(!text.contains("details") && !text.contains('\u{1b}'), "{text}");
    assert!(child("--logLevel=info", "").stderr().contains("INFO it::logs: details"), "the flag wins over RUST_LOG");
    assert!(!child("--logLevel=off", "").stderr().contains("listening"));

    let json = child("--logFormat=json", "").success().unwrap().stderr();
    let line = json.lines().find(|line| line.starts_with('{')).unwrap();
    let ends = r#"Z","level":"WARN","message":"listening","port":80,"target":"it::logs"}"#;
    assert!(line.starts_with(r#"{"timestamp":"20"#) && line.ends_with(ends), "{line}");

    child("", "2>/dev/full").success().unwrap();
    child("", "2>&-").success().unwrap();
}
