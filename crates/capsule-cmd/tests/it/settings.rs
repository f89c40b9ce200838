//! The shared flags: module source, limits, capabilities, cache folder, logs.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capsule_cmd::capabilities::{self, Capabilities, Folder, PassEnv, cache_dir};
use capsule_cmd::download::AuthHeader;
use capsule_cmd::flags::Table;
use capsule_cmd::limits::{self, Instances, Limits, TotalMemory};
use capsule_cmd::module_source::{self, ModuleSource, Remote};
use capsule_cmd::parse::{Parsed, parse};
use capsule_cmd::usage::{Problems, UsageError};
use capsule_cmd::{logging, redact};

fn table() -> Table {
    let groups = [module_source::FLAGS, limits::FLAGS, capabilities::FLAGS, logging::FLAGS, &[capabilities::CACHE_DIR]];
    Table::new(groups.concat())
}

fn try_read(args: &[&str]) -> Result<Parsed, UsageError> {
    parse(&table(), args.iter().map(OsString::from), |_| None)
}

fn read(args: &[&str]) -> Parsed {
    try_read(args).unwrap()
}

fn rejected(args: &[&str]) -> String {
    try_read(args).unwrap_err().to_string()
}

fn source(args: &[&str]) -> (Option<ModuleSource>, Vec<String>, String) {
    let (parsed, mut problems) = (read(args), Problems::new());
    let (source, operands) = ModuleSource::read(&parsed, &mut problems);
    let operands = operands.to_vec();
    (source, operands, problems.finish().err().map(|error| error.to_string()).unwrap_or_default())
}

fn capabilities(args: &[&str]) -> (Capabilities, String) {
    let mut problems = Problems::new();
    let capabilities = Capabilities::read(&read(args), &mut problems);
    (capabilities, problems.finish().err().map(|error| error.to_string()).unwrap_or_default())
}

#[test]
fn the_shared_table_has_no_mistakes() {
    assert_eq!(table().mistakes(), [""; 0]);
    assert_eq!(table().secret_variables().collect::<Vec<_>>(), ["CAPSULE_AUTH_HEADER_VALUE"]);
}

#[test]
fn module_by_flag_and_by_operand() {
    let module = |path: &str, download| Some(ModuleSource { path: PathBuf::from(path), download });
    assert_eq!(source(&["--wasm=a.wasm", "Bob"]), (module("a.wasm", None), vec!["Bob".into()], String::new()));
    assert_eq!(source(&["a.wasm", "Bob"]), (module("a.wasm", None), vec!["Bob".into()], String::new()));
    assert_eq!(source(&[]), (None, vec![], String::new()));
    let remote = Remote {
        url: "https://host/a.wasm".into(),
        auth: Some(AuthHeader { name: "PRIVATE-TOKEN".into(), value: "hunter2".into() }),
    };
    let args =
        ["-url=https://host/a.wasm", "-wasm=a.wasm", "-authHeaderName=PRIVATE-TOKEN", "-authHeaderValue=hunter2"];
    assert!(!format!("{remote:?}").contains("hunter2"));
    assert_eq!(source(&args), (module("a.wasm", Some(remote)), vec![], String::new()));
    // As scripts for the reference do: empty flags, and `registry`.
    let args = ["-url=", "-wasm=./a.wasm", "-authHeaderName=", "-authHeaderValue=", "-registry=x"];
    assert_eq!(source(&args), (module("./a.wasm", None), vec![], String::new()));
}

