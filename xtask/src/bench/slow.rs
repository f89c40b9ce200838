//! A server that takes its time: it answers each request after a fixed delay, thousands at once, on one thread.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

/// What it answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nslow";
/// Connections that may wait to be accepted; the system takes less where it permits less.
const BACKLOG: i32 = 4096;
/// What events of the listener carry; those of a connection have its number.
const LISTENER: u64 = u64::MAX;

/// The server. Its thread ends with the process.
pub(super) struct Slow {
    address: SocketAddr,
    /// The most requests that waited at the same time.
    peak: Arc<AtomicUsize>,
}

impl Slow {
    /// Listens on a free port of 127.0.0.1.
    pub(super) fn start(delay: Duration) -> Result<Slow> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let slow = Slow { address: listener.local_addr()?, peak: Arc::default() };
        let state = State {
            listener,
            epoll,
            delay,
            connections: HashMap::new(),
            next: 0,
            due: VecDeque::new(),
            peak: Arc::clone(&slow.peak),
        };
        std::thread::spawn(move || state.serve());
        Ok(slow)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The most requests that waited at the same time since this was asked for last.
    pub(super) fn peak(&self) -> usize {
        self.peak.swap(0, Ordering::Relaxed)
    }
}

struct State {
    listener: TcpListener,
    epoll: OwnedFd,
    delay: Duration,
    /// With what came of a request.
    connections: HashMap<u64, (TcpStream, Vec<u8>)>,
    next: u64,
    /// Answers in the order of their times: the delay is the same for all.
    due: VecDeque<(Instant, u64)>,
    peak: Arc<AtomicUsize>,
}

impl State {
    fn serve(mut self) -> Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            let wait = self.due.front().map(|(time, _)| time.saturating_duration_since(Instant::now()));
            let wait = wait.map(Timespec::try_from).transpose()?;
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    number => self.read(number),
                }
            }
            self.peak.fetch_max(self.due.len(), Ordering::Relaxed);
            self.answer();
        }
    }

    fn accept(&mut self) -> Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(self.next), epoll::EventFlags::IN)?;
            self.connections.insert(self.next, (stream, Vec::new()));
            self.next += 1;
        }
        Ok(())
    }

    /// Requests have no bodies: one ends with its head.
    fn read(&mut self, number: u64) {
        let Some((stream, request)) = self.connections.get_mut(&number) else { return };
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => {
                request.extend_from_slice(&buffer[..count]);
                if request.ends_with(b"\r\n\r\n") {
                    request.clear();
                    self.due.push_back((Instant::now() + self.delay, number));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Closed: that takes it out of the list of events, too.
            _ => drop(self.connections.remove(&number)),
        }
    }

    fn answer(&mut self) {
        let now = Instant::now();
        while let Some((_, number)) = self.due.pop_front_if(|(time, _)| *time <= now) {
            if let Some((stream, _)) = self.connections.get_mut(&number)
                && stream.write_all(ANSWER).is_err()
            {
                self.connections.remove(&number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use capsule_test::client::Connection;

    use super::*;

    #[test]
    fn many_requests_wait_at_the_same_time() {
        let slow = Slow::start(Duration::from_millis(20)).unwrap();
        let start = Instant::now();
        let mut connections: Vec<_> = (0..100).map(|_| Connection::open(slow.address()).unwrap()).collect();
        for _ in 0..2 {
            for connection in &mut connections {
                connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            }
            for connection in &mut connections {
                assert_eq!(connection.read_response("GET").unwrap().text(), "slow");
            }
        }
        assert!(start.elapsed() >= Duration::from_millis(40));
        assert!(slow.peak() > 1, "they waited one after the other");
        assert_eq!(slow.peak(), 0);
    }
}
