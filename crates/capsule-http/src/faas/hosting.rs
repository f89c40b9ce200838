//! What the arguments of a hosted function mean, and what it may use: the server's side of [`Platform`].
//!
//! Arguments are flags of this program, of those that concern one function. What a function does not say is taken from the
//! server's own command line, then from the defaults; but folders, environment and addresses are never opened to it by a
//! default that was made for a module of the operator's own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use capsule_cmd::capabilities::{ALLOW_HOSTS, Capabilities, DIR, ENV, PASS_ENV, PassEnv};
use capsule_cmd::download::{self, AuthHeader, Options};
use capsule_cmd::flags::{Flag, Kind, Scope, Table};
use capsule_cmd::limits::{self, Instances, Limits};
use capsule_cmd::module_source::{self, AUTH_HEADER_NAME, AUTH_HEADER_VALUE, Remote, URL, WASM};
use capsule_cmd::parse::{Parsed, parse};
use capsule_cmd::redact;
use capsule_cmd::usage::Problems;
use capsule_faas::runtime::{Demands, FaasError, FaasErrorKind, Platform, Source};
use capsule_faas_model::Refusal;
use capsule_faas_model::args::{FlagInfo, FlagScope, FlagTable, FlagValue, function_flags};
use capsule_faas_model::lifecycle::Sleep;
use capsule_faas_model::spec::Spec;
use capsule_hdk::{Buffering, Ceiling, Contract, Extensions, Full, FunctionConfig, Network, Reach, Reservation};
use capsule_hostfns::Services;
use capsule_hostfns::cache::Cache;
use capsule_hostfns::http::HttpLimits;
use capsule_hostfns::redis::{Redis, RedisSettings};
use capsule_runner::folders::{Private, Tenants, real};
use capsule_runner::{environment, settings};
use futures_util::future::BoxFuture;

use crate::config::STOP_AFTER;

/// Characters of an error that repeats arguments.
const MAX_ERROR: usize = 500;

/// What the operator gives to functions.
pub(super) struct Hosting {
    table: Table,
    /// Words of the server's own command line, by the names of their flags.
    defaults: Vec<(&'static str, String)>,
    /// The server's variables that functions may read.
    variables: Vec<(String, String)>,
    /// The server's Redis, which functions may use and not read.
    redis: bool,
    /// What belongs to the server: no function is given a folder of it.
    private: Private,
    /// Folders that the operator has named nevertheless.
    lent: Vec<PathBuf>,
    /// What functions are given for writing: links in there are not followed.
    tenants: Mutex<Tenants>,
    /// No function's start takes longer.
    start_timeout: Option<Duration>,
    /// Bytes of a module.
    max_module: u64,
    /// The memory of the process, of which caches and downloads take a part.
    ceiling: Ceiling,
}

impl Hosting {
    /// What the command line gives.
    pub(super) fn new(table: Table, parsed: &Parsed, private: Private, max_module: u64, ceiling: Ceiling) -> Hosting {
        let of_the_server =
            |flag: &Flag| module_source::FLAGS.iter().chain(&[ENV, PASS_ENV]).any(|own| own.name == flag.name);
        let given = parsed.given().filter(|flag| flag.scope != Scope::Runner && !of_the_server(flag));
        let defaults = given
            .flat_map(|flag| {
                let values = parsed.texts(flag).into_iter();
                values.map(|value| (flag.name, format!("--{}={value}", flag.name))).collect::<Vec<_>>()
            })
            .collect();
        let names = match parsed.text(&PASS_ENV).filter(|_| parsed.is_given(&PASS_ENV)) {
            None => PassEnv::Names(Vec::new()),
            Some("*") => PassEnv::All,
            Some(_) => Capabilities::read(parsed, &mut Problems::new()).pass_env,
        };
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Hosting {
            table,
            defaults,
            variables: environment::of_module(own, &names, &[]),
            redis: ["REDIS_URI", "REDIS_ADDR"].iter().any(|name| std::env::var_os(name).is_some()),
            private,
            start_timeout: Limits::read(parsed).start_timeout,
            lent: if parsed.is_given(&DIR) { lent(parsed) } else { Vec::new() },
            tenants: Mutex::default(),
            max_module,
            ceiling,
        }
    }