#[test]
fn secrets_do_not_reach_a_log() {
    let args = ["--url=https://u:hunter2@h/a?token=hunter2", "a", "--authHeaderName=A", "--authHeaderValue=hunter2"];
    let parsed = read(&[&args[..], &["--env=NAME=hunter2"]].concat());
    let (source, capabilities) = (source(&args).0.unwrap(), capabilities(&["--env=NAME=hunter2"]).0);
    let shown = format!("{parsed:?} {source:?} {capabilities:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("https://***@h/a?token=***") && shown.contains("NAME"), "{shown}");
}

#[test]
fn contradictions_of_the_source() {
    let (module, _, problems) = source(&["--url=http://h/a.wasm", "--authHeaderName=A"]);
    assert_eq!(module, None);
    assert_eq!(problems, "`--authHeaderName` is given without `--authHeaderValue`; `--url` is given without `--wasm`");
    let (_, _, problems) = source(&["--url=http://h/a.wasm", "a.wasm", "--authHeaderValue=A"]);
    assert_eq!(problems, "`--authHeaderValue` is given without `--authHeaderName`");
    assert_eq!(source(&["-"]).2, "expected the path of a module, found `-`");
    assert_eq!(
        rejected(&["--url=ftp://bob:pw@h/x", "--authHeaderName=a b", "--authHeaderValue=hunter\n2"]),
        "`--url`: expected an address such as `https://host/module.wasm`, found `ftp://***@h/x`; \
         `--authHeaderName`: expected the name of an HTTP header, found `a b`; \
         `--authHeaderValue`: expected a value that HTTP allows in a header"
    );
}

#[test]
fn limits_have_defaults_and_can_be_switched_off() {
    let expected = Limits {
        call_timeout: Some(Duration::from_secs(30)),
        start_timeout: Some(Duration::from_secs(30)),
        max_memory: Some(256 << 20),
        instances: Instances::Count(NonZeroU64::MIN),
        max_instances: Some(256),
        max_total_memory: TotalMemory::OfTheMachine,
        max_module: Some(64 << 20),
        compile_timeout: Some(Duration::from_secs(60)),
        max_compile_memory: Some(1 << 30),
        max_calls: None,
        max_queue: Some(1024),
        queue_timeout: Some(Duration::from_secs(10)),
        max_body: Some(10 << 20),
        max_result: Some(16 << 20),
        max_host_memory: Some(64 << 20),
        max_cache: Some(64 << 20),
        max_files: Some(64),
        max_written: Some(1 << 30),
        outbound_timeout: Some(Duration::from_secs(10)),
        max_outbound_body: Some(10 << 20),
        max_outbound_calls: Some(64),
    };
    assert_eq!(Limits::read(&read(&[])), expected);
    let off: Vec<String> = limits::FLAGS
        .iter()
        .filter(|flag| flag.name != "instances")
        .map(|flag| format!("--{}=none", flag.name))
        .collect();
    let off = Limits::read(&read(&off.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!((off.call_timeout, off.queue_timeout, off.outbound_timeout), (None, None, None));
    assert_eq!((off.max_memory, off.max_body, off.max_result, off.max_outbound_body), (None, None, None, None));
    assert_eq!((off.max_queue, off.max_instances, off.max_outbound_calls), (None, None, None));
    assert_eq!((off.max_cache, off.max_host_memory), (None, None));
    assert_eq!((off.start_timeout, off.max_files, off.max_written), (None, None, None));
    assert_eq!((off.max_total_memory, off.max_module), (TotalMemory::Unlimited, None));
    assert_eq!((off.compile_timeout, off.max_compile_memory, off.max_calls), (None, None, None));
    let total = Limits::read(&read(&["--maxTotalMemory=2GiB", "--maxCalls=7"]));
    assert_eq!((total.max_total_memory, total.max_calls), (TotalMemory::Bytes(2 << 30), Some(7)));
    let some = Limits::read(&read(&["--callTimeout=500ms", "--max-memory=64MiB", "--maxBody", "1"]));
    assert_eq!(some.call_timeout, Some(Duration::from_millis(500)));
    assert_eq!((some.max_memory, some.max_body), (Some(64 << 20), Some(1)));
}

#[test]
fn instance_contracts() {
    let four = NonZeroU64::new(4).map(Instances::Count);
    assert_eq!(Instances::parse("4").ok(), four);
    assert_eq!(Instances::parse("auto"), Ok(Instances::Auto));
    assert_eq!(Limits::read(&read(&["--instances=fresh"])).instances, Instances::Fresh);
    for text in ["0", "-1", "+4", "many", "Auto", "99999999999999999999"] {
        let message = rejected(&[&format!("--instances={text}")]);
        assert_eq!(message, format!("`--instances`: expected a number from 1, `auto` or `fresh`, found `{text}`"));
    }
}

#[test]
fn folders() {
    let folder = |host: &str, guest: &str, read_only| Folder { host: host.into(), guest: guest.into(), read_only };
    for (args, expected) in [
        (&[][..], vec![folder(".", ".", false)]),
        (&["--dir=none"], vec![]),
        (&["--dir=data"], vec![folder("data", "data", false)]),
        (&["--dir=data:ro"], vec![folder("data", "data", true)]),
        (&["--dir=/srv/x:/data"], vec![folder("/srv/x", "/data", false)]),
        (&["--dir=/srv/x:/data:ro", "--dir=."], vec![folder("/srv/x", "/data", true), folder(".", ".", false)]),
    ] {
        let (capabilities, problems) = capabilities(args);
        assert_eq!((capabilities.folders, problems.as_str()), (expected, ""), "{args:?}");
    }
    for text in [":", ":x", "x:", "a:b:c", "a:b:rw", ":ro", "a::ro"] {
        let message = rejected(&[&format!("--dir={text}")]);
        assert_eq!(message, format!("`--dir`: expected `host[:guest][:ro]`, found `{text}`"));
    }
    assert_eq!(capabilities(&["--dir=a", "--dir=none"]).1, "`--dir=none` is given together with another `--dir`");
    assert_eq!(capabilities(&["--dir=a:/x", "--dir=b:/x"]).1, "two folders have the name `/x` in the module");
}

#[test]
fn environment_and_hosts() {
    let (open, _) = capabilities(&[]);
    assert_eq!((open.allow_hosts, open.env, open.pass_env), (None, vec![], PassEnv::All));
    let args = [
        "--env=A=1",
        "--env",
        "B=x=y",
        "--env=C=",
        "--passEnv=HOME, PATH",
        "--allowHosts=a.example,*.b:443,10.0.0.0/8",
    ];
    let (some, problems) = capabilities(&args);
    assert_eq!(problems, "");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(some.env, [pair("A", "1"), pair("B", "x=y"), pair("C", "")]);
    assert_eq!(some.pass_env, PassEnv::Names(vec!["HOME".into(), "PATH".into()]));
    assert_eq!(some.allow_hosts.unwrap(), ["a.example", "*.b:443", "10.0.0.0/8"]);
    let (none, _) = capabilities(&["--passEnv=none", "--allowHosts=none"]);
    assert_eq!((none.pass_env, none.allow_hosts), (PassEnv::Names(vec![]), Some(vec![])));

    // The value of a variable is a secret, also in an error.
    assert_eq!(rejected(&["--env=hunter2"]), "`--env`: expected `NAME=VALUE`");
    assert_eq!(rejected(&["--env==hunter2"]), "`--env`: expected `NAME=VALUE`");
    assert_eq!(
        rejected(&["--passEnv=A=1"]),
        "`--passEnv`: expected names of variables with commas between, found `A=1`"
    );
    assert_eq!(
        rejected(&["--allowHosts=https://u:p@h"]),
        "`--allowHosts`: expected hosts such as `api.example.com` or `10.0.0.0/8`, found `https://***@h`"
    );
    assert_eq!(redact::value(capabilities::ENV.secret, "A=1"), "***");
}

#[cfg(all(unix, not(target_os = "macos")))]
#[test]
fn the_cache_folder_is_the_users() {
    let cache = |args: &[&str], env: &[(&str, &str)]| {
        cache_dir(&read(args), |name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    };
    let home = ("HOME", "/home/u");
    assert_eq!(cache(&[], &[home]).as_deref(), Some(Path::new("/home/u/.cache/capsule")));
    assert_eq!(cache(&[], &[home, ("XDG_CACHE_HOME", "/c")]).as_deref(), Some(Path::new("/c/capsule")));
    assert_eq!(cache(&[], &[home, ("XDG_CACHE_HOME", "c")]).as_deref(), Some(Path::new("/home/u/.cache/capsule")));
    assert_eq!(cache(&[], &[]), None);
    assert_eq!(cache(&["--cacheDir=x"], &[home]).as_deref(), Some(Path::new("x")));
    assert_eq!(cache(&["--cacheDir=none"], &[home]), None);
}
