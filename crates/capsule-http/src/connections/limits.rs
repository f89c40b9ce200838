//! The limits of connections: their flags, and their values as types.

use std::time::Duration;

use capsule_cmd::flags::{Flag, Type};
use capsule_cmd::parse::Parsed;

const GROUP: &str = "Connections";

/// A record of this group.
const fn limit(name: &'static str, metavar: &'static str, of: Type, default: &'static str, help: &'static str) -> Flag {
    Flag::value(name, metavar, of, help).default(default).group(GROUP)
}

const MAX_CONNECTIONS: Flag = limit(
    "maxConnections",
    "N",
    Type::Count,
    "10000",
    "Connections at the same time, and never more than the limit of open files less 512. Past it the connection that was \
     idle for longest is closed for the new one.",
);
const HEADER_TIMEOUT: Flag = limit(
    "headerTimeout",
    "DURATION",
    Type::Duration,
    "10s",
    "How long a client may take for the handshake of TLS, and for the head of a request.",
);
const BODY_TIMEOUT: Flag = limit(
    "bodyTimeout",
    "DURATION",
    Type::Duration,
    "30s",
    "The longest pause in the body of a request. All of the body has this time too, and more as --minRate says.",
);
const WRITE_TIMEOUT: Flag = limit(
    "writeTimeout",
    "DURATION",
    Type::Duration,
    "30s",
    "How long a client may take nothing of an answer that waits for it. All of the answer has this time too, and more as \
     --minRate says.",
);
const IDLE_TIMEOUT: Flag =
    limit("idleTimeout", "DURATION", Type::Duration, "60s", "How long a connection is kept between two requests.");
const MIN_RATE: Flag = limit(
    "minRate",
    "SIZE",
    Type::Size,
    "1KiB",
    "Bytes for which a client has one second more to send a body, or to read an answer.",
);
const MAX_BUFFERED: Flag = limit(
    "maxBuffered",
    "SIZE",
    Type::Size,
    "512MiB",
    "What the server may hold for all clients together: bodies that arrive, requests that wait, answers that are not \
     read. Past it requests are refused, and the connections that were waited for longest are closed.",
);

/// All flags of this file, for the program's table.
pub(crate) const FLAGS: &[Flag] =
    &[MAX_CONNECTIONS, HEADER_TIMEOUT, BODY_TIMEOUT, WRITE_TIMEOUT, IDLE_TIMEOUT, MIN_RATE, MAX_BUFFERED];

/// Descriptors that are not for connections: files, outbound connections, child processes.
const OTHER_DESCRIPTORS: u64 = 512;

/// What connections may do. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Connections at the same time.
    pub(crate) count: usize,
    /// Time of a handshake, and of the head of a request.
    pub(crate) header: Option<Duration>,
    /// Pause in a body.
    pub(crate) body: Option<Duration>,
    /// Time without progress of an answer.
    pub(crate) write: Option<Duration>,
    /// Time between two requests.
    pub(crate) idle: Option<Duration>,
    /// Bytes for each second beyond the times of bodies and answers.
    pub(crate) rate: Option<u64>,
    /// Bytes that are held for all connections.
    pub(crate) buffered: usize,
    /// Files that functions may have open beside the connections.
    pub(crate) files: usize,
}

impl ConnectionLimits {
    /// Reads the flags.
    pub(crate) fn read(parsed: &Parsed) -> ConnectionLimits {
        let count = parsed.count(&MAX_CONNECTIONS).unwrap_or(u64::MAX);
        ConnectionLimits {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            header: parsed.duration(&HEADER_TIMEOUT),
            body: parsed.duration(&BODY_TIMEOUT),
            write: parsed.duration(&WRITE_TIMEOUT),
            idle: parsed.duration(&IDLE_TIMEOUT),
            rate: parsed.size(&MIN_RATE),
            buffered: parsed.size(&MAX_BUFFERED).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX),
            files: usize::MAX,
        }
    }

    /// Allows no more connections than this process may have files open, and functions half of those that are left: the others are
    /// for what the server itself opens.
    pub(crate) fn fit(&mut self, descriptors: u64, parsed: &Parsed) {
        let possible = connections_of(descriptors);
        if self.count > possible {
            self.count = possible;
            // The default is what is possible; a number that was asked for is not.
            if parsed.is_given(&MAX_CONNECTIONS) {
                tracing::warn!(
                    "`--maxConnections` is {possible} instead: this process may have {descriptors} files open (`ulimit -n`)"
                );
            }
        }
        let left = descriptors.saturating_sub(self.count as u64) / 2;
        self.files = usize::try_from(left).unwrap_or(usize::MAX).max(1);
    }

    /// How long a body or an answer of so many bytes may take.
    pub(crate) fn time_for(&self, least: Duration, bytes: u64) -> Duration {
        match self.rate {
            // A day is as good as for ever, and can be added to a clock.
            None => Duration::from_secs(24 * 60 * 60).max(least),
            Some(rate) => {
                least.saturating_add(Duration::from_millis((bytes.saturating_mul(1000) / rate.max(1)).min(86_400_000)))
            }
        }
    }
}

/// Connections for so many descriptors; half of them where there are few.
fn connections_of(descriptors: u64) -> usize {
    let connections = descriptors.saturating_sub(OTHER_DESCRIPTORS).max(descriptors / 2).max(1);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(crate) fn of_tests() -> ConnectionLimits {
    ConnectionLimits {
        count: 10,
        header: Some(Duration::from_secs(10)),
        body: Some(Duration::from_secs(30)),
        write: Some(Duration::from_secs(30)),
        idle: Some(Duration::from_secs(60)),
        rate: Some(1000),
        buffered: 1 << 20,
        files: usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_bound_connections() {
        for (descriptors, connections) in [(20_000, 19_488), (1024, 512), (1000, 500), (256, 128), (0, 1)] {
            assert_eq!(connections_of(descriptors), connections);
        }
    }

    #[test]
    fn bytes_buy_time() {
        let limits = of_tests();
        let second = Duration::from_secs(1);
        assert_eq!(limits.time_for(second, 0), second);
        assert_eq!(limits.time_for(second, 2500), Duration::from_millis(3500));
        assert!(limits.time_for(second, u64::MAX) < Duration::from_secs(2 * 86_400));
        let limits = ConnectionLimits { rate: None, ..limits };
        assert!(limits.time_for(second, 0) > Duration::from_secs(60 * 60));
    }
}
