//! A scripted HTTP server for what modules and programs call: it answers by path, records what it was asked, and holds
//! an answer back until a test opens its gate.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};

use crate::DEADLINE;
use crate::client::{read_body, read_headers};

/// A request that the stub received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values, in order, as sent.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the stub answers.
#[derive(Debug, Clone)]
pub struct Answer {
    wire: Vec<u8>,
    gate: Option<Gate>,
    /// More bytes, each part behind a gate of its own.
    rest: Vec<(Gate, Vec<u8>)>,
}

impl Answer {
    /// An answer with this content type and body.
    pub fn new(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with_headers(status, &[("Content-Type", content_type)], body)
    }

    /// An answer with these headers; `Content-Length` and `Connection: close` are added.
    pub fn with_headers(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status} Stub\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()));
        let mut wire = head.into_bytes();
        wire.extend_from_slice(body);
        Self::raw(wire)
    }

    /// These bytes, whatever they are; then the connection is closed.
    pub fn raw(wire: impl Into<Vec<u8>>) -> Self {
        Self { wire: wire.into(), gate: None, rest: Vec::new() }
    }

    /// Holds it back until the gate is open. The request is recorded before that.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Sends these bytes too, when all before them are sent and the gate is open.
    #[must_use]
    pub fn then(mut self, gate: &Gate, wire: impl Into<Vec<u8>>) -> Self {
        self.rest.push((gate.clone(), wire.into()));
        self
    }
}

/// Closed until a test opens it, once and for all.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets all pass.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_timeout_while(guard, DEADLINE, |open| !*open));
    }
}

/// The stub, on a free port of 127.0.0.1.
pub struct HttpStub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The last answer of a path is given from then on.
    answers: HashMap<String, VecDeque<Answer>>,
    requests: Vec<Request>,
    stopped: bool,
}

impl HttpStub {
    /// Starts it. A path that nobody described is answered with 404.
    ///
    /// # Errors
    /// No port is free.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_on(0)
    }

    /// Starts it on this port, for modules that know no other.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start_on(port: u16) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port} of 127.0.0.1 is not free"))?;
        let stub = Self { address: listener.local_addr()?, shared: Arc::default() };
        let shared = Arc::clone(&stub.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().stopped {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&shared);
                // A client that goes away ends its own connection only.
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Ok(stub)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Describes the answer to a path, whatever the query and the method.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.answer_in_turn(path, [answer]);
    }

    /// Describes the answers to the first, second and later requests of a path; the last one holds from then on.
    pub fn answer_in_turn(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.shared.lock().answers.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Waits until it was asked this often, and answers the requests.
    ///
    /// # Errors
    /// The time ran out.
    pub fn wait_for_requests(&self, count: usize) -> anyhow::Result<Vec<Request>> {
        let guard = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(guard, DEADLINE, |state| state.requests.len() < count);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.requests.len() < count {
            bail!("expected {count} requests, found {:?}", state.requests);
        }
        Ok(state.requests.clone())
    }
}

impl Drop for HttpStub {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut reader = BufReader::new(stream);
    let request = read_request(&mut reader)?;
    let path = request.target.split('?').next().unwrap_or_default().to_owned();
    let answer = {
        let mut state = shared.lock();
        state.requests.push(request);
        shared.changed.notify_all();
        match state.answers.get_mut(&path) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
    };
    let answer = answer.unwrap_or_else(|| Answer::new(404, "text/plain", format!("the stub has no `{path}`")));
    if let Some(gate) = &answer.gate {
        gate.wait();
    }
    let mut stream = reader.into_inner();
    stream.write_all(&answer.wire)?;
    for (gate, wire) in &answer.rest {
        gate.wait();
        stream.write_all(wire)?;
    }
    stream.shutdown(Shutdown::Write)?;
    // Until the client closes: unread input would turn the close into a reset.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

fn read_request(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Request> {
    let mut first = String::new();
    io::BufRead::read_line(stream, &mut first)?;
    let mut words = first.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { bail!("no request: `{first}`") };
    let headers = read_headers(stream)?;
    if headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("expect") && value.starts_with("100")) {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = read_body(stream, &headers)?.unwrap_or_default();
    Ok(Request { method: method.to_owned(), target: target.to_owned(), headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Connection;

    #[test]
    fn answers_by_path_and_records() {
        let stub = HttpStub::start().unwrap();
        stub.answer("/json", Answer::new(201, "application/json", "{}"));
        let mut connection = Connection::open(stub.address()).unwrap();
        let response = connection.send("PUT", "/json?a=1", &[("X-Name", "Bob")], b"\xffbody").unwrap();
        assert_eq!((response.status, response.text().as_str()), (201, "{}"));
        assert_eq!(response.header("content-type"), Some("application/json"));
        let request = &stub.requests()[0];
        assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/json?a=1"));
        assert_eq!((request.header("x-name"), request.body.as_slice()), (Some("Bob"), &b"\xffbody"[..]));

        let unknown = Connection::open(stub.address()).unwrap().send("GET", "/no", &[], b"").unwrap();
        assert_eq!((unknown.status, unknown.text().as_str()), (404, "the stub has no `/no`"));
    }

    #[test]
    fn a_gate_holds_an_answer_back() {
        let stub = HttpStub::start().unwrap();
        let gate = Gate::new();
        stub.answer("/slow", Answer::new(200, "text/plain", "late").behind(&gate));
        let address = stub.address();
        let client = std::thread::spawn(move || Connection::open(address).unwrap().send("GET", "/slow", &[], b""));
        assert_eq!(stub.wait_for_requests(1).unwrap()[0].target, "/slow");
        assert!(!client.is_finished());
        gate.open();
        assert_eq!(client.join().unwrap().unwrap().text(), "late");
    }

    #[test]
    fn answers_come_in_turn() {
        let stub = HttpStub::start().unwrap();
        stub.answer_in_turn("/", ["one", "two"].map(|text| Answer::new(200, "text/plain", text)));
        for expected in ["one", "two", "two"] {
            let response = Connection::open(stub.address()).unwrap().send("GET", "/", &[], b"").unwrap();
            assert_eq!(response.text(), expected);
        }
    }

    #[test]
    fn an_answer_comes_in_parts() {
        let (stub, gate) = (HttpStub::start().unwrap(), Gate::new());
        let head = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        stub.answer("/parts", head.then(&gate, "half"));
        let stream = TcpStream::connect(stub.address()).unwrap();
        (&stream).write_all(b"GET /parts HTTP/1.1\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        io::BufRead::read_line(&mut reader, &mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        gate.open();
        let headers = read_headers(&mut reader).unwrap();
        assert_eq!(read_body(&mut reader, &headers).unwrap().unwrap(), b"half");
    }

    #[test]
    fn raw_answers_are_sent_as_they_are() {
        let stub = HttpStub::start().unwrap();
        stub.answer("/half", Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"));
        let error = Connection::open(stub.address()).unwrap().send("GET", "/half", &[], b"").unwrap_err();
        assert_eq!(error.to_string(), "the connection ended after 4 of 9 bytes");
    }
}
