//! `poll_oneoff`: waiting for the first of several things.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;
use wiggle::{GuestMemory, GuestPtr};

use super::Wasi;
use super::clocks::Due;
use super::descriptors::Descriptor;
use super::interface::types::{
    self, Errno, Event, EventFdReadwrite, Eventrwflags, Eventtype, Size, Subscription, SubscriptionU,
};
use super::stdin::Stdin;

type Result<T> = std::result::Result<T, types::Error>;

/// What one call may wait for at once.
const MAX_SUBSCRIPTIONS: Size = 1024;

/// What a guest waits for.
enum For {
    Clock(Due),
    /// Something to read on standard input.
    Input,
    /// Room for what it prints: both streams share it.
    Output,
}

impl Wasi {
    /// Waits for one of several things. Files are always ready.
    pub(super) async fn wait(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size> {
        if count == 0 || count > MAX_SUBSCRIPTIONS {
            return Err(Errno::Inval.into());
        }
        let (mut ready, mut waiting, mut refused) = (Vec::new(), Vec::new(), None);
        for subscription in subscriptions.as_array(count).iter() {
            let Subscription { userdata, u } = memory.read(subscription?)?;
            let (fd, type_) = match u {
                SubscriptionU::Clock(clock) => {
                    match self.clocks.due(&clock) {
                        Ok(due) => waiting.push((userdata, For::Clock(due))),
                        Err(errno) => refused = Some(errno),
                    }
                    continue;
                }
                SubscriptionU::FdRead(wanted) => (wanted.file_descriptor, Eventtype::FdRead),
                SubscriptionU::FdWrite(wanted) => (wanted.file_descriptor, Eventtype::FdWrite),
            };
            match (self.descriptors.get(fd)?, type_) {
                (Descriptor::File(_), _) => ready.push(event(userdata, type_)),
                (Descriptor::Stdin, Eventtype::FdRead) => waiting.push((userdata, For::Input)),
                (Descriptor::Output(_), Eventtype::FdWrite) => waiting.push((userdata, For::Output)),
                _ => return Err(Errno::Badf.into()),
            }
        }
        if ready.is_empty() {
            if let Some(errno) = refused {
                return Err(errno.into());
            }
            ready = self.first(&waiting).await;
        }
        let written = Size::try_from(ready.len())?;
        for (place, event) in events.as_array(written).iter().zip(ready) {
            memory.write(place?, event)?;
        }
        Ok(written)
    }

    /// The events of all that is ready once something is. One wait for each kind is enough, however many ask for it.
    async fn first(&self, waiting: &[(u64, For)]) -> Vec<Event> {
        let soonest =
            waiting.iter().filter_map(|(_, one)| if let For::Clock(due) = one { Some(*due) } else { None }).min();
        let input = waiting.iter().any(|(_, one)| matches!(one, For::Input));
        let output = waiting.iter().any(|(_, one)| matches!(one, For::Output));
        let mut clock = pin!(soonest.unwrap_or(Due::Never).wait());
        let mut reader = pin!(async {
            if self.surroundings.capabilities.stdin {
                Stdin::of_process().ready().await;
            }
        });
        let mut writer = pin!(self.output.relieve());
        let (time, input, output) = poll_fn(|context| {
            let time = clock.as_mut().poll(context).is_ready();
            let input = input && reader.as_mut().poll(context).is_ready();
            let output = output && writer.as_mut().poll(context).is_ready();
            if time || input || output { Poll::Ready((time, input, output)) } else { Poll::Pending }
        })
        .await;
        let now = soonest.max(Some(Due::At(Instant::now())));
        let events = waiting.iter().filter_map(|(userdata, one)| match one {
            For::Clock(due) => (time && Some(*due) <= now).then(|| event(*userdata, Eventtype::Clock)),
            For::Input => input.then(|| event(*userdata, Eventtype::FdRead)),
            For::Output => output.then(|| event(*userdata, Eventtype::FdWrite)),
        });
        events.collect()
    }
}

fn event(userdata: u64, type_: Eventtype) -> Event {
    let nbytes = u64::from(type_ != Eventtype::Clock);
    let fd_readwrite = EventFdReadwrite { nbytes, flags: Eventrwflags::empty() };
    Event { userdata, error: Errno::Success, type_, fd_readwrite }
}