    /// All functions that were there before are known, and from now on they may change what they are lent.
    pub(super) fn begin(&self) {
        self.tenants().begin();
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The arguments, read as this program's own command line.
    fn read(&self, spec: &Spec) -> Result<Parsed, Refusal> {
        let given = function_flags(&spec.args, self)?;
        let default = self.defaults.iter().filter(|(name, _)| given.iter().all(|flag| flag.name != *name));
        let words = default.map(|(_, word)| word.clone()).chain(given.iter().map(FlagValue::to_word));
        parse(&self.table, words.map(OsString::from), |_| None).map_err(|error| refusal(&error.to_string()))
    }

    /// What a function may use, with a refusal for what it may not.
    fn capabilities(&self, spec: &Spec, parsed: &Parsed) -> Result<capsule_hdk::Capabilities, Refusal> {
        let mut problems = Problems::new();
        let mut given = Capabilities::read(parsed, &mut problems);
        problems.finish().map_err(|error| refusal(&error.to_string()))?;
        if !parsed.is_given(&DIR) {
            given.folders.clear();
        }
        for folder in &mut given.folders {
            let lent = self.tenants().lend(&folder.host, folder.read_only);
            let lent = lent.map_err(|why| refusal(&format!("`-dir`: `{}` {why}", folder.host.display())))?;
            folder.host = lent;
            self.check_folder(&folder.host)?;
        }
        given.env.extend(spec.env.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let variables = environment::of_module(self.variables.iter().cloned(), &PassEnv::All, &given.env);
        let mut capabilities =
            settings::capabilities(&given, variables, vec![parsed.text(&WASM).unwrap_or_default().to_owned()]);
        let named = parsed.is_given(&ALLOW_HOSTS) || !spec.allow_hosts.is_empty();
        let allowed = given.allow_hosts.unwrap_or_default().into_iter().chain(spec.allow_hosts.iter().cloned());
        capabilities.network = if named {
            Network { reach: Reach::Nothing, allowed: allowed.collect() }
        } else {
            Network { reach: Reach::Public, allowed: Vec::new() }
        };
        Ok(capabilities)
    }

    /// A folder that holds what is the server's own is no function's, nor is one inside of that.
    fn check_folder(&self, folder: &Path) -> Result<(), Refusal> {
        let folder = real(folder);
        if self.lent.contains(&folder) {
            return Ok(());
        }
        match self.private.objection(&folder) {
            Some(objection) => {
                Err(refusal(&format!("`-dir`: `{}` {objection}; name another folder", folder.display())))
            }
            None => Ok(()),
        }
    }

    /// What is said of a file that is no module repeats how it begins: one with tokens or a key is not looked at.
    fn check_module(&self, path: &Path) -> Result<(), Refusal> {
        if self.private.contains(path) {
            return Err(refusal(&format!("`-wasm`: `{}` is a file of the server, not a module", path.display())));
        }
        Ok(())
    }
}

impl FlagTable for Hosting {
    fn find(&self, typed: &str) -> Option<FlagInfo> {
        let flag = self.table.resolve(typed)?;
        // Which of its variables functions may read is the server's to say.
        let of_functions = flag.scope != Scope::Runner && flag.name != PASS_ENV.name;
        Some(FlagInfo {
            name: flag.name,
            scope: if of_functions { FlagScope::Function } else { FlagScope::Server },
            switch: matches!(flag.kind, Kind::Switch),
            secret: flag.secret,
        })
    }

    fn mask(&self, secret: bool, value: &str) -> String {
        redact::value(secret, value)
    }
}

impl Platform for Hosting {
    fn demands(&self, spec: &Spec) -> Result<Demands, Refusal> {
        let parsed = self.read(spec)?;
        let limits = Limits::read(&parsed);
        let instances = limits.instances;
        let source = Source::of(parsed.text(&WASM), parsed.text(&URL))?;
        if parsed.is_given(&DIR) {
            // Before the first function of a server is awake: it may not be first that can write to the other's folder.
            let mut tenants = self.tenants();
            let given = Capabilities::read(&parsed, &mut Problems::new()).folders;
            given.iter().for_each(|folder| tenants.note(&folder.host, folder.read_only));
        }
        if let Source::File(path) = &source
            && spec.module.is_none()
        {
            self.check_module(path)?;
        }
        Ok(Demands {
            source,
            sleep: Sleep {
                after: parsed.duration(&STOP_AFTER).filter(|after| !after.is_zero()),
                stateless: instances == Instances::Fresh,
            },
            instances: match settings::contract(instances) {
                Contract::Instances(count) => Some(count),
                Contract::Fresh => None,
            },
            body: settings::size(limits.max_body),
        })
    }

    fn shared(&self, spec: &Spec) -> Extensions {
        let size = self.read(spec).ok().and_then(|parsed| Limits::read(&parsed).max_cache);
        let mut shared = Extensions::default();
        shared.insert(Arc::new(Cache::below(settings::size(size), &self.ceiling.share())));
        shared
    }

    fn configure(&self, spec: &Spec, shared: &Extensions) -> Result<FunctionConfig, Refusal> {
        let parsed = self.read(spec)?;
        let mut limits = Limits::read(&parsed);
        limits.start_timeout = limits.start_timeout.into_iter().chain(self.start_timeout).min();
        let mut config = FunctionConfig::new("");
        config.contract = settings::contract(limits.instances);
        config.limits = settings::limits(&limits);
        config.capabilities = self.capabilities(spec, &parsed)?;
        config.buffering = Buffering::Lines;
        let prefix = spec.redis_prefix.clone().unwrap_or_default();
        let own_redis = config.capabilities.environment.iter().any(|(name, _)| name.starts_with("REDIS_"));
        let lent = (self.redis && !own_redis).then(|| {
            let settings = RedisSettings::from_lookup(|name| std::env::var(name).ok());
            Arc::new(Redis::operator(settings, prefix.clone()))
        });
        let services = Services {
            cache: shared.get::<Cache>(),
            http: HttpLimits {
                timeout: limits.outbound_timeout,
                body: settings::size(limits.max_outbound_body),
                calls: settings::size(limits.max_outbound_calls),
            },
            redis: lent,
            redis_prefix: prefix,
            ..Services::default()
        };
        services.attach(&mut config);
        Ok(config)
    }

    fn inherited(&self, spec: &Spec) -> Vec<String> {
        let given = function_flags(&spec.args, self).unwrap_or_default();
        let is_limit = |name: &str| limits::FLAGS.iter().any(|flag| flag.name == name);
        let inherited = self.defaults.iter().filter(|(name, _)| is_limit(name));
        inherited
            .filter(|(name, _)| given.iter().all(|flag| flag.name != *name))
            .map(|(_, word)| word.clone())
            .collect()
    }

    fn fetch(&self, spec: &Spec) -> BoxFuture<'static, Result<Bytes, FaasError>> {
        let parsed = self.read(spec);
        let (limit, ceiling) = (self.max_module, self.ceiling.clone());
        Box::pin(async move {
            let parsed = parsed?;
            let auth = match (parsed.text(&AUTH_HEADER_NAME), parsed.text(&AUTH_HEADER_VALUE)) {
                (Some(name), Some(value)) => Some(AuthHeader { name: name.into(), value: value.into() }),
                _ => None,
            };
            let remote = Remote { url: parsed.text(&URL).unwrap_or_default().to_owned(), auth };
            fetch(remote, limit, &ceiling).await.map_err(|error| match error.downcast_ref::<Full>() {
                Some(full) => FaasError::full("the download", *full),
                None => {
                    let kind = if is_full(&error) { FaasErrorKind::DiskFull } else { FaasErrorKind::Invalid };
                    FaasError::new(kind, cut(&format!("{error:#}")))
                }
            })
        })
    }
}

/// The folders of `--dir`.
fn lent(parsed: &Parsed) -> Vec<PathBuf> {
    let given = Capabilities::read(parsed, &mut Problems::new()).folders;
    given.iter().map(|folder| real(&folder.host)).collect()
}

/// Downloads to a file of its own, which is gone when its bytes are read. They are part of the memory of the process as long as
/// somebody holds them.
async fn fetch(remote: Remote, limit: u64, ceiling: &Ceiling) -> anyhow::Result<Bytes> {
    let folder = tempfile::tempdir().context("cannot make a folder for the download")?;
    let file = folder.path().join("module.wasm");
    let length = download::download(&remote, &file, Options { limit, progress: false }).await?;
    let memory = ceiling.reserve(usize::try_from(length).unwrap_or(usize::MAX))?;
    let bytes = tokio::fs::read(&file).await.context("cannot read the download")?;
    Ok(Bytes::from_owner(Held { bytes, _memory: memory }))
}

/// Whether the disk was full.
fn is_full(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kinds.into_iter().any(|kind| matches!(kind, StorageFull | QuotaExceeded | FileTooLarge))
}

/// Bytes with the memory that is reserved for them.
struct Held {
    bytes: Vec<u8>,
    _memory: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal::invalid(cut(message))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosting(words: &[&str], private: &[&Path]) -> Hosting {
        let table = crate::config::program().table;
        let parsed = parse(&table, words.iter().map(OsString::from), |_| None).unwrap();
        let private = Private::new(private.iter().map(|path| path.to_path_buf()));
        Hosting::new(table, &parsed, private, 1 << 20, Ceiling::default())
    }

