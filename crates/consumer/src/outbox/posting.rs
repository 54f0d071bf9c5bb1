//! Sending what the events of one batch emit, beside the work on the batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[cfg(feature = "otel")]
use jiff::Timestamp;

#[cfg(feature = "otel")]
use super::drain::Posted;
use super::{
    Outbox,
    sweep::{Extent, SweepReport},
};
use crate::{dynamodb::store::ItemKey, invocation::Invocation};

/// What is to be sent in one invocation.
pub(crate) struct Posting<'a> {
    outbox: &'a Outbox,
    pub(crate) invocation: &'a Invocation,
    extent: Extent,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    due: Vec<ItemKey>,
    is_over: bool,
    report: OutboxReport,
}

/// What an invocation has sent of what was emitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxReport {
    /// Events that have arrived where they go.
    pub sent: usize,
    /// What its last sweep came to, where it has swept.
    pub sweep: Option<SweepReport>,
    #[cfg(feature = "otel")]
    pub(crate) posted: Vec<Posted>,
    #[cfg(feature = "otel")]
    pub(crate) sweeps: Vec<Swept>,
}

/// A sweep, for its span.
#[cfg(feature = "otel")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) report: SweepReport,
}

impl<'a> Posting<'a> {
    /// For a batch of so many records; one of none only sweeps.
    pub(crate) fn new(outbox: &'a Outbox, records: usize, invocation: &'a Invocation) -> Self {
        Self {
            outbox,
            invocation,
            extent: if records == 0 { Extent::All } else { Extent::Page },
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// These parcels have been committed, or are in the way of what is to be.
    pub(crate) fn look_at(&self, places: impl Iterator<Item = ItemKey>) {
        {
            let mut state = self.state();
            for place in places {
                if !state.due.contains(&place) {
                    state.due.push(place);
                }
            }
        }
        self.changed.notify_one();
    }

    /// Somebody else may have committed parcels and not sent them.
    pub(crate) fn suspect(&self) {
        self.outbox.want_sweep();
    }

    /// Nothing is committed any more.
    pub(crate) fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_one();
    }

    /// Sends until the batch is over and all is sent, or its time is. What is left is remembered.
    ///
    /// # Cancel safety
    /// What was not sent stays in the outbox.
    pub(crate) async fn run(&self) {
        let mut places = self.outbox.take_left();
        self.sweep_if_due(self.extent).await;
        loop {
            let is_over = {
                let mut state = self.state();
                for place in std::mem::take(&mut state.due) {
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
                state.is_over
            };
            if !places.is_empty() {
                let drained = self
                    .outbox
                    .drain(std::mem::take(&mut places), self.invocation.budget.settle_until)
                    .await;
                {
                    let mut state = self.state();
                    state.report.sent += drained.sent.len();
                    #[cfg(feature = "otel")]
                    state.report.posted.extend(drained.posted);
                }
                self.outbox.leave(drained.left);
            } else if is_over {
                break;
            } else {
                self.changed.notified().await;
            }
        }
        if self.extent == Extent::Page {
            self.sweep_if_due(Extent::Page).await;
        }
    }

    /// What came of it.
    pub(crate) fn report(&self) -> OutboxReport {
        self.state().report.clone()
    }

    async fn sweep_if_due(&self, extent: Extent) {
        #[cfg(feature = "otel")]
        let started = crate::time::wall();
        if let Some(swept) = self
            .outbox
            .sweep_if_due(extent, self.invocation.budget.start_until)
            .await
        {
            let mut state = self.state();
            state.report.sent += swept.sent;
            #[cfg(feature = "otel")]
            {
                let mut swept = swept.clone();
                state.report.posted.append(&mut swept.posted);
                state.report.sweeps.push(Swept {
                    started,
                    ended: crate::time::wall(),
                    report: swept,
                });
            }
            state.report.sweep = Some(swept);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
