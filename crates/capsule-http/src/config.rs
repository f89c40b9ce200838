//! The flags of `capsule-http`, and their values as types.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use capsule_cmd::capabilities::{self, Capabilities, cache_dir};
use capsule_cmd::exit;
use capsule_cmd::flags::{Flag, Scope, Table, Type};
use capsule_cmd::help::{Example, Program, Variable};
use capsule_cmd::limits::{self, Limits};
use capsule_cmd::logging;
use capsule_cmd::module_source::{self, ModuleSource};
use capsule_cmd::parse::Parsed;
use capsule_cmd::usage::{Problem, Problems, UsageError};
use capsule_runner::folders::Private;

use crate::connections::limits::{self as connection_limits, ConnectionLimits};
use crate::faas;
use crate::faas::config::{FaasSettings, Parent};
use crate::front::Front;

const SERVER: &str = "Server";

/// A time that is switched off: longer than a server lives, short enough to be added to a clock.
const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const HTTP_PORT: Flag =
    Flag::value("httpPort", "PORT", Type::Port, "Port to listen on. Without it a free one is chosen and logged.")
        .default("0")
        .default_note("a free port")
        .group(SERVER);
const HTTP_HOST: Flag = Flag::value("httpHost", "ADDRESS", Type::Checked(check_address), "Address to listen on.")
    .default("0.0.0.0")
    .group(SERVER);
pub(crate) const STOP_AFTER: Flag = Flag::value(
    "stopAfter",
    "DURATION",
    Type::Duration,
    "Stop the server when nobody called the module for this long. With --faas: put a function to sleep when nobody \
     called it for this long, and wake it with the next call.",
)
.scope(Scope::Both)
.group(SERVER);
const DRAIN_TIMEOUT: Flag = Flag::value(
    "drainTimeout",
    "DURATION",
    Type::Duration,
    "When the server is asked to stop, calls that run have this long to finish.",
)
.default("5s")
.group(SERVER);
const CRT: Flag =
    Flag::value("crt", "FILE", Type::Path, "Serve HTTPS with this certificate chain (PEM). Goes with --key.")
        .group(SERVER);
const KEY: Flag = Flag::value("key", "FILE", Type::Path, "Private key of the certificate (PEM).").group(SERVER);
const ACCESS_LOG: Flag =
    Flag::switch("accessLog", "Log a line for every request: method, path, status, time, request id.").group(SERVER);
const TRUSTED_PROXIES: Flag = Flag::value(
    "trustedProxies",
    "A,B",
    Type::Checked(check_proxies),
    "Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto headers are believed.",
)
.group(SERVER);

/// The program with its flags.
pub(crate) fn program() -> Program {
    let table = Table::new(
        module_source::FLAGS
            .iter()
            .chain(&[HTTP_PORT, HTTP_HOST, CRT, KEY, STOP_AFTER, DRAIN_TIMEOUT, TRUSTED_PROXIES, ACCESS_LOG])
            .chain(connection_limits::FLAGS)
            .chain(faas::config::FLAGS)
            .chain(limits::FLAGS)
            .chain(capabilities::FLAGS)
            .chain(&[capabilities::CACHE_DIR])
            .chain(logging::FLAGS)
            .copied(),
    );
    Program {
        name: "capsule-http",
        version: env!("CARGO_PKG_VERSION"),
        about: "Serves a WebAssembly module over HTTP: every request is a call of its `callHandleHTTP`.",
        usage: &["[FLAGS] MODULE", "--wasm=MODULE [FLAGS]", "--faas [FLAGS]"],
        examples: &[
            Example {
                what: "Serve a function on port 8080",
                line: "capsule-http functions/hello/hello.wasm --httpPort=8080",
            },
            Example {
                what: "Download it first, serve it with four instances, allow each call two seconds",
                line: "capsule-http --url=https://example.com/f.wasm --wasm=f.wasm --instances=4 --callTimeout=2s",
            },
            Example {
                what: "HTTPS, only on this machine",
                line: "capsule-http f.wasm --httpHost=127.0.0.1 --httpPort=8443 --crt=server.crt --key=server.key",
            },
            Example {
                what: "Host many functions, which `capsctl` starts",
                line: "CAPSULE_FAAS_TOKEN=ILOVEPANDA capsule-http --faas --httpPort=8080",
            },
        ],
        variables: &[
            faas::config::VARIABLES[0],
            faas::config::VARIABLES[1],
            faas::config::VARIABLES[2],
            Variable { name: "REDIS_URI", help: "Redis for the module's host functions: redis:// or rediss://." },
            Variable { name: "REDIS_ADDR", help: "Without REDIS_URI: host and port of Redis; localhost:6379." },
            Variable { name: "REDIS_PWD", help: "Password for REDIS_ADDR." },
            Variable { name: "REDIS_DEFAULTDB", help: "Number of the database for REDIS_ADDR; 0." },
            Variable {
                name: "NGROK_AUTHTOKEN",
                help: "Make the server reachable through an ngrok tunnel with this token (also NGROK_AUTH_TOKEN).",
            },
            Variable { name: "NGROK_DOMAIN", help: "A reserved domain for the tunnel." },
            Variable { name: "SSL_CERT_FILE", help: "Certificates to trust in outbound connections (PEM)." },
        ],
        exit_codes: exit::CODES,
        table,
    }
}

