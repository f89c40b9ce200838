//! The floor of the benchmarks: a bare hyper server with the same runtime, connection settings and headers as `capsule-http`, and
//! nothing behind it. Prints its address to stderr and serves until it is killed. Its argument says what it answers:
//!
//! | argument | answers as |
//! |---|---|
//! | none | `functions/constant` |
//! | `echo` | `functions/echo`: the body of the request |
//! | `json` | `functions/json`: the sum of an order |

mod sum;

use std::convert::Infallible;
use std::io::{Error, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// What is answered.
#[derive(Clone, Copy)]
enum Mode {
    Constant,
    Echo,
    Json,
}

fn main() -> std::io::Result<()> {
    let mode = match std::env::args().nth(1).as_deref() {
        None => Mode::Constant,
        Some("echo") => Mode::Echo,
        Some("json") => Mode::Json,
        Some(other) => return Err(Error::other(format!("unknown argument `{other}`; expected `echo` or `json`"))),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(mode))
}

async fn serve(mode: Mode) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stderr(), "listening on http://{}", listener.local_addr()?)?;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10)).writev(false);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(move |request| answer(mode, request));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(async move {
            // The end of a connection is no event for the floor.
            let _ = connection.await;
        });
    }
}

async fn answer(mode: Mode, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body is read, as the runner reads it.
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (status, content_type, body) = match mode {
        Mode::Constant => (StatusCode::OK, JSON, Bytes::from_static(br#"{"message":"hello"}"#)),
        Mode::Echo => (StatusCode::OK, HeaderValue::from_static("application/octet-stream"), body),
        Mode::Json => match sum::of(&body) {
            Ok(sum) => (StatusCode::OK, JSON, sum.into()),
            Err(error) => {
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                (StatusCode::INTERNAL_SERVER_ERROR, text, error.to_string().into())
            }
        },
    };
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert("x-request-id", HeaderValue::from_static("00000000-00000000"));
    Ok(answer)
}
