//! A real `redis-server` on a free port, which a test can kill and start again on the same port.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::DEADLINE;
use crate::process::{Process, Stream};
use crate::program::Program;
use crate::tls::Certificate;

/// Between asking for a free port and Redis taking it, another process may be faster.
const ATTEMPTS: usize = 10;

/// The server. It keeps nothing on disk, and ends with this value.
pub struct Redis {
    port: u16,
    password: Option<String>,
    tls: Option<Tls>,
    process: Option<Process>,
    folder: tempfile::TempDir,
}

/// A second port, with TLS.
struct Tls {
    port: u16,
    crt: PathBuf,
    key: PathBuf,
}

/// What Redis answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status, such as `OK`.
    Status(String),
    /// An error.
    Error(String),
    /// A number.
    Integer(i64),
    /// A value; `None` when there is none.
    Bulk(Option<Vec<u8>>),
    /// Several.
    List(Vec<Reply>),
}

impl Redis {
    /// Starts one without a password.
    ///
    /// # Errors
    /// Redis is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        Self::launch(None, None)
    }

    /// Starts one that wants a password.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn with_password(password: &str) -> anyhow::Result<Self> {
        Self::launch(Some(password.to_owned()), None)
    }

    /// Starts one that also speaks TLS, on another port and with this certificate; see [`Redis::tls_url`].
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn with_tls(certificate: &Certificate) -> anyhow::Result<Self> {
        Self::launch(None, Some(Tls { port: 0, crt: certificate.crt(), key: certificate.key() }))
    }

    fn launch(password: Option<String>, tls: Option<Tls>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut redis = Self { port: 0, password, tls, process: None, folder };
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            let free = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
            let [plain, tls] = free.map(|listener| listener.and_then(|listener| listener.local_addr()));
            redis.port = plain?.port();
            if let Some(own) = &mut redis.tls {
                own.port = tls?.port();
            }
            outcome = redis.restart();
            match &outcome {
                Err(error) if format!("{error:#}").contains("Address already in use") => {}
                _ => break,
            }
        }
        outcome.map(|()| redis)
    }

    /// Starts it again on its port, empty, after [`Redis::kill`].
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let mut program = Program::tool("redis-server", "redis-server")?
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "notice", "--dir"])
            .arg(self.folder.path())
            .args(["--port", &self.port.to_string()]);
        if let Some(password) = &self.password {
            program = program.args(["--requirepass", password]);
        }
        if let Some(tls) = &self.tls {
            program = program.args(["--tls-auth-clients", "no", "--tls-port", &tls.port.to_string()]);
            let files = [("--tls-cert-file", &tls.crt), ("--tls-key-file", &tls.key), ("--tls-ca-cert-file", &tls.crt)];
            program = files.into_iter().fold(program, |program, (flag, file)| program.arg(flag).arg(file));
        }
        let process = program.start()?;
        process.wait_for_line(Stream::Stdout, "eady to accept connections")?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it, as a crash would; its port refuses connections afterwards.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The `redis://` URL of a database, with the password if there is one.
    pub fn url(&self, database: u32) -> String {
        let auth = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{auth}{}/{database}", self.address())
    }

    /// The `rediss://` URL of a database of [`Redis::with_tls`], by the name that the certificate is for.
    ///
    /// # Panics
    /// It speaks no TLS.
    pub fn tls_url(&self, database: u32) -> String {
        let tls = self.tls.as_ref().expect("it was started with TLS");
        format!("rediss://localhost:{}/{database}", tls.port)
    }

    /// Sends one command to a database, as a client beside the one under test.
    ///
    /// # Errors
    /// It is away, or does not speak Redis.
    pub fn command(&self, database: u32, words: &[&[u8]]) -> anyhow::Result<Reply> {
        let stream = TcpStream::connect_timeout(&self.address(), DEADLINE).context("Redis is away")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut stream = BufReader::new(stream);
        if let Some(password) = &self.password {
            exchange(&mut stream, &[b"AUTH", password.as_bytes()])?;
        }
        exchange(&mut stream, &[b"SELECT", database.to_string().as_bytes()])?;
        exchange(&mut stream, words)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`Redis::command`], or it is not a text.
    pub fn get(&self, database: u32, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        match self.command(database, &[b"GET", key.as_bytes()])? {
            Reply::Bulk(value) => Ok(value),
            other => bail!("GET {key}: {other:?}"),
        }
    }
}

fn exchange(stream: &mut BufReader<TcpStream>, words: &[&[u8]]) -> anyhow::Result<Reply> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    stream.get_mut().write_all(&request)?;
    read_reply(stream)
}

fn read_reply(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").context("Redis closed the connection")?;
    let (kind, rest) = line.split_at_checked(1).context("Redis sent an empty line")?;
    let number = || rest.parse::<i64>().with_context(|| format!("expected a number, found `{line}`"));
    Ok(match kind {
        "+" => Reply::Status(rest.to_owned()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Integer(number()?),
        "$" => Reply::Bulk(match usize::try_from(number()?) {
            Err(_) => None,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Some(bytes)
            }
        }),
        "*" => Reply::List((0..number()?).map(|_| read_reply(stream)).collect::<anyhow::Result<_>>()?),
        _ => bail!("expected a reply, found `{line}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_databases_and_a_crash() {
        let mut redis = Redis::start().unwrap();
        let value = b"\0\xff\r\n";
        assert_eq!(redis.command(2, &[b"SET", b"k", value]).unwrap(), Reply::Status("OK".into()));
        assert_eq!(redis.get(2, "k").unwrap().as_deref(), Some(&value[..]));
        assert_eq!(redis.get(0, "k").unwrap(), None);
        assert_eq!(redis.command(2, &[b"DEL", b"k"]).unwrap(), Reply::Integer(1));
        assert_eq!(redis.command(0, &[b"KEYS", b"*"]).unwrap(), Reply::List(vec![]));
        assert_eq!(redis.url(3), format!("redis://127.0.0.1:{}/3", redis.port()));

        let port = redis.port();
        redis.kill().unwrap();
        assert!(redis.get(0, "k").is_err());
        redis.restart().unwrap();
        assert_eq!((redis.port(), redis.get(2, "k").unwrap()), (port, None));
    }

    #[test]
    fn a_password_is_wanted() {
        let redis = Redis::with_password("hunter2").unwrap();
        assert_eq!(redis.command(0, &[b"PING"]).unwrap(), Reply::Status("PONG".into()));
        let mut stream = BufReader::new(TcpStream::connect(redis.address()).unwrap());
        let refused = exchange(&mut stream, &[b"PING"]).unwrap();
        assert!(matches!(refused, Reply::Error(text) if text.starts_with("NOAUTH")));
        assert_eq!(redis.url(0), format!("redis://:hunter2@127.0.0.1:{}/0", redis.port()));
    }
}
