//! The end of the loop.

use tokio::time::{Instant, timeout_at};

use super::{Pipeline, PipelineError, Woken, job::Done};
use crate::{publish::Publisher, sink::Guarantee};

impl<P: Publisher> Pipeline<P> {
    /// Takes no new events, waits for the answers that are out, saves. Returns whether every request
    /// was answered.
    pub(super) async fn drain(&mut self) -> Result<bool, PipelineError> {
        let deadline = Instant::now() + self.sink.drain_timeout;
        // What the cursor has moved over already would be lost.
        let sends_on = self.sink.guarantee == Guarantee::AtMostOnce;
        loop {
            if sends_on {
                self.dispatch.send();
            }
            if self.desk.is_idle() && !self.held.is_empty() {
                let job = self.save();
                self.desk.start(job);
            }
            let is_busy = !self.desk.is_idle();
            let is_sending = self.dispatch.in_flight() > 0 || (sends_on && self.dispatch.queued() > 0);
            if !is_busy && !is_sending {
                break;
            }
            let due = self.dispatch.next_due().filter(|_| sends_on).unwrap_or(deadline);
            let woken = async {
                tokio::select! {
                    biased;
                    Some(answer) = self.dispatch.answer() => Ok::<_, PipelineError>(Woken::Answered(answer?)),
                    done = self.desk.done(), if is_busy => Ok(Woken::Done(done?)),
                    () = tokio::time::sleep_until(due) => Ok(Woken::Due),
                }
            };
            match timeout_at(deadline, woken).await {
                Err(_) => break,
                Ok(woken) => match woken? {
                    Woken::Answered(answer) => self.settle(answer),
                    // What was read and not pushed yet is read again by whoever comes next.
                    Woken::Done(Done::Read { .. } | Done::Retries { .. }) => {}
                    Woken::Done(done) => self.take(done),
                    Woken::Due => {}
                },
            }
        }
        let unanswered = self.dispatch.in_flight();
        if unanswered > 0 {
            tracing::warn!(
                sink = self.sink.name,
                requests = unanswered,
                "drain ended with requests unanswered; their events will be published again"
            );
            self.dispatch.abort();
        }
        if sends_on && self.dispatch.queued() > 0 {
            let events = self.dispatch.queued();
            self.sink.metrics.dropped(events);
            tracing::error!(
                sink = self.sink.name,
                events,
                "drain ended before these events were sent, and the sink sends at most once: they are lost"
            );
        }
        if !self.desk.is_idle() {
            return Err(PipelineError::Timeout);
        }
        if self.reader.has_moved() || self.parking.has_changes() {
            let job = self.save();
            self.desk.start(job);
            let done = self.desk.done().await?;
            self.take(done);
        }
        tracing::info!(sink = self.sink.name, unsettled = self.reader.len(), "drained");
        Ok(unanswered == 0)
    }
}
