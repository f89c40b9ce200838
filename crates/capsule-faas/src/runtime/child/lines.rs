//! The output of a child on its way to the log of its function: whole lines, the long ones cut.

use std::sync::Arc;

use capsule_hdk::{Output as _, Stream};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::runtime::logs::Tee;

/// Bytes of a line; what follows up to its end is dropped.
const LONGEST: usize = 8 << 10;

/// Reads both outputs until they end. A child that writes faster than its lines are taken waits.
pub(crate) fn pass_on(child: &mut Child, to: &Arc<Tee>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(output) = child.stdout.take() {
        tasks.spawn(copy(output, Stream::Stdout, Arc::clone(to)));
    }
    if let Some(output) = child.stderr.take() {
        tasks.spawn(copy(output, Stream::Stderr, Arc::clone(to)));
    }
    tasks
}

async fn copy(from: impl AsyncRead + Unpin, stream: Stream, to: Arc<Tee>) {
    let mut from = BufReader::new(from);
    // A pipe that breaks is one that ends.
    while let Ok(Some(line)) = next_line(&mut from).await {
        while !to.try_write(stream, &line) {
            to.ready().await;
        }
    }
}

/// The next line with its end; none after the last one.
async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut begun = false;
    loop {
        let ready = from.fill_buf().await?;
        begun |= !ready.is_empty();
        let end = ready.iter().position(|byte| *byte == b'\n');
        let part = &ready[..end.unwrap_or(ready.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST - line.len())]);
        let (used, over) = (end.map_or(ready.len(), |end| end + 1), end.is_some() || ready.is_empty());
        from.consume(used);
        if over {
            line.push(b'\n');
            return Ok(begun.then_some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        // A small buffer: lines come in pieces.
        let mut from = BufReader::with_capacity(7, text);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut from).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_whole_and_cut() {
        assert_eq!(lines(b"").await, Vec::<Vec<u8>>::new());
        assert_eq!(
            lines(b"one line\n\nthe last without end").await,
            [b"one line\n".to_vec(), b"\n".to_vec(), b"the last without end\n".to_vec()]
        );
        let long = [vec![b'x'; LONGEST + 1000], b"\nnext\n".to_vec()].concat();
        let found = lines(&long).await;
        assert_eq!((found.len(), found[0].len(), found[1].as_slice()), (2, LONGEST + 1, &b"next\n"[..]));
    }
}
