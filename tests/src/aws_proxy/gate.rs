//! Where a request is held until the test decides what becomes of it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tokio::sync::watch;

use crate::until;

/// Requests that are held, and the decision about them.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waiting: watch::Sender<usize>,
    decision: watch::Sender<Option<Decision>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    GoOn,
    Discard,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            waiting: watch::Sender::new(0),
            decision: watch::Sender::new(None),
        }))
    }

    /// Waits until `count` requests have come to the gate.
    ///
    /// # Errors
    /// Not in time.
    pub async fn reached(&self, count: usize) -> Result<()> {
        until(&format!("{count} requests at the gate"), async || {
            let waiting = *self.0.waiting.borrow();
            ensure!(waiting >= count, "{waiting} so far");
            Ok(())
        })
        .await
    }

    /// Lets all go on, those that come later too.
    pub fn release(&self) {
        self.0.decision.send_replace(Some(Decision::GoOn));
    }

    /// Lets none go on: they are answered with a 503, or their connections are closed.
    pub fn discard(&self) {
        self.0.decision.send_replace(Some(Decision::Discard));
    }

    pub(super) async fn pass(&self) -> Decision {
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        let mut decision = self.0.decision.subscribe();
        // The sender lives as long as this gate.
        let decided = decision.wait_for(Option::is_some).await;
        decided.ok().and_then(|decided| *decided).unwrap_or(Decision::Discard)
    }
}
