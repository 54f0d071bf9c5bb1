//! The end of the loop of a sink that sends at most once, when the database or the cursor is lost.
//!
//! What the cursor has moved over nobody will read again. It is sent on for as long as the lease allows
//! and the drain timeout lasts; what is left then is lost, and counted.

use tokio::time::{Instant, timeout_at};

use super::{Pipeline, PipelineError, poll::LONGEST};
use crate::{
    log::connection::Connection,
    publish::Publisher,
    sink::{Guarantee, outgoing::Origin},
};

impl<P: Publisher, C: Connection> Pipeline<P, C> {
    pub(super) async fn give_up(&mut self, error: &PipelineError) {
        if self.sink.guarantee != Guarantee::AtMostOnce {
            return;
        }
        // Why not, whoever runs this pipeline tells when it has ended.
        self.sink.metrics.ready(false);
        // No save was begun that moves over these.
        for event in self.held.drain(..) {
            self.passed.end(event.seq);
        }
        // A save that is known to have failed has moved over nothing. Of any other it is not known, so
        // its events must not be sent, and may be lost.
        if matches!(error, PipelineError::Superseded(_)) {
            for event in self.saving_held.drain(..) {
                self.passed.end(event.seq);
            }
        }
        let deadline = self
            .drains_until
            .unwrap_or_else(|| Instant::now() + self.sink.drain_timeout);
        while !matches!(error, PipelineError::Panicked) && Instant::now() < deadline {
            self.dispatch.send();
            let is_waiting = self.dispatch.has_something_to_send() && self.dispatch.may_send();
            if self.dispatch.in_flight() == 0 && !is_waiting {
                break;
            }
            // The lease may end meanwhile.
            let wake = self.next_due().min(Instant::now() + LONGEST).min(deadline);
            match timeout_at(wake, self.dispatch.answer()).await {
                Ok(Some(Ok(answer))) => self.settle_finally(answer),
                Ok(Some(Err(_))) => break,
                // Nothing is out: until something is due.
                Ok(None) => tokio::time::sleep_until(wake).await,
                Err(_) => {}
            }
        }
        self.dispatch.abort();
        self.count_lost();
    }

    /// Counts what the cursor has moved over and that will not be sent, or was and has no answer.
    pub(super) fn count_lost(&mut self) {
        let events = self.passed.give_up();
        if events > 0 {
            self.sink.metrics.dropped(events);
            tracing::error!(
                sink = self.sink.name,
                events,
                "ended before it was known that these events have arrived, and the sink sends at most once: they may be lost"
            );
        }
    }

    /// What an answer means when nothing can be written any more. What was refused is lost, since it
    /// cannot be parked; a parked event stays as the table has it, and a person decides.
    fn settle_finally(&mut self, answer: super::Answer) {
        let settled = self.dispatch.settle(answer);
        for event in settled.confirmed {
            if event.origin == Origin::Settled {
                self.passed.end(event.seq);
            }
        }
    }
}