    fn spec(args: &[&str]) -> Spec {
        let args = [""].iter().chain(args).map(|word| (*word).to_owned()).collect();
        Spec { args, ..Spec::default() }
    }

    fn refused(hosting: &Hosting, args: &[&str]) -> String {
        hosting
            .demands(&spec(args))
            .and_then(|_| hosting.configure(&spec(args), &Extensions::default()).map(drop))
            .unwrap_err()
            .to_string()
    }

    #[tokio::test]
    async fn the_server_has_the_defaults_and_a_function_the_last_word() {
        let hosting =
            hosting(&["--faas", "--stopAfter=5", "--instances=auto", "--maxMemory=1MiB", "--wasm=own.wasm"], &[]);
        let demands = hosting.demands(&spec(&["-wasm=a.wasm", "-stopAfter=7s"])).unwrap();
        assert_eq!(demands.source, Source::File("a.wasm".into()));
        assert_eq!(demands.sleep.after, Some(std::time::Duration::from_secs(7)));
        let fresh = hosting.demands(&spec(&["-url=http://h/a.wasm", "-instances=fresh", "-stopAfter=0"])).unwrap();
        assert_eq!((fresh.source, fresh.sleep.after, fresh.instances), (Source::Remote, None, None));
        let config = hosting.configure(&spec(&["-wasm=a.wasm"]), &Extensions::default()).unwrap();
        assert_eq!(config.limits.memory, 1 << 20);
        assert!(hosting.demands(&spec(&[])).is_err(), "the module of the server is not that of its functions");
    }

