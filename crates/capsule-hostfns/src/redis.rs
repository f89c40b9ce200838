//! `hostRedisSet`, `hostRedisGet`, `hostRedisDel` and `hostRedisKeys`.
//!
//! A function has one connection, opened at its first use and shared by its instances; commands of several calls travel on
//! it at the same time. When the server goes away, the command that finds out opens a new connection and is sent once more:
//! all four commands may run twice. Connecting and waiting for an answer have limits, so that a server that is away or slow
//! is an F.

mod bounded;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use capsule_abi::keys;
use capsule_hdk::{HostContext, HostFunction, HostFunctions, Network, Reply};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, Value,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use bounded::Bounded;

use crate::addresses::{AddressPolicy, LOOKUPS};

/// What `hostRedisGet` answers for a key that is not there: the text of the reference's client.
pub const NIL: &str = "redis: nil";

/// Longest time to connect, the greeting included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest time to wait for an answer.
const RESPONSE_LIMIT: Duration = Duration::from_secs(10);
/// A guest learns that Redis is slow this long before its call ends, so that it can still answer.
const LAST_WORDS: Duration = Duration::from_millis(100);
const DEFAULT_PORT: u16 = 6379;

/// Adds the functions of this file.
pub fn add(host: &mut HostFunctions) {
    host.add(HostFunction::waiting("hostRedisSet", Reply::Framed, |context, [key, value]| async move {
        let redis = redis(&context)?;
        let command = redis::cmd("SET").arg(redis.key(&key)).arg(value).to_owned();
        redis.run(&command, &context).await?;
        Ok(key)
    }));
    host.add(HostFunction::waiting("hostRedisGet", Reply::Framed, |context, [key]| async move {
        let redis = redis(&context)?;
        let command = redis::cmd("GET").arg(redis.key(&key)).to_owned();
        match redis.run(&command, &context).await? {
            Value::Nil => Err(NIL.into()),
            value => bytes(value),
        }
    }));
    host.add(HostFunction::waiting("hostRedisDel", Reply::Framed, |context, [key]| async move {
        let redis = redis(&context)?;
        let command = redis::cmd("DEL").arg(redis.key(&key)).to_owned();
        redis.run(&command, &context).await?;
        Ok(key)
    }));
    host.add(HostFunction::waiting("hostRedisKeys", Reply::Framed, |context, [pattern]| async move {
        let redis = redis(&context)?;
        let command = redis::cmd("KEYS").arg(redis.pattern(&pattern)).to_owned();
        let Value::Array(found) = redis.run(&command, &context).await? else { return Err(strange()) };
        let found = found.into_iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
        let mut document = Vec::new();
        keys::write(&mut document, found.iter().map(|key| key.strip_prefix(redis.prefix.as_bytes()).unwrap_or(key)));
        Ok(document)
    }));
}

fn redis(context: &HostContext) -> Result<Arc<Redis>, String> {
    context.extension::<Redis>().ok_or_else(|| "the runner gave this function no Redis".into())
}

fn bytes(value: Value) -> Result<Vec<u8>, String> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(strange()),
    }
}

fn strange() -> String {
    "Redis answered something that does not fit the command".into()
}

/// Where a Redis server is and how to sign in. `Debug` shows no password.
#[derive(Clone)]
pub struct RedisSettings {
    info: ConnectionInfo,
}

impl RedisSettings {
    /// From `REDIS_URI` (`redis://` or `rediss://`), or else `REDIS_ADDR` (default `localhost:6379`), `REDIS_PWD` and
    /// `REDIS_DEFAULTDB` (default 0). An empty variable is the same as none.
    ///
    /// # Errors
    /// A text that names the variable; it never holds the variable's value, which may hold a password.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<RedisSettings, String> {
        let variable = |name| lookup(name).filter(|value| !value.is_empty());
        if let Some(uri) = variable("REDIS_URI") {
            return RedisSettings::from_uri(&uri).map_err(|what| format!("`REDIS_URI` {what}"));
        }
        let address = variable("REDIS_ADDR").unwrap_or_else(|| "localhost".into());
        let address = host_and_port(&address)
            .ok_or_else(|| "`REDIS_ADDR` is not an address such as `localhost:6379`".to_owned())?;
        let info = address.into_connection_info().map_err(|_| "`REDIS_ADDR` cannot be used".to_owned())?;
        let mut server = info.redis_settings().clone();
        if let Some(password) = variable("REDIS_PWD") {
            server = server.set_password(password);
        }
        if let Some(database) = variable("REDIS_DEFAULTDB") {
            let number = database.trim().parse::<u32>();
            let number = number.map_err(|_| "`REDIS_DEFAULTDB` is not the number of a database".to_owned())?;
            server = server.set_db(number.into());
        }
        Ok(RedisSettings { info: info.set_redis_settings(server) })
    }

    /// From a URL such as `rediss://:password@redis.example.com:6380/2`.
    ///
    /// # Errors
    /// A text that follows the name of what was read; it does not hold the URL.
    pub fn from_uri(uri: &str) -> Result<RedisSettings, String> {
        // Others, such as sockets of the file system, are no business of a guest.
        if !uri.starts_with("redis://") && !uri.starts_with("rediss://") {
            return Err("is not a `redis://` or `rediss://` URL".into());
        }
        let info = uri.into_connection_info().map_err(|_| "is not a valid `redis://` or `rediss://` URL".to_owned())?;
        Ok(RedisSettings { info })
    }

    fn port(&self) -> u16 {
        match self.info.addr() {
            ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. } => *port,
            _ => 0,
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RedisSettings({})", self.info.addr())
    }
}

