//! A clock that stands still until everybody waits, and then jumps to the first who does.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

thread_local! {
    /// The clock of the future that is being polled, and how far its machine's wall clock is off.
    static CLOCK: RefCell<Option<(Rc<RefCell<Clock>>, SignedDuration)>> = const { RefCell::new(None) };
}

struct Clock {
    began: Instant,
    now: Instant,
    wall: Timestamp,
    next_id: u64,
    chance: StdRng,
    /// Who is to be woken when; the number tells timers of one moment apart.
    timers: BTreeMap<(Instant, u64), Waker>,
}

pub(crate) fn now() -> Option<Instant> {
    CLOCK.with_borrow(|clock| clock.as_ref().map(|(clock, _)| clock.borrow().now))
}

pub(crate) fn wall() -> Option<Timestamp> {
    let wall = |(clock, off): &(Rc<RefCell<Clock>>, SignedDuration)| clock.borrow().wall.checked_add(*off).ok();
    CLOCK.with_borrow(|clock| clock.as_ref().and_then(wall))
}

/// How long the clock has run.
pub(crate) fn elapsed() -> Option<Duration> {
    let elapsed = |clock: &Clock| clock.now.saturating_duration_since(clock.began);
    CLOCK.with_borrow(|clock| clock.as_ref().map(|(clock, _)| elapsed(&clock.borrow())))
}

/// From 0 to below 1, the same ones for the same seed.
pub(crate) fn chance() -> Option<f64> {
    CLOCK.with_borrow(|clock| clock.as_ref().map(|(clock, _)| clock.borrow_mut().chance.random()))
}

pub(crate) fn sleep_until(deadline: Instant) -> Option<Sleep> {
    CLOCK.with_borrow(|clock| {
        let (clock, _) = clock.as_ref()?;
        let mut clock = clock.borrow_mut();
        clock.next_id += 1;
        let id = clock.next_id;
        Some(Sleep { key: (deadline, id) })
    })
}

/// Waits for a moment of the clock under which it is polled.
pub(crate) struct Sleep {
    key: (Instant, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        CLOCK.with_borrow(|clock| {
            let Some((clock, _)) = clock else {
                return Poll::Ready(());
            };
            let mut clock = clock.borrow_mut();
            if clock.now >= self.key.0 {
                clock.timers.remove(&self.key);
                return Poll::Ready(());
            }
            clock.timers.insert(self.key, context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // Outside of a poll a timer may stay behind; it wakes nobody that minds.
        CLOCK.with_borrow(|clock| {
            if let Some(mut clock) = clock.as_ref().and_then(|(clock, _)| clock.try_borrow_mut().ok()) {
                clock.timers.remove(&self.key);
            }
        });
    }
}

/// Wakes the runtime, and tells the clock that there is something to do.
struct Woken {
    is_woken: AtomicBool,
    outer: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.outer.wake_by_ref();
    }
}

/// Runs `work` on a clock of its own, which begins at a fixed moment and costs no time; what is random in the
/// library follows `seed`.
///
/// The clock jumps as soon as nothing in `work` can go on without it. What waits for something outside (a
/// socket, another thread) finds that time has flown.
pub(crate) async fn on_its_own_clock<T>(seed: u64, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let clock = Rc::new(RefCell::new(Clock {
        began,
        now: began,
        wall: Timestamp::constant(1_800_000_000, 0),
        next_id: 0,
        chance: StdRng::seed_from_u64(seed),
        timers: BTreeMap::new(),
    }));
    // Tokio lets a task go on only so often before it must yield, and holds back what would wake it
    // until then. Here everything happens in one go: what is held back would look like waiting.
    let mut work = std::pin::pin!(tokio::task::unconstrained(work));
    std::future::poll_fn(|context| {
        let woken = Arc::new(Woken {
            is_woken: AtomicBool::new(false),
            outer: context.waker().clone(),
        });
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            woken.is_woken.store(false, Ordering::SeqCst);
            let entered = Entered::new(Rc::clone(&clock), SignedDuration::ZERO);
            let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
            drop(entered);
            if polled.is_ready() {
                return polled;
            }
            if !woken.is_woken.load(Ordering::SeqCst) && !jump(&clock) {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Jumps to the first timer and wakes it; false when there is none.
fn jump(clock: &RefCell<Clock>) -> bool {
    let waker = {
        let mut clock = clock.borrow_mut();
        let Some(((deadline, _), waker)) = clock.timers.pop_first() else {
            return false;
        };
        let passed = deadline.saturating_duration_since(clock.now);
        clock.now += passed;
        clock.wall += passed;
        waker
    };
    waker.wake();
    true
}

/// Polls `work` as if the wall clock of its machine were off by what `by` says at each moment.
pub(crate) async fn with_clock<T>(by: impl Fn() -> SignedDuration, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let clock = CLOCK.with_borrow(|clock| clock.as_ref().map(|(clock, _)| Rc::clone(clock)));
        let _entered = clock.map(|clock| Entered::new(clock, by()));
        work.as_mut().poll(context)
    })
    .await
}

/// Waits on the clock under which it is polled.
pub(crate) async fn sleep(length: Duration) {
    crate::time::sleep_until(crate::time::now() + length).await;
}

/// The clock while a future is polled; afterwards the one before.
struct Entered(Option<(Rc<RefCell<Clock>>, SignedDuration)>);

impl Entered {
    fn new(clock: Rc<RefCell<Clock>>, off: SignedDuration) -> Self {
        Self(CLOCK.replace(Some((clock, off))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CLOCK.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hours_pass_at_once_and_in_order() {
        let started = std::time::Instant::now();
        on_its_own_clock(1, async {
            let began = crate::time::now();
            let order = RefCell::new(Vec::new());
            let wait = |hours: u64| {
                let order = &order;
                async move {
                    sleep(Duration::from_secs(hours * 3600)).await;
                    order.borrow_mut().push((hours, crate::time::now() - began));
                }
            };
            futures::join!(wait(3), wait(1), wait(2));
            let hours = |n: u64| (n, Duration::from_secs(n * 3600));
            assert_eq!(*order.borrow(), [hours(1), hours(2), hours(3)]);
        })
        .await;
        assert!(started.elapsed() < Duration::from_secs(3600));
    }

    #[tokio::test]
    async fn a_wall_clock_may_be_off_while_lengths_of_time_are_not() {
        on_its_own_clock(1, async {
            let off = SignedDuration::from_mins(-10);
            let (wall, now) = (crate::time::wall(), crate::time::now());
            let there = with_clock(|| off, async { (crate::time::wall(), crate::time::now()) }).await;
            assert_eq!(there, (wall + off, now));
            assert_eq!(crate::time::wall(), wall);
        })
        .await;
    }

    #[tokio::test]
    async fn what_comes_in_time_is_not_given_up() {
        on_its_own_clock(1, async {
            let until = crate::time::now() + Duration::from_secs(2);
            assert_eq!(
                crate::time::timeout_at(until, sleep(Duration::from_secs(1))).await,
                Ok(())
            );
            assert_eq!(
                crate::time::timeout_at(until, sleep(Duration::from_secs(2))).await,
                Err(crate::time::Elapsed)
            );
        })
        .await;
    }
}
