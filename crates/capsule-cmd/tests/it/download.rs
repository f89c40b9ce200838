//! Downloads from a small server that answers what the test says, well or badly.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use capsule_cmd::download::{AuthHeader, Options, download};
use capsule_cmd::message;
use capsule_cmd::module_source::Remote;

/// Magic, version, and one custom section of four bytes.
const WASM: &[u8] = b"\0asm\x01\0\0\0\0\x04\x01xyz";

/// Answers every path with bytes that the test wrote down.
struct Server {
    port: u16,
    /// The heads of all requests.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answers: &[(&str, &str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<(String, String, Vec<u8>)> =
            answers.iter().map(|(path, head, body)| ((*path).to_owned(), (*head).to_owned(), body.to_vec())).collect();
        let log = Arc::clone(&seen);
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &answers, &log);
            }
        });
        Self { port, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answers: &[(String, String, Vec<u8>)],
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().unwrap().push(head);
    let (_, answer, body) = answers.iter().find(|(known, _, _)| *known == path).expect("the test knows the path");
    stream.write_all(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n").as_bytes())?;
    stream.write_all(body)
}

fn remote(url: String) -> Remote {
    Remote { url, auth: None }
}

/// Error and hints as a user sees them.
async fn failure(remote: &Remote, target: &Path, limit: u64) -> String {
    let error = download(remote, target, Options { limit, progress: false }).await.unwrap_err();
    let mut out = Vec::new();
    message::write(&error, false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_module_arrives_whole_with_its_header() {
    let server = Server::start(&[
        ("/length", "200 OK\r\nContent-Length: 14", WASM),
        ("/closed", "200 OK", WASM),
        (
            "/chunked",
            "200 OK\r\nTransfer-Encoding: chunked",
            b"2\r\n\0a\r\nc\r\nsm\x01\0\0\0\0\x04\x01xyz\r\n0\r\n\r\n",
        ),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.wasm");
    for path in ["/length", "/closed", "/chunked"] {
        std::fs::write(&target, "older").unwrap();
        let auth = AuthHeader { name: "PRIVATE-TOKEN".into(), value: "hunter2".into() };
        let remote = Remote { url: server.url(path), auth: Some(auth) };
        assert_eq!(download(&remote, &target, Options::default()).await.unwrap(), 14, "{path}");
        assert_eq!(std::fs::read(&target).unwrap(), WASM);
        assert!(server.seen().pop().unwrap().to_lowercase().contains("\r\nprivate-token: hunter2\r\n"));
    }
    assert_eq!(names(dir.path()), ["a.wasm"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let probe = dir.path().join("probe");
        std::fs::write(&probe, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&probe), "as readable as any other file");
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_leaves_the_old_file() {
    let server = Server::start(&[
        ("/404", "404 Not Found\r\nContent-Length: 4", b"gone"),
        ("/401", "401 Unauthorized\r\nContent-Length: 0", b""),
        ("/204", "204 No Content", b""),
        ("/html", "200 OK\r\nContent-Type: text/html\r\nContent-Length: 6", b"<html>"),
        ("/json", "200 OK\r\nContent-Type: application/json\r\nContent-Length: 2", b"{}"),
        ("/empty", "200 OK\r\nContent-Length: 0", b""),
        ("/short", "200 OK\r\nContent-Length: 100", WASM),
        ("/cut", "200 OK", &WASM[..12]),
        ("/damaged", "200 OK", b"\0asm\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff"),
        ("/preamble", "200 OK", b"\0asm\x01"),
        ("/chunks", "200 OK\r\nTransfer-Encoding: chunked", b"4\r\n\0asm\r\n"),
        ("/large", "200 OK\r\nContent-Length: 14", WASM),
        ("/endless", "200 OK", WASM),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.wasm");
    std::fs::write(&target, "older").unwrap();
    for (path, limit, expected) in [
        ("/404", 99, "caused by: the server answered 404 Not Found, expected 200 OK\nhint: check the address"),
        ("/401", 99, "caused by: the server answered 401 Unauthorized, expected 200 OK\nhint: `--authHeaderName`"),
        ("/204", 99, "caused by: the server answered 204 No Content, expected 200 OK\n"),
        (
            "/html",
            99,
            "caused by: expected a wasm file, found something else (text/html)\nhint: the server sent a web page",
        ),
        ("/json", 99, "caused by: expected a wasm file, found something else (application/json)\n"),
        ("/empty", 99, "caused by: expected a wasm file, found an answer of 0 bytes\n"),
        ("/short", 999, "caused by: the answer ended early, after 14 of 100 bytes\n"),
        ("/cut", 99, "caused by: expected a whole wasm file, found one that is cut off or damaged, of 12 bytes\nhint:"),
        ("/damaged", 99, "caused by: expected a whole wasm file, found one that is cut off or damaged, of 16 bytes\n"),
        ("/preamble", 99, "caused by: expected a whole wasm file, found one that is cut off or damaged, of 5 bytes\n"),
        ("/chunks", 99, "caused by: the answer ended early, after 4 bytes\n"),
        ("/large", 13, "caused by: the file is larger than the limit of 13 bytes (flag `--maxModule`)\n"),
        ("/endless", 13, "caused by: the file is larger than the limit of 13 bytes (flag `--maxModule`)\n"),
    ] {
        let shown = failure(&remote(server.url(path)), &target, limit).await;
        let first = format!("error: cannot download `{}`\n", server.url(path));
        assert!(shown.starts_with(&first) && shown.contains(expected), "{path}: {shown}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "older", "{path}");
        assert_eq!(names(dir.path()), ["a.wasm"], "{path}");
    }
}

#[tokio::test]
async fn no_server_no_folder_no_certificate() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.wasm");
    let away = remote(format!("http://bob:hunter2@127.0.0.1:{port}/a?token=hunter2"));
    let shown = failure(&away, &target, 99).await;
    let first = format!("error: cannot download `http://***@127.0.0.1:{port}/a?token=***`\n");
    assert!(shown.starts_with(&first), "{shown}");
    assert!(shown.contains("hint: check the address") && !shown.contains("hunter2"), "{shown}");

    let server = Server::start(&[("/a", "200 OK", WASM)]);
    let shown = failure(&remote(server.url("/a")), &dir.path().join("no/a.wasm"), 99).await;
    assert!(shown.contains("cannot write to the folder `") && shown.contains("/no`"), "{shown}");
    let shown = failure(&remote(server.url("/a")), dir.path(), 99).await;
    assert!(shown.contains("is a folder, expected the path of a file"), "{shown}");
    assert_eq!(server.seen(), [""; 0], "nothing is asked for that cannot be kept");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn the_header_stays_with_its_host() {
    let other = Server::start(&[("/b", "200 OK", WASM)]);
    let away = format!("302 Found\r\nLocation: {}\r\nContent-Length: 0", other.url("/b"));
    let server = Server::start(&[
        ("/away", &away, b""),
        ("/near", "307 Temporary Redirect\r\nLocation: /here\r\nContent-Length: 0", b""),
        ("/here", "200 OK", WASM),
        ("/loop", "301 Moved Permanently\r\nLocation: /loop\r\nContent-Length: 0", b""),
        ("/nowhere", "302 Found\r\nContent-Length: 0", b""),
        ("/file", "302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0", b""),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.wasm");
    let with_auth = |path: &str| Remote {
        url: server.url(path),
        auth: Some(AuthHeader { name: "private-token".into(), value: "hunter2".into() }),
    };
    download(&with_auth("/near"), &target, Options::default()).await.unwrap();
    assert!(server.seen().iter().all(|head| head.contains("hunter2")), "{:?}", server.seen());
    download(&with_auth("/away"), &target, Options::default()).await.unwrap();
    assert!(!other.seen().pop().unwrap().contains("hunter2"));
    for (path, expected) in [
        ("/loop", "the server redirects more than 10 times"),
        ("/nowhere", "the server answered 302 Found without a usable `Location`"),
        ("/file", "the server redirects to `file:///etc/passwd`, expected http or https"),
    ] {
        let shown = failure(&with_auth(path), &target, 99).await;
        assert!(shown.contains(expected), "{shown}");
    }
}

/// Where [`https_is_verified_with_the_named_certificates`] tells its child what to fetch and where to.
const CHILD_URL: &str = "CAPSULE_TEST_URL";
const CHILD_TARGET: &str = "CAPSULE_TEST_TARGET";

/// An image without anything but the program and its certificates has to work, so the certificates are named by
/// `SSL_CERT_FILE` alone: in a child, since it is read from the environment.
#[cfg(unix)]
#[tokio::test]
async fn https_is_verified_with_the_named_certificates() {
    use capsule_test::process::Stream;
    use capsule_test::program::Program;
    use capsule_test::tls::Certificate;

    if let (Ok(url), Ok(target)) = (std::env::var(CHILD_URL), std::env::var(CHILD_TARGET)) {
        if let Err(error) = download(&remote(url), Path::new(&target), Options::default()).await {
            message::print(&error);
            panic!("the child could not download");
        }
        return;
    }
    let certificate = Certificate::for_localhost().unwrap();
    let folder = certificate.folder();
    std::fs::write(folder.join("a.wasm"), WASM).unwrap();
    // Serves the files of its folder.
    let server = Program::tool("openssl", "openssl").unwrap().args(["s_server", "-accept", "127.0.0.1:0", "-WWW"]);
    let server = server.arg("-cert").arg(certificate.crt()).arg("-key").arg(certificate.key()).current_dir(folder);
    let server = server.start().unwrap();
    let port =
        server.wait_for(Stream::Stdout, |line| Some(line.strip_prefix("ACCEPT ")?.split_once(':')?.1.to_owned()));
    let url = format!("https://localhost:{}/a.wasm", port.unwrap());
    let target = folder.join("b.wasm");

    let child = |certificates: &Path| {
        let test = Program::at(std::env::current_exe().unwrap());
        let test = test.args(["--exact", "download::https_is_verified_with_the_named_certificates", "--nocapture"]);
        let test = test.env(CHILD_URL, &url).env(CHILD_TARGET, &target).env("SSL_CERT_FILE", certificates);
        test.run().unwrap()
    };
    let without = child(Path::new("/dev/null"));
    assert!(!target.exists() && without.stderr().contains("`SSL_CERT_FILE` can name a file"), "{without:?}");
    let with = child(&certificate.crt());
    assert_eq!(with.code, Some(0), "{with:?}");
    assert_eq!(std::fs::read(&target).unwrap(), WASM);

    let stranger = Certificate::for_localhost().unwrap();
    std::fs::remove_file(&target).unwrap();
    let refused = child(&stranger.crt());
    assert!(!target.exists() && refused.stderr().contains("certificate"), "{refused:?}");
}