/// `host:port`, `host`, `[v6]:port` or an IPv6 address.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (address, DEFAULT_PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@'))
        .then(|| (host.to_owned(), port))
}

/// A Redis server for one function or for several.
pub struct Redis {
    /// Settings that cannot be used are an F of each call, not a reason to refuse the function.
    settings: Result<RedisSettings, String>,
    prefix: String,
    policy: AddressPolicy,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    link: MultiplexedConnection,
    /// To tell a broken connection from the one that somebody else has already put in its place.
    made: Instant,
}

impl Redis {
    /// A server that the operator gave: no address policy applies to it. `prefix` stands in front of every key and is not
    /// shown to the guest. Nothing is connected yet.
    pub fn operator(settings: Result<RedisSettings, String>, prefix: impl Into<String>) -> Redis {
        Redis::new(settings, prefix.into(), AddressPolicy::operator())
    }

    /// A server that the function's own environment names, within what `network` allows.
    pub fn for_function(
        settings: Result<RedisSettings, String>,
        prefix: impl Into<String>,
        network: &Network,
    ) -> Redis {
        let port = settings.as_ref().map_or(0, RedisSettings::port);
        Redis::new(settings, prefix.into(), AddressPolicy::new(network, port))
    }

    fn new(settings: Result<RedisSettings, String>, prefix: String, policy: AddressPolicy) -> Redis {
        Redis { settings, prefix, policy, connection: Mutex::default() }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), key].concat()
    }

    /// The guest's pattern behind the prefix, which stands for itself.
    fn pattern(&self, pattern: &[u8]) -> Vec<u8> {
        let escaped = self.prefix.bytes().flat_map(|byte| match byte {
            b'*' | b'?' | b'[' | b']' | b'^' | b'-' | b'\\' => vec![b'\\', byte],
            byte => vec![byte],
        });
        escaped.chain(pattern.iter().copied()).collect()
    }

    /// Sends a command, on a new connection when the old one turns out to be broken.
    async fn run(&self, command: &Cmd, context: &HostContext) -> Result<Value, String> {
        let settings = self.settings.as_ref().map_err(Clone::clone)?;
        let latest = Instant::now() + CONNECT_LIMIT + RESPONSE_LIMIT;
        let end = context.deadline().map(|deadline| deadline.checked_sub(LAST_WORDS).unwrap_or(deadline));
        let latest = end.map_or(latest, |end| latest.min(end));
        let work = LOOKUPS.scope(context.blocking().clone(), async {
            let most = context.limits().host_memory;
            let first = self.connected(settings, None, most).await?;
            match first.clone().link.send_packed_command(command).await {
                Err(error) if broken(&error) => {
                    let second = self.connected(settings, Some(&first), most).await?;
                    second.clone().link.send_packed_command(command).await
                }
                result => result,
            }
        });
        let answer = tokio::time::timeout_at(latest, Box::pin(work)).await;
        match answer {
            Ok(Ok(Value::ServerError(error))) => Err(self.text(settings, &error.into())),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if !error.is_timeout() => Err(self.text(settings, &error)),
            Ok(Err(_)) | Err(_) => {
                // A server that is cut off does not close its connection: the next command starts with a new one.
                if let Ok(mut connection) = self.connection.try_lock() {
                    *connection = None;
                }
                Err(format!("Redis at {} does not answer in time", settings.info.addr()))
            }
        }
    }

    /// The connection, made now if there is none or only the `broken` one. Others wait for it meanwhile. An answer has at most
    /// `most` bytes.
    async fn connected(
        &self,
        settings: &RedisSettings,
        broken: Option<&Connection>,
        most: usize,
    ) -> Result<Connection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(known) = &*connection
            && broken.is_none_or(|broken| broken.made != known.made)
        {
            return Ok(known.clone());
        }
        *connection = None;
        // Somebody else's provider in the same process serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The connection is made here: the client's own reads answers of any size.
        let made = tokio::time::timeout(CONNECT_LIMIT, self.connect(settings, most)).await;
        let link = made.map_err(|_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        let made = Connection { link, made: Instant::now() };
        *connection = Some(made.clone());
        Ok(made)
    }

    async fn connect(&self, settings: &RedisSettings, most: usize) -> Result<MultiplexedConnection, RedisError> {
        let (host, port) = match settings.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host, *port),
            _ => return Err((ErrorKind::InvalidClientConfig, "it is not an address of the network").into()),
        };
        let addresses = self.policy.resolve(host, port).await?;
        let stream = TcpStream::connect(&*addresses).await?;
        stream.set_nodelay(true)?;
        let ConnectionAddr::TcpTls { insecure, .. } = settings.info.addr() else {
            return link(settings, Bounded::new(stream, most)).await;
        };
        if *insecure {
            return Err(
                (ErrorKind::InvalidClientConfig, "a server without a valid certificate is not supported").into()
            );
        }
        let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
        let tls = TlsConnector::from(tls().await?).connect(name, stream).await?;
        link(settings, Bounded::new(tls, most)).await
    }

    /// What a guest learns of an error. Servers do not repeat passwords; should one, it is taken out.
    fn text(&self, settings: &RedisSettings, error: &RedisError) -> String {
        let text = match error.code() {
            // As the server says it, and as the reference's client passes it on.
            Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
            None => format!("Redis at {}: {error}", settings.info.addr()),
        };
        match settings.info.redis_settings().password() {
            Some(password) if !password.is_empty() => text.replace(password, "***"),
            _ => text,
        }
    }
}

