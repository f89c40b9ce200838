//! `hostPrintString`, `hostLogString` and `hostTalk`: text from the guest to the runner's output.
//!
//! The output is that of the function, in whole lines and in the order of the guest's own writes. The text is passed on as it
//! is, bytes that are not UTF-8 included.

use std::sync::Arc;

use capsule_hdk::{HostContext, HostFunction, HostFunctions, Reply, Stream};
use jiff::Zoned;

/// The answer of `hostTalk` when nobody replaced its handler.
pub const TALK_ANSWER: &str = "Hello 😀 I'm the host";

/// Adds the functions of this file.
pub fn add(host: &mut HostFunctions) {
    host.add(HostFunction::new("hostPrintString", Reply::Nothing, |context, [text]| {
        context.print(Stream::Stdout, &[text, b"\n"]);
        Ok(Vec::new())
    }));
    host.add(HostFunction::new("hostLogString", Reply::Nothing, |context, [text]| {
        context.print(Stream::Stdout, &[timestamp(&Zoned::now()).as_bytes(), text, b"\n"]);
        Ok(Vec::new())
    }));
    host.add(HostFunction::new("hostTalk", Reply::Raw, |context, [message]| {
        let talk = context.extension::<Talk>().unwrap_or_default();
        Ok((talk.handler)(context, message))
    }));
}

type TalkHandler = dyn Fn(&HostContext, &[u8]) -> Vec<u8> + Send + Sync;

/// What answers `hostTalk`: a template for messages in both directions that a runner of one's own replaces.
#[derive(Clone)]
pub struct Talk {
    handler: Arc<TalkHandler>,
}

impl Talk {
    /// Answers with what `handler` returns for the message. It runs on the thread of the guest and must not block.
    pub fn new(handler: impl Fn(&HostContext, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Talk {
        Talk { handler: Arc::new(handler) }
    }
}

impl Default for Talk {
    /// Prints the message and answers [`TALK_ANSWER`].
    fn default() -> Talk {
        Talk::new(|context, message| {
            context.print(Stream::Stdout, &[message, b"\n"]);
            TALK_ANSWER.into()
        })
    }
}

/// `2023/08/11 10:00:00 `, local time: the format of the reference, whose users parse it.
fn timestamp(now: &Zoned) -> String {
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02} ",
        now.year(),
        now.month(),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_in_the_zone_of_the_machine() {
        let instant: jiff::Timestamp = "2023-08-11T23:05:09.9Z".parse().unwrap();
        assert_eq!(timestamp(&instant.to_zoned(jiff::tz::TimeZone::UTC)), "2023/08/11 23:05:09 ");
        assert_eq!(timestamp(&instant.to_zoned(jiff::tz::offset(2).to_time_zone())), "2023/08/12 01:05:09 ");
    }
}
