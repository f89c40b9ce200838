//! Where a guest runs: first on the thread that has the call, after its second slice on a thread of the
//! [`LongPool`].
//!
//! Most calls take microseconds, less than a hand-over to another thread costs. So a call is polled where its caller is
//! polled, usually a thread that also accepts and reads connections. The epoch ticks while calls run (`ticker.rs`) and
//! interrupts the guest; at the second tick within one poll the guest yields and [`Running`] moves the rest of the call to
//! the pool, whose threads run guests in slices and nothing else. Looping guests therefore never hold an I/O thread for
//! more than two milliseconds, or six where none has been long lately, and share the pool's threads fairly: each function
//! has a bounded number of permits, given back every [`QUANTUM`] slices.
//!
//! What is dropped: a [`Running`] whose caller goes away is either cancelled (its future is dropped) or, for instances with
//! state, run to its end in the pool.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

/// Ticks that a guest may run on its caller's thread: the first may come at once, so one whole slice is certain.
const INLINE_TICKS: u32 = 2;
/// Slices after which a call of the pool gives its permit back and queues again.
const QUANTUM: u32 = 10;
/// How much later than its deadline a call in the pool is given up by its caller: the call itself notices first, except
/// when it waits for a permit.
const GRACE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// A thread that has other work: an I/O thread.
    Caller,
    /// A thread of the pool.
    Pool,
}

#[derive(Clone, Copy)]
struct Slice {
    home: Home,
    ticks: u32,
    yielded: bool,
}

thread_local! {
    /// The poll that runs on this thread now. Set around each poll of a call, read by the epoch callback within it.
    static SLICE: Cell<Slice> = const { Cell::new(Slice { home: Home::Caller, ticks: 0, yielded: false }) };
}

/// What a guest does at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtTick {
    Continue,
    Yield,
}

/// Called by the epoch callback, on the thread that runs the guest.
pub(crate) fn tick() -> AtTick {
    charge(1)
}

/// What the host does for a guest, as time of the guest: after as much of it as a guest may compute, the call gives way as a guest
/// does. Host functions answer at once otherwise, and a guest that calls one after the other in a straight line would never be
/// interrupted.
pub(crate) async fn give_way(ticks: u32) {
    if charge(ticks) == AtTick::Yield {
        let mut gave = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut gave, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// The guest's time inline is over: it gives way at the next tick. False on a thread of the pool, where it stays.
pub(crate) fn end_inline() -> bool {
    !in_pool() && charge(INLINE_TICKS) == AtTick::Yield
}

/// Sees to it that what follows runs in the pool.
pub(crate) async fn leave_inline() {
    if !in_pool() {
        give_way(INLINE_TICKS).await;
    }
}

fn charge(ticks: u32) -> AtTick {
    SLICE.with(|cell| {
        let mut slice = cell.get();
        slice.ticks = slice.ticks.saturating_add(ticks);
        slice.yielded = slice.home == Home::Pool || slice.ticks >= INLINE_TICKS;
        cell.set(slice);
        if slice.yielded { AtTick::Yield } else { AtTick::Continue }
    })
}

/// Polls `future` as a guest's slice at `home`; the flag says that the guest yielded because its slice was used up.
fn poll_slice<F: Future + ?Sized>(
    home: Home,
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> (Poll<F::Output>, bool) {
    // Restored also when the poll panics: the thread goes on with other calls.
    struct Restore(Slice);
    impl Drop for Restore {
        fn drop(&mut self) {
            SLICE.set(self.0);
        }
    }
    let _restore = Restore(SLICE.replace(Slice { home, ticks: 0, yielded: false }));
    let poll = future.poll(context);
    (poll, SLICE.get().yielded)
}

/// The threads for long calls: as many as there are cores, each running guests in slices of a millisecond; the first may be longer (`ticker.rs`).
pub(crate) struct LongPool {
    runtime: Option<tokio::runtime::Runtime>,
    threads: usize,
}

impl LongPool {
    /// Starts the pool's runtime; its threads are started with it and sleep until needed.
    pub(crate) fn start(threads: usize) -> std::io::Result<LongPool> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("capsule-guest")
            .enable_all()
            // Timers and other threads' wake-ups are looked at after every slice, not after 61 of them.
            .event_interval(1)
            .global_queue_interval(2)
            .on_thread_start(lower_priority)
            .build()?;
        Ok(LongPool { runtime: Some(runtime), threads })
    }

    /// Permits of one function: it may use every thread, and never more than one call for each.
    pub(crate) fn function_permits(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.threads))
    }

    fn spawn<T: Send + 'static>(&self, lane: &Arc<Lane>, future: BoxFuture<'static, T>) -> JoinHandle<T> {
        let sliced = Sliced { future, lane: Arc::clone(lane), permit: Permit::None, slices: 0, total: 0 };
        self.runtime.as_ref().expect("the pool's runtime lives until the pool is dropped").spawn(sliced)
    }
}

