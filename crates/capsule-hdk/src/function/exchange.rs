//! A call on its way to its instance: at once, in its turn, or when there is room for a new one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::serving::Serving;
use super::{Contract, Inner};
use crate::call::{Answer, Call};
use crate::error::CallError;
use crate::instances::{Acquired, Slot};
use crate::place::Place;
use crate::slices::{HangUp, Lost, Running};

/// A call on its way to its answer, as a future: nothing happens before it is polled, and polled after its end it is an error.
///
/// # Cancel safety
/// As [`Function::call`](crate::Function::call).
#[must_use = "nothing is called before this is awaited"]
pub struct Exchange<'a> {
    inner: &'a Arc<Inner>,
    stage: Stage<'a>,
}

enum Stage<'a> {
    New(Box<Call>),
    /// It has its instance, or a place for one. No future is around it, since most calls are answered by their first poll.
    Running(Running<'a, Result<Answer, CallError>>),
    /// It waits for its instance, or a place for one, first.
    Waiting(BoxFuture<'a, Result<Answer, CallError>>),
    Done,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(inner: &'a Arc<Inner>, call: Box<Call>) -> Exchange<'a> {
        Exchange { inner, stage: Stage::New(call) }
    }

    fn begin(inner: &'a Arc<Inner>, call: Box<Call>) -> Result<Stage<'a>, CallError> {
        let limits = &inner.template.surroundings.limits;
        let (limit, found) = (limits.argument, call.length());
        if found > limit {
            return Err(CallError::ArgumentTooLarge { limit, found });
        }
        let patience = call.patience.unwrap_or(limits.queue_timeout);
        let ready = match inner.instances.acquire().map_err(CallError::Busy)? {
            Acquired::Now(slot) if !slot.is_vacant() => Ok((slot, None)),
            Acquired::Now(slot) => match inner.template.place_now() {
                Some(place) => Ok((slot, Some(place))),
                None => Err(Acquired::Now(slot)),
            },
            turn @ Acquired::InTurn(_) => Err(turn),
        };
        Ok(match ready {
            Ok((slot, place)) => {
                let now = call.now.unwrap_or_else(Instant::now);
                Stage::Running(inner.running(slot, place, Some(call), now))
            }
            Err(acquired) => Stage::Waiting(Box::pin(inner.wait(acquired, Some(call), patience))),
        })
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, CallError>> {
        // Taken out while it is polled: one that panics is not polled again.
        let mut stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::New(call) => match Exchange::begin(self.inner, call) {
                Ok(stage) => stage,
                Err(error) => return Poll::Ready(Err(error)),
            },
            stage => stage,
        };
        let polled = match &mut stage {
            Stage::Running(running) => {
                Pin::new(running).poll(context).map(|ended| ended.unwrap_or_else(|lost| Err(self.inner.lost(lost))))
            }
            Stage::Waiting(waiting) => waiting.as_mut().poll(context),
            Stage::New(_) | Stage::Done => Poll::Ready(Err(self.inner.lost(Lost::Ended))),
        };
        if polled.is_pending() {
            self.stage = stage;
        }
        polled
    }
}

impl Future for Exchange<'_> {
    type Output = Result<Answer, CallError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Answer, CallError>> {
        let this = self.get_mut();
        let result = ready!(this.poll_answer(context));
        // What an instance has seen is counted where it ends, also when nobody waits for it any more.
        if let Err(CallError::ArgumentTooLarge { .. } | CallError::Busy(_)) = &result {
            this.inner.template.surroundings.counters.count(&result);
        }
        Poll::Ready(result)
    }
}

impl Inner {
    /// A call that waits for its slot, its turn, or an instance in its slot.
    pub(super) async fn wait(
        self: &Arc<Self>,
        acquired: Acquired,
        call: Option<Box<Call>>,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        match (acquired, self.contract) {
            (Acquired::Now(slot), _) => self.run_in(slot, call, patience).await,
            (Acquired::InTurn(turn), Contract::Fresh) => {
                let slot = turn.wait(patience).await.map_err(CallError::Busy)?;
                self.run_in(slot, call, patience).await
            }
            (Acquired::InTurn(turn), Contract::Instances(_)) => {
                // A task of its own: the call keeps its turn when its caller hangs up.
                let inner = Arc::clone(self);
                let task = self.template.surroundings.io.spawn(async move {
                    let slot = turn.wait(patience).await.map_err(CallError::Busy)?;
                    inner.run_in(slot, call, patience).await
                });
                task.await.unwrap_or_else(|_| Err(self.lost(Lost::Ended)))
            }
        }
    }

    /// Runs a call in its slot, as soon as there is an instance in it or a place for one.
    async fn run_in(
        self: &Arc<Self>,
        slot: Slot,
        call: Option<Box<Call>>,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        // Waited for before the call's own time begins.
        let (slot, place) = if slot.is_vacant() { self.settle(slot, patience).await? } else { (slot, None) };
        self.running(slot, place, call, Instant::now()).await.unwrap_or_else(|lost| Err(self.lost(lost)))
    }

    /// A call that runs in its slot from `now` on, inline first. A vacant slot comes with the `place` for its instance.
    fn running(
        self: &Arc<Self>,
        slot: Slot,
        place: Option<Place>,
        call: Option<Box<Call>>,
        now: Instant,
    ) -> Running<'_, Result<Answer, CallError>> {
        let timeout = self.template.surroundings.limits.call_timeout.map(|limit| now + limit);
        let wanted = call.as_ref().and_then(|call| call.deadline);
        let deadline = timeout.into_iter().chain(wanted).min();
        let hang_up = match self.contract {
            Contract::Fresh => HangUp::Cancel,
            Contract::Instances(_) => HangUp::RunOn,
        };
        let serving = Serving::new(self, deadline, call.is_none());
        let future: BoxFuture<'static, _> = match place {
            None => Box::pin(serving.serve(slot, call)),
            Some(place) => Box::pin(serving.serve_new(slot, place, call)),
        };
        Running::new(&self.lane, hang_up, deadline, future)
    }

    fn lost(&self, lost: Lost) -> CallError {
        match lost {
            Lost::Deadline => self.template.deadline_error(),
            Lost::Ended => CallError::Runner("the call was lost".into()),
        }
    }
}
