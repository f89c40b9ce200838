//! What children of the tests do: `child.sh` runs [`plays`] in a process of its own, with a role and a port.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

use crate::support::say;

/// The variable that says which role is to be played.
pub(crate) const ROLE: &str = "ROLE";

/// Not a test by itself: without a role there is nothing to do.
#[test]
fn plays() {
    let Some(role) = std::env::var(ROLE).ok() else { return };
    let port: u16 = std::env::var("CHILD_PORT").unwrap().parse().unwrap();
    match role.as_str() {
        "silent" => wait_for_ever(),
        "floods" => flood(),
        _ => {}
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (lines, written) = mpsc::channel();
    std::thread::spawn(move || written.into_iter().for_each(say));
    let over = Arc::new(Mutex::new(None));
    for stream in listener.incoming() {
        let last = *over.lock().unwrap();
        match last {
            None => {}
            Some(Last::End) => return,
            Some(Last::Refuse) => break,
        }
        let (role, over, say) = (role.clone(), Arc::clone(&over), lines.clone());
        std::thread::spawn(move || {
            say.send("a connection began").unwrap();
            let last = converse(&role, BufReader::new(stream.unwrap()), &say);
            say.send("a connection ended").unwrap();
            if last.is_some() {
                *over.lock().unwrap() = last;
                // So that the listener looks.
                let _ = TcpStream::connect(("127.0.0.1", port));
            }
        });
    }
    drop(listener);
    say("it refuses connections");
    wait_for_ever();
}

/// What a request asks the child to do after its answer.
#[derive(Clone, Copy)]
enum Last {
    Refuse,
    End,
}

/// Answers the requests of one connection.
fn converse(role: &str, mut stream: BufReader<TcpStream>, say: &mpsc::Sender<&str>) -> Option<Last> {
    while let Some((path, headers)) = request(&mut stream) {
        match role {
            "mute" => wait_for_ever(),
            "garbage" => {
                stream.get_mut().write_all(b"not a word of HTTP\r\n\r\n").unwrap();
                return None;
            }
            "breaks" => {
                say.send("a request came").unwrap();
                return None;
            }
            "endless" => {
                let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
                while stream.get_mut().write_all(&chunk).is_ok() {}
                return None;
            }
            _ => {}
        }
        let text = match path.as_str() {
            "/pid" => std::process::id().to_string(),
            "/headers" => headers.join("\n"),
            "/environment" => {
                let mut variables: Vec<String> =
                    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
                variables.sort_unstable();
                variables.join("\n")
            }
            _ => "hello".to_owned(),
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nKeep-Alive: timeout=9\r\nConnection: keep-alive, X-Hop\r\n\
             X-Hop: 1\r\nX-Own: 2\r\n\r\n{text}",
            text.len()
        );
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        match (role, path.as_str()) {
            ("closes", _) => return None,
            (_, "/refuse") => return Some(Last::Refuse),
            (_, "/end") => return Some(Last::End),
            _ => {}
        }
    }
    None
}

/// Path and headers of the next request; none at the end of the connection.
fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<String>)> {
    let mut lines = stream.lines().map_while(Result::ok);
    let first = lines.next()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let headers = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    Some((path, headers))
}

/// Far more than is kept, in lines short and long, and one without an end.
fn flood() {
    let mut out = std::io::stdout().lock();
    for number in 0..50_000 {
        writeln!(out, "line {number}").unwrap();
    }
    for _ in 0..100 {
        out.write_all(&[b'x'; 64 << 10]).unwrap();
    }
    writeln!(out).unwrap();
    writeln!(out, "the last of the flood").unwrap();
}

fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