    #[test]
    fn every_limit_of_a_function_is_a_word_and_a_key() {
        use capsule_faas_model::functions_toml::FunctionsFile;
        let hosting = hosting(&["--faas"], &[]);
        let (mut of_functions, mut others) = (0, 0);
        for flag in limits::FLAGS {
            let (word, key) = (format!("-{}=1", flag.name), format!("{} = \"1\"", flag.name));
            let read = hosting.demands(&spec(&["-wasm=a", &word]));
            let file = FunctionsFile::parse(&format!("[[function]]\nname = \"f\"\nwasm = \"a\"\n{key}\n"), &hosting);
            if flag.scope == Scope::Runner {
                assert!(read.is_err() && file.is_err(), "{word}");
                others += 1;
            } else {
                assert!(read.is_ok() && file.unwrap().functions[0].body.spec.args.contains(&word), "{word}");
                of_functions += 1;
            }
        }
        assert!(of_functions >= 15 && others >= 1);
    }

    #[tokio::test]
    async fn a_child_process_has_the_servers_limits_where_it_has_none_of_its_own() {
        let given = ["--faas", "--maxMemory=1MiB", "--instances=2", "--maxInstances=9", "--stopAfter=5", "--dir=/usr"];
        let hosting = hosting(&given, &[]);
        let mut words = hosting.inherited(&spec(&["-wasm=a"]));
        words.sort_unstable();
        assert_eq!(words, ["--instances=2", "--maxMemory=1MiB"]);
        assert_eq!(hosting.inherited(&spec(&["-wasm=a", "-maxMemory=2MiB"])), ["--instances=2"]);
    }