/// What the command line asks for.
pub(crate) struct Config {
    /// None only with `--faas`.
    pub(crate) source: Option<ModuleSource>,
    pub(crate) faas: Option<FaasSettings>,
    pub(crate) parent: Option<Parent>,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) stop_after: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    pub(crate) connections: ConnectionLimits,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) access_log: bool,
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
}

/// Files of a certificate.
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Config {
    /// Checks everything, then fails with all problems at once.
    pub(crate) fn read(parsed: &Parsed) -> Result<Config, UsageError> {
        let mut problems = Problems::new();
        let (source, others) = ModuleSource::read(parsed, &mut problems);
        let port = parsed.port(&HTTP_PORT).unwrap_or(0);
        let faas = FaasSettings::read(parsed, port, |name| std::env::var_os(name), &mut problems);
        if source.is_none() && faas.is_none() && problems.is_empty() {
            let problem = Problem::new("no module is named");
            problems.push(problem.hint("`capsule-http MODULE` or `capsule-http --wasm=MODULE`"));
        }
        for other in others {
            problems.push(Problem::new(format!("unexpected word `{other}`: one server serves one module")));
        }
        let tls = match (parsed.text(&CRT), parsed.text(&KEY)) {
            (Some(certificate), Some(key)) => Some(Tls { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            (Some(_), None) => {
                problems.push(Problem::new("`--crt` is given without `--key`"));
                None
            }
            (None, Some(_)) => {
                problems.push(Problem::new("`--key` is given without `--crt`"));
                None
            }
        };
        let host = parsed.text(&HTTP_HOST).and_then(|text| text.parse().ok()).unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let capabilities = Capabilities::read(parsed, &mut problems);
        let trusted = parsed.text(&TRUSTED_PROXIES).unwrap_or_default();
        let config = Config {
            source,
            faas,
            parent: Parent::read(parsed),
            address: SocketAddr::new(host, port),
            tls,
            stop_after: parsed.duration(&STOP_AFTER).map(|limit| limit.min(NO_LIMIT)),
            drain_timeout: parsed.duration(&DRAIN_TIMEOUT).unwrap_or(NO_LIMIT).min(NO_LIMIT),
            connections: ConnectionLimits::read(parsed),
            trusted_proxies: trusted.split(',').filter_map(|text| text.trim().parse().ok()).collect(),
            access_log: parsed.switch(&ACCESS_LOG),
            limits: Limits::read(parsed),
            capabilities,
        };
        problems.finish()?;
        Ok(config)
    }

    /// What is the server's own, and no module's unless the operator has named it.
    pub(crate) fn private(&self, parsed: &Parsed, faas: Option<&FaasSettings>) -> Private {
        let tls = self.tls.iter().flat_map(|tls| [tls.certificate.clone(), tls.key.clone()]);
        let faas = faas.into_iter().flat_map(FaasSettings::private);
        Private::new(cache_dir(parsed, |name| std::env::var_os(name)).into_iter().chain(tls).chain(faas))
    }

    /// Bytes of a module.
    pub(crate) fn max_module(&self) -> u64 {
        self.limits.max_module.unwrap_or(u64::MAX)
    }

    /// What the server does with every request.
    pub(crate) fn front(&self, address: SocketAddr) -> Front {
        Front {
            max_body: self.limits.max_body.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX),
            access_log: self.access_log,
            trusted_proxies: self.trusted_proxies.clone(),
            secure: self.tls.is_some(),
            address,
            is_child: self.parent.is_some(),
        }
    }
}

fn check_address(text: &str) -> Result<(), String> {
    let parsed: Result<IpAddr, _> = text.parse();
    parsed.map(drop).map_err(|_| format!("expected an IP address such as `127.0.0.1` or `::`, found `{text}`"))
}

fn check_proxies(text: &str) -> Result<(), String> {
    text.split(',').map(str::trim).try_for_each(check_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_mistakes() {
        assert_eq!(program().table.mistakes(), Vec::<String>::new());
    }
}
