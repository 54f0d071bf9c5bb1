//! Waiting by condition, with a deadline.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How long a test waits for what should happen at once: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(15);

/// Asks `look` again and again until it has an answer, for at most [`PATIENCE`].
///
/// An error of `look` means "not yet" and says what was seen instead; the last one stands in the
/// failure.
///
/// # Errors
/// The deadline passed; the message says what was awaited and what was last seen.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    until_within(PATIENCE, what, look).await
}

/// As [`until`], with another deadline.
///
/// # Errors
/// As [`until`].
pub async fn until_within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let mut last_seen = String::from("nothing yet: the first look did not end");
    loop {
        let left = patience.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => last_seen = format!("{seen:#}"),
            Err(_) => {}
        }
        if started.elapsed() >= patience {
            bail!(
                "waited {:.1} s for {what}; last seen: {last_seen}",
                patience.as_secs_f32()
            );
        }
        sleep(POLL_INTERVAL).await;
    }
}