    #[tokio::test]
    async fn no_start_takes_longer_than_the_server_allows() {
        for (server, own, expected) in [
            ("30s", "10s", Some(10)),
            ("30s", "1h", Some(30)),
            ("30s", "none", Some(30)),
            ("none", "10s", Some(10)),
            ("none", "none", None),
        ] {
            let hosting = hosting(&["--faas", &format!("--startTimeout={server}")], &[]);
            let config = hosting
                .configure(&spec(&["-wasm=a", &format!("-startTimeout={own}")]), &Extensions::default())
                .unwrap();
            assert_eq!(config.limits.start_timeout, expected.map(Duration::from_secs), "{server} {own}");
        }
    }

    #[tokio::test]
    async fn nothing_is_open_by_default() {
        let hosting = hosting(&["--faas"], &[]);
        let config = hosting.configure(&spec(&["-wasm=a"]), &Extensions::default()).unwrap();
        assert_eq!(config.capabilities.folders, []);
        assert_eq!(config.capabilities.environment, []);
        assert_eq!(config.capabilities.network, Network { reach: Reach::Public, allowed: Vec::new() });
        let named = Spec { allow_hosts: vec!["localhost:1".into()], ..spec(&["-allowHosts=a.example"]) };
        let config = hosting.configure(&named, &Extensions::default()).unwrap();
        assert_eq!(config.capabilities.network.allowed, ["a.example", "localhost:1"]);
    }

    #[test]
    fn what_is_the_servers_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let (data, shown) = (home.path().join("data/faas"), home.path().canonicalize().unwrap());
        let hosting = hosting(&["--faas"], &[&data]);
        for (args, expected) in [
            (&["-wasm=a", "-passEnv=HOME"][..], "`args[2]`: `-passEnv` configures the server, not a function"),
            (&["-wasm=a", "-dataDir=/x"], "`args[2]`: `-dataDir` configures the server, not a function"),
            (&["-wasm=a", "-help"], "`args[2]`: `-help` configures the server, not a function"),
            (&["-wasm=a", "-callTimeout=soon"], "`--callTimeout`: expected a duration"),
            (&["-wasm=a", "-instances=0"], "`--instances`: expected a number from 1"),
            (&["-wasm=sha256:12"], "`-wasm`: "),
        ] {
            let message = refused(&hosting, args);
            assert!(message.starts_with(expected), "{message}");
        }
        for folder in ["", "data", "data/faas", "data/faas/modules"] {
            let folder = home.path().join(folder);
            let message = refused(&hosting, &["-wasm=a", &format!("-dir={}", folder.display())]);
            assert!(message.contains("holds files of the server"), "{message} {}", shown.display());
        }
        assert!(
            hosting.capabilities(&spec(&["-wasm=a"]), &hosting.read(&spec(&["-wasm=a", "-dir=/usr"])).unwrap()).is_ok()
        );
        let named = format!("--dir={}", home.path().display());
        let lent = super::tests::hosting(&["--faas", &named], &[&data]);
        for args in [&["-wasm=a"][..], &["-wasm=a", &named]] {
            assert!(
                lent.capabilities(&spec(args), &lent.read(&spec(args)).unwrap()).is_ok(),
                "the operator has named it"
            );
        }
        let tokens = home.path().join("tokens");
        std::fs::write(&tokens, "secret-token").unwrap();
        std::fs::create_dir(home.path().join("other")).unwrap();
        let guarded = super::tests::hosting(&["--faas"], &[&tokens]);
        for path in [&tokens, &home.path().join("other/../tokens")] {
            let message = refused(&guarded, &[&format!("-wasm={}", path.display())]);
            assert!(message.ends_with("is a file of the server, not a module"), "{message}");
        }
        let long = format!("-callTimeout={}", "x".repeat(10_000));
        assert!(refused(&hosting, &["-wasm=a", &long]).len() < 600);
    }
}
