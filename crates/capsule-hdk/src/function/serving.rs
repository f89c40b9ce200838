//! A call on its way from its slot to its result.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::{Contract, Inner};
use crate::call::{Answer, Call};
use crate::error::CallError;
use crate::instances::Slot;
use crate::place::Place;
use crate::slices::{self, within};

/// A call that is on its way from its slot to its result. It is counted at most once: not when it is dropped with its caller.
pub(super) struct Serving {
    inner: Arc<Inner>,
    deadline: Option<Instant>,
    is_counted: AtomicBool,
}

impl Serving {
    /// One that is to end by `deadline`. What is no call `is_counted` already.
    pub(super) fn new(inner: &Arc<Inner>, deadline: Option<Instant>, is_counted: bool) -> Serving {
        Serving { inner: Arc::clone(inner), deadline, is_counted: AtomicBool::new(is_counted) }
    }

    /// As [`Serving::serve`], with a new instance.
    pub(super) async fn serve_new(
        self,
        slot: Slot,
        place: Place,
        call: Option<Box<Call>>,
    ) -> Result<Answer, CallError> {
        let furnished = {
            let _active = self.inner.template.engine.ticker().activate();
            self.inner.furnish(slot, place, self.deadline).await
        };
        match furnished {
            Ok(slot) => self.serve(slot, call).await,
            Err(error) => self.count(Err(error)),
        }
    }

    /// Runs to the end even when nobody waits for it any more.
    #[expect(clippy::manual_async_fn, reason = "the future of an `async fn` holds twice what it is given")]
    pub(super) fn serve(
        self,
        mut slot: Slot,
        mut call: Option<Box<Call>>,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send {
        async move {
            // Dropped before the slot: whoever gets that next finds the call counted.
            let serving = self;
            let (inner, deadline) = (&serving.inner, serving.deadline);
            let _active = inner.template.engine.ticker().activate();
            let Some(instance) = slot.instance() else {
                return serving.count(Err(CallError::Runner("a slot lost its instance".into())));
            };
            if instance.is_large() {
                slices::leave_inline().await;
            }
            let result = match &mut call {
                None => Ok(Answer::default()),
                Some(call) => {
                    let running = instance.call(call, deadline);
                    within(deadline, pin!(running)).await.unwrap_or_else(|| Err(inner.template.deadline_error()))
                }
            };
            let result = serving.count(result);
            let output = instance.output();
            if !output.is_finished() && within(deadline, Box::pin(output.finish())).await.is_none() {
                tracing::warn!(
                    function = inner.template.surroundings.name,
                    "output of the call waits: nobody reads it"
                );
            }
            let sound = result.as_ref().err().is_none_or(CallError::leaves_instance_sound);
            let is_worn = instance.is_worn();
            if sound && inner.contract != Contract::Fresh {
                if is_worn {
                    inner.renew(slot);
                } else {
                    slot.give_back();
                }
                inner.trim_later();
            } else if sound {
                inner.retire(slot);
            }
            // A broken instance goes with its slot.
            result
        }
    }

    fn count(&self, result: Result<Answer, CallError>) -> Result<Answer, CallError> {
        if !self.is_counted.swap(true, Ordering::Relaxed) {
            self.inner.template.surroundings.counters.count(&result);
        }
        result
    }
}

impl Drop for Serving {
    /// One that never came to its turn, or whose task panicked. One that was dropped with its caller is nobody's failure.
    fn drop(&mut self) {
        if *self.is_counted.get_mut() {
            return;
        }
        if std::thread::panicking() {
            drop(self.count(Err(CallError::Runner("the call panicked".into()))));
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            drop(self.count(Err(self.inner.template.deadline_error())));
        }
    }
}
