//! What `GET /functions/processes` lists: the reference's record, field for field.
//!
//! The server makes records, `capsctl` reads them.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::args::{self, FlagTable};
use crate::lifecycle::Lifecycle;
use crate::names::{FunctionName, Index, Key, Revision};
use crate::registry::Entry;

/// All records by their keys; as JSON an object `{"name/revision/index": {...}}`.
pub type Listing = BTreeMap<Key, Record>;

/// How a process is, with the reference's numbers and words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub enum Status {
    /// It is being loaded and started.
    #[default]
    Waiting = 0,
    /// It takes calls.
    Started = 1,
    /// It was dropped and has ended.
    Finished = 2,
    /// Its last start failed; a call tries again after a while.
    Failed = 3,
    /// It was dropped before it had started.
    Cancelled = 4,
    /// It does not end. Read from others, never set here: what does not end is killed.
    Stucked = 5,
    /// It died by itself; a call starts it again.
    Killed = 6,
    /// It sleeps; a call starts it again.
    Stopped = 7,
}

impl Status {
    const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Started,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
        Self::Stucked,
        Self::Killed,
        Self::Stopped,
    ];

    /// The reference's word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Started => "Started",
            Self::Finished => "Finished",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Stucked => "Stucked",
            Self::Killed => "Killed",
            Self::Stopped => "Stopped",
        }
    }
}

impl From<Status> for u8 {
    fn from(status: Status) -> Self {
        status as Self
    }
}

impl TryFrom<u8> for Status {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        let found = Self::ALL.get(usize::from(number)).copied();
        found.ok_or_else(|| format!("expected a status from 0 to 7, found {number}"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// One entry of the list. Fields that a server leaves out are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Which of the revision's processes.
    pub index: Index,
    /// The function.
    pub function_name: FunctionName,
    /// Its revision.
    pub function_revision: Revision,
    /// The revision that this one was duplicated from; else empty.
    #[serde(default)]
    pub former_function_revision: String,
    /// The port of a child process as text; empty in the server's own process.
    #[serde(default)]
    pub http_port: String,
    /// What the start body said.
    #[serde(default)]
    pub description: String,
    /// How it is.
    pub current_status: Status,
    /// The word for it; after `Failed` and `Killed` the reason.
    #[serde(default)]
    pub status_description: String,
    /// When it was asked for.
    #[serde(default, with = "time")]
    pub created_at: Option<Timestamp>,
    /// When it last took up work.
    #[serde(default, with = "time")]
    pub started_at: Option<Timestamp>,
    /// When it last fell asleep, died or ended.
    #[serde(default, with = "time")]
    pub finished_at: Option<Timestamp>,
    /// When its start was given up.
    #[serde(default, with = "time")]
    pub cancelled_at: Option<Timestamp>,
    /// When its start last failed.
    #[serde(default, with = "time")]
    pub failed_at: Option<Timestamp>,
    /// When its health was last asked for.
    #[serde(default, with = "time")]
    pub checked_at: Option<Timestamp>,
    /// The process id: of the child, or of the server itself.
    #[serde(default)]
    pub pid: u32,
    /// The executable of a child process; empty in the server's own process.
    #[serde(default)]
    pub path: String,
    /// The arguments, with secrets masked.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// Always null: values of the environment are never listed.
    #[serde(default)]
    pub env: Option<Vec<String>>,
}

impl Record {
    /// The record of an entry and of its process, with secrets masked by the flag table.
    pub fn new(key: &Key, entry: &Entry, process: &Lifecycle, table: &impl FlagTable) -> Self {
        let status = process.status();
        let times = process.times();
        let running = process.running();
        Self {
            index: key.index,
            function_name: key.name.clone(),
            function_revision: key.revision.clone(),
            former_function_revision: entry.former.as_ref().map(Revision::to_string).unwrap_or_default(),
            http_port: running.port.map(|port| port.to_string()).unwrap_or_default(),
            description: table.mask(false, &entry.description),
            current_status: status,
            status_description: match process.reason() {
                Some(reason) => format!("{}: {reason}", status.label()),
                None => status.label().to_owned(),
            },
            created_at: Some(entry.created_at),
            started_at: times.started,
            finished_at: times.finished,
            cancelled_at: times.cancelled,
            failed_at: times.failed,
            checked_at: times.checked,
            pid: running.pid,
            path: entry.spec.path.as_deref().map(|path| table.mask(false, path)).unwrap_or_default(),
            args: Some(args::masked(&entry.spec.args, table)),
            env: None,
        }
    }
}

/// Times as RFC 3339. What has not happened yet is the zero time of Go, so that every field is a time for every client.
mod time {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    const NEVER: &str = "0001-01-01T00:00:00Z";

    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_str(NEVER),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        match text.as_deref() {
            None | Some("" | NEVER) => Ok(None),
            Some(text) => text.parse().map(Some).map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_of_the_reference_is_read() {
        let listing: Listing = serde_json::from_value(json!({"hello/default/0": {
            "index": 0, "functionName": "hello", "functionRevision": "default", "formerFunctionRevision": "",
            "httpPort": "6001", "description": "", "currentStatus": 1, "statusDescription": "Started",
            "createdAt": "2023-08-11T09:15:00.123456789+02:00", "startedAt": "2023-08-11T07:15:00Z",
            "finishedAt": "0001-01-01T00:00:00Z", "cancelledAt": "0001-01-01T00:00:00Z",
            "failedAt": "0001-01-01T00:00:00Z", "checkedAt": "0001-01-01T00:00:00Z",
            "pid": 4711, "path": "/usr/bin/capsule-http", "args": ["", "-wasm=h.wasm"], "env": null,
        }}))
        .unwrap();
        let record = &listing[&"hello/default/0".parse::<Key>().unwrap()];
        assert_eq!((record.current_status, record.pid, &*record.http_port), (Status::Started, 4711, "6001"));
        assert_eq!(record.created_at.unwrap().to_string(), "2023-08-11T07:15:00.123456789Z");
        assert_eq!(record.finished_at, None);
        let again = serde_json::to_value(&listing).unwrap();
        assert_eq!(again["hello/default/0"]["createdAt"], "2023-08-11T07:15:00.123456789Z");
        assert_eq!(again["hello/default/0"]["finishedAt"], "0001-01-01T00:00:00Z");
        assert_eq!(again["hello/default/0"]["env"], json!(null));
    }

    #[test]
    fn statuses_have_the_references_numbers() {
        for (number, status) in (0u8..).zip(Status::ALL) {
            assert_eq!(Status::try_from(number), Ok(status));
            assert_eq!(u8::from(status), number);
        }
        assert_eq!(Status::try_from(8), Err("expected a status from 0 to 7, found 8".to_owned()));
        assert_eq!(serde_json::to_value(Status::Stopped).unwrap(), json!(7));
    }
}
