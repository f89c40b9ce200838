//! Limits and capabilities of the command line in the words of the host SDK.

use std::time::Duration;

use capsule_cmd::capabilities::Capabilities as Given;
use capsule_cmd::limits::{Instances, Limits as Flags};
use capsule_hdk::{Capabilities, Contract, Folder, Limits, Network, Reach};

/// A size or a count that is switched off.
const NO_LIMIT: usize = usize::MAX;
/// A time that is switched off: longer than a program lives, short enough to be added to a clock.
pub(crate) const NO_TIME_LIMIT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A size or a count; `None` is no limit.
pub fn size(limit: Option<u64>) -> usize {
    limit.map_or(NO_LIMIT, |limit| usize::try_from(limit).unwrap_or(NO_LIMIT))
}

/// The limits of a function.
pub fn limits(flags: &Flags) -> Limits {
    let mut limits = Limits::default();
    limits.call_timeout = flags.call_timeout.map(|limit| limit.min(NO_TIME_LIMIT));
    limits.start_timeout = flags.start_timeout.map(|limit| limit.min(NO_TIME_LIMIT));
    limits.memory = size(flags.max_memory);
    limits.result = size(flags.max_result);
    limits.queue = size(flags.max_queue);
    limits.queue_timeout = flags.queue_timeout.unwrap_or(NO_TIME_LIMIT).min(NO_TIME_LIMIT);
    limits.host_memory = size(flags.max_host_memory);
    limits.calls = flags.max_calls;
    // A body becomes a document: characters may grow sixfold when they are escaped, and its headers go beside it.
    limits.argument = size(flags.max_body).saturating_mul(6).saturating_add(1 << 20);
    limits.body = size(flags.max_body);
    limits.files = size(flags.max_files);
    limits.written = flags.max_written.unwrap_or(u64::MAX);
    limits
}

/// The instance contract.
pub fn contract(instances: Instances) -> Contract {
    match instances {
        Instances::Count(count) => Contract::Instances(usize::try_from(count.get()).unwrap_or(NO_LIMIT)),
        Instances::Auto => Contract::auto(),
        Instances::Fresh => Contract::Fresh,
    }
}

/// The capabilities of a module that its own operator runs. Who calls resolves links in the paths of folders.
pub fn capabilities(given: &Given, environment: Vec<(String, String)>, arguments: Vec<String>) -> Capabilities {
    let folders = given
        .folders
        .iter()
        .map(|folder| Folder { host: folder.host.clone(), guest: folder.guest.clone(), read_only: folder.read_only })
        .collect();
    let network = match &given.allow_hosts {
        None => Network { reach: Reach::Operator, allowed: Vec::new() },
        Some(hosts) => Network { reach: Reach::Nothing, allowed: hosts.clone() },
    };
    Capabilities { folders, withheld: None, environment, arguments, stdin: false, network }
}
