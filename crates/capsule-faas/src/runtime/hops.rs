//! The way of a call from function to function, so that one that comes back to a function which waits for it is refused
//! instead of waiting for itself.
//!
//! The program around the runtime carries it in the header [`HEADER`]: out with every request that a function sends
//! ([`Placed::hops`](super::Placed::hops)), and in with the calls that these become. It names processes as `SERVER.PROCESS`,
//! separated by commas. Whoever makes one up can but have a call of their own refused.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use capsule_faas_model::registry::ProcessId;

/// The header that carries the way of a call.
pub const HEADER: &str = "x-capsule-hops";
/// The longest way in bytes: some forty calls, one within the other.
const LONGEST: usize = 1024;

/// What this server is called on the way of a call: unlike any other.
pub(crate) fn server_id() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The way of a call to where it is placed now.
pub(crate) fn extended(before: Option<&str>, server: u64, process: ProcessId) -> String {
    match before {
        Some(before) => format!("{before},{server:x}.{process}"),
        None => format!("{server:x}.{process}"),
    }
}

/// How often a call has come through a process.
pub(crate) fn visits(hops: &str, server: u64, process: ProcessId) -> usize {
    let here = extended(None, server, process);
    hops.split(',').filter(|hop| hop.trim() == here).count()
}

/// Whether the way is longer than any that ends.
pub(crate) fn is_endless(hops: &str) -> bool {
    hops.len() > LONGEST
}

#[cfg(test)]
mod tests {
    use capsule_faas_model::registry::Registry;
    use capsule_faas_model::spec::Origin;
    use capsule_faas_model::start::StartBody;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn visits_are_counted() {
        let body = StartBody::parse(br#"{"name":"a"}"#).unwrap();
        let reserved = Registry::new().reserve_start(body, Origin::Api, Timestamp::UNIX_EPOCH).unwrap();
        let process = reserved.entry().process;
        let once = extended(None, 10, process);
        assert_eq!(once, format!("a.{process}"));
        let elsewhere = extended(Some(&once), 11, process);
        assert_eq!((visits(&elsewhere, 10, process), visits(&elsewhere, 12, process)), (1, 0));
        assert_eq!(visits(&extended(Some(&elsewhere), 10, process), 10, process), 2);
        for junk in ["", ",,,", "a", "a.", "a.99999999999999999999999", "\u{e9}"] {
            assert_eq!(visits(junk, 10, process), 0, "{junk}");
        }
        assert!(!is_endless(&elsewhere) && is_endless(&"a.0,".repeat(300)));
    }
}