impl Drop for LongPool {
    fn drop(&mut self) {
        // Guests may loop: nobody waits for them.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Guests are less urgent than the threads that accept, read and time out.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 5);
}

/// What the calls of one function share: its permits, and whether its calls have lately been long.
pub(crate) struct Lane {
    pool: Arc<LongPool>,
    permits: Arc<Semaphore>,
    /// Set when a call moved; the next ones start in the pool, until one of them needs no second slice there. So a function
    /// that always computes long costs the I/O threads nothing.
    long: AtomicBool,
}

impl Lane {
    pub(crate) fn new(pool: &Arc<LongPool>) -> Lane {
        Lane { pool: Arc::clone(pool), permits: pool.function_permits(), long: AtomicBool::new(false) }
    }
}

enum Permit {
    None,
    Wanted(BoxFuture<'static, OwnedSemaphorePermit>),
    Held(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit),
}

/// A call in the pool: polled only with a permit of its function, which it holds while it computes and not while it waits.
struct Sliced<T> {
    future: BoxFuture<'static, T>,
    lane: Arc<Lane>,
    permit: Permit,
    /// Slices since the permit was taken.
    slices: u32,
    /// Slices in all.
    total: u32,
}

impl<T> Future for Sliced<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        loop {
            match &mut this.permit {
                Permit::Held(_) => break,
                Permit::Wanted(acquire) => {
                    let permit = ready!(acquire.as_mut().poll(context));
                    this.slices = 0;
                    this.permit = Permit::Held(permit);
                }
                Permit::None => match Arc::clone(&this.lane.permits).try_acquire_owned() {
                    Ok(permit) => {
                        this.slices = 0;
                        this.permit = Permit::Held(permit);
                    }
                    Err(_) => {
                        let permits = Arc::clone(&this.lane.permits);
                        this.permit = Permit::Wanted(Box::pin(async move {
                            permits.acquire_owned().await.expect("the permits of a function are never closed")
                        }));
                    }
                },
            }
        }
        let (poll, yielded) = poll_slice(Home::Pool, this.future.as_mut(), context);
        match poll {
            Poll::Ready(output) => {
                if this.total < 2 {
                    this.lane.long.store(false, Ordering::Relaxed);
                }
                Poll::Ready(output)
            }
            Poll::Pending => {
                this.slices += 1;
                this.total = this.total.saturating_add(u32::from(yielded));
                if !yielded || this.slices >= QUANTUM {
                    this.permit = Permit::None;
                }
                Poll::Pending
            }
        }
    }
}

/// What happens to a call whose caller goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// The call is dropped, its instance with it.
    Cancel,
    /// The call runs on to its end or deadline: its instance has state.
    RunOn,
}

