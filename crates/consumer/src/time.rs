//! Time and chance: tokio's clock; in the test kit one that stands still until everybody waits.
//!
//! Nothing else in this crate asks for the time: a test would wait for it.

pub(crate) use tokio::time::Instant;

use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt as _;

/// This moment, for lengths of time.
pub(crate) fn now() -> Instant {
    #[cfg(feature = "test-kit")]
    if let Some(now) = crate::test_kit::clock::now() {
        return now;
    }
    Instant::now()
}

/// What the machine's wall clock shows. Another machine's may show anything else.
pub(crate) fn wall() -> Timestamp {
    #[cfg(feature = "test-kit")]
    if let Some(wall) = crate::test_kit::clock::wall() {
        return wall;
    }
    Timestamp::now()
}

/// Waits until `deadline`.
///
/// # Cancel safety
/// Safe: it only waits.
pub(crate) async fn sleep_until(deadline: Instant) {
    #[cfg(feature = "test-kit")]
    if let Some(sleep) = crate::test_kit::clock::sleep_until(deadline) {
        return sleep.await;
    }
    tokio::time::sleep_until(deadline).await;
}

/// From 0 to below 1.
pub(crate) fn chance() -> f64 {
    #[cfg(feature = "test-kit")]
    if let Some(chance) = crate::test_kit::clock::chance() {
        return chance;
    }
    rand::rng().random()
}

/// A random moment, after `pause` or up to half of it earlier.
pub(crate) fn after_about(pause: Duration) -> Instant {
    now() + pause / 2 + pause.mul_f64(chance() / 2.0)
}

/// The time was over before the work was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// Works until `deadline`, and drops the work then.
pub(crate) async fn timeout_at<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let work = std::pin::pin!(work);
    let over = std::pin::pin!(sleep_until(deadline));
    match futures::future::select(work, over).await {
        futures::future::Either::Left((done, _)) => Ok(done),
        futures::future::Either::Right(((), _)) => Err(Elapsed),
    }
}