/// Whether the connection is gone and the same command may succeed on a new one.
fn broken(error: &RedisError) -> bool {
    error.is_connection_dropped() || (error.is_unrecoverable_error() && !error.is_timeout())
}

/// Signs in. The connection is read and written as long as somebody has it.
async fn link<S>(settings: &RedisSettings, stream: Bounded<S>) -> Result<MultiplexedConnection, RedisError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_response_timeout(Some(RESPONSE_LIMIT));
    // Version 2 of the protocol is what the size of an answer is read from.
    let server = settings.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    let (link, driver) = MultiplexedConnection::new_with_config(&server, stream, config).await?;
    tokio::spawn(driver);
    Ok(link)
}

/// TLS with the certificates that the machine trusts. Reading them takes a while.
async fn tls() -> Result<Arc<rustls::ClientConfig>, RedisError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    });
    Ok(read.await.map_err(std::io::Error::other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<RedisSettings, String> {
        RedisSettings::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_say_where_the_server_is() {
        for (variables, address, password, database) in [
            (&[][..], "localhost:6379", None, 0),
            (&[("REDIS_ADDR", ""), ("REDIS_PWD", "")], "localhost:6379", None, 0),
            (&[("REDIS_ADDR", "h:1"), ("REDIS_PWD", "p"), ("REDIS_DEFAULTDB", "3")], "h:1", Some("p"), 3),
            (&[("REDIS_ADDR", "h")], "h:6379", None, 0),
            (&[("REDIS_ADDR", "::1")], "::1:6379", None, 0),
            (&[("REDIS_ADDR", "[::1]:7")], "::1:7", None, 0),
            (&[("REDIS_URI", "redis://:s%40e@h:2/4"), ("REDIS_ADDR", "x")], "h:2", Some("s@e"), 4),
            (&[("REDIS_URI", "rediss://user:p@h")], "h:6379", Some("p"), 0),
        ] {
            let settings = settings(variables).unwrap();
            assert_eq!(settings.info.addr().to_string(), address);
            assert_eq!(settings.info.redis_settings().password(), password);
            assert_eq!(settings.info.redis_settings().db(), database);
            assert_eq!(format!("{settings:?}"), format!("RedisSettings({address})"));
        }
    }

    #[test]
    fn a_wrong_variable_is_named_and_not_shown() {
        for (name, value) in [
            ("REDIS_URI", "http://:secret@h"),
            ("REDIS_URI", "unix:///secret"),
            ("REDIS_URI", "redis://:secret@h/x"),
            ("REDIS_URI", "redis://:secret@h:99999"),
            ("REDIS_URI", "redis://"),
            ("REDIS_ADDR", "h:secret"),
            ("REDIS_ADDR", ":1"),
            ("REDIS_DEFAULTDB", "secret"),
            ("REDIS_DEFAULTDB", "-1"),
        ] {
            let error = settings(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("`{name}`")), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_prefix_stands_for_itself() {
        let redis = Redis::operator(settings(&[]), "t*[1]:");
        assert_eq!(redis.key(b"k"), b"t*[1]:k");
        assert_eq!(redis.pattern(b"*"), b"t\\*\\[1\\]:*");
    }
}