/// A call on its way: inline first, then in the pool. See the head of this file.
pub(crate) struct Running<'a, T: Send + 'static> {
    stage: Stage<T>,
    lane: &'a Arc<Lane>,
    hang_up: HangUp,
    deadline: Option<Instant>,
}

enum Stage<T> {
    Inline(BoxFuture<'static, T>),
    Moved { handle: JoinHandle<T>, timer: Option<Pin<Box<Sleep>>> },
    Done,
}

/// Why a [`Running`] has no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The deadline passed while the call waited for its turn in the pool.
    Deadline,
    /// The call's task panicked or its runtime ended.
    Ended,
}

impl<'a, T: Send + 'static> Running<'a, T> {
    pub(crate) fn new(
        lane: &'a Arc<Lane>,
        hang_up: HangUp,
        deadline: Option<Instant>,
        future: BoxFuture<'static, T>,
    ) -> Running<'a, T> {
        let mut running = Running { stage: Stage::Inline(future), lane, hang_up, deadline };
        if lane.long.load(Ordering::Relaxed) {
            running.move_to_pool();
        }
        running
    }

    fn move_to_pool(&mut self) {
        if let Stage::Inline(future) = std::mem::replace(&mut self.stage, Stage::Done) {
            let handle = self.lane.pool.spawn(self.lane, future);
            let timer = self.deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline + GRACE)));
            self.stage = Stage::Moved { handle, timer };
        }
    }
}

impl<T: Send + 'static> Future for Running<'_, T> {
    type Output = Result<T, Lost>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Lost>> {
        let this = self.get_mut();
        // Taken out while it is polled: one that panics is not polled again.
        match std::mem::replace(&mut this.stage, Stage::Done) {
            Stage::Inline(mut future) => match poll_slice(Home::Caller, future.as_mut(), context) {
                (Poll::Ready(output), _) => return Poll::Ready(Ok(output)),
                (Poll::Pending, yielded) => {
                    this.stage = Stage::Inline(future);
                    if !yielded {
                        return Poll::Pending;
                    }
                    this.lane.long.store(true, Ordering::Relaxed);
                    this.move_to_pool();
                }
            },
            stage => this.stage = stage,
        }
        let Stage::Moved { handle, timer } = &mut this.stage else {
            return Poll::Ready(Err(Lost::Ended));
        };
        if let Poll::Ready(joined) = Pin::new(&mut *handle).poll(context) {
            this.stage = Stage::Done;
            return Poll::Ready(joined.map_err(|_| Lost::Ended));
        }
        if let Some(timer) = timer {
            ready!(timer.as_mut().poll(context));
            handle.abort();
            this.stage = Stage::Done;
            return Poll::Ready(Err(Lost::Deadline));
        }
        Poll::Pending
    }
}

impl<T: Send + 'static> Drop for Running<'_, T> {
    fn drop(&mut self) {
        match (std::mem::replace(&mut self.stage, Stage::Done), self.hang_up) {
            (Stage::Inline(future), HangUp::RunOn) => drop(self.lane.pool.spawn(self.lane, future)),
            (Stage::Moved { handle, .. }, HangUp::Cancel) => handle.abort(),
            _ => {}
        }
    }
}

/// `future`, or `None` when `deadline` passes first. The timer is made only when the future has to wait.
pub(crate) fn within<F: Future + Unpin>(deadline: Option<Instant>, future: F) -> Within<F> {
    Within { deadline, future, timer: None }
}

/// See [`within`]. Not an `async fn`, whose future would hold twice what it is given.
pub(crate) struct Within<F> {
    deadline: Option<Instant>,
    future: F,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.get_mut();
        if let Poll::Ready(output) = Pin::new(&mut this.future).poll(context) {
            return Poll::Ready(Some(output));
        }
        let Some(deadline) = this.deadline else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| None)
    }
}

/// True on a thread that runs guests in slices: I/O does not belong there.
pub(crate) fn in_pool() -> bool {
    SLICE.with(|cell| cell.get().home == Home::Pool)
}
