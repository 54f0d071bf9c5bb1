//! The end of the loop.

use tokio::time::{Instant, timeout_at};

use super::{Pipeline, PipelineError, Woken, job::Done};
use crate::{
    log::{Seq, connection::Connection},
    planted::{Bug, is_planted},
    publish::Publisher,
    sink::{
        Guarantee,
        outgoing::{Origin, Outgoing},
    },
};

impl<P: Publisher, C: Connection> Pipeline<P, C> {
    /// Takes no new events, waits for the answers that are out, saves.
    pub(super) async fn drain(&mut self) -> Result<(), PipelineError> {
        let deadline = Instant::now() + self.sink.drain_timeout;
        self.drains_until = Some(deadline);
        // What the cursor has moved over already would be lost.
        let sends_on = self.sink.guarantee == Guarantee::AtMostOnce;
        loop {
            if sends_on {
                self.dispatch.send();
            }
            if self.desk.is_idle() && !self.held.is_empty() {
                let job = self.save();
                self.desk.start(job);
            } else if sends_on && self.desk.is_idle() && self.dispatch.wants_load() {
                let job = self.load();
                self.desk.start(job);
            }
            let is_busy = !self.desk.is_idle();
            let is_sending = (self.dispatch.in_flight() > 0 && !is_planted(Bug::DrainWithoutAnswers))
                || (sends_on && self.dispatch.queued() > 0);
            // Looked at here and not left to the timeout below: what it waits for may be due, too, and wins.
            if (!is_busy && !is_sending) || Instant::now() >= deadline {
                break;
            }
            let due = if sends_on { self.next_due() } else { deadline };
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
                "drain ended with requests unanswered"
            );
            self.dispatch.abort();
        }
        // Parked events that were to be sent again and have not been: the next holder may.
        let not_sent = |event: &&Outgoing| matches!(event.origin, Origin::Parked(_));
        let put_back: Vec<Seq> = self
            .dispatch
            .waiting()
            .filter(not_sent)
            .map(|event| event.seq)
            .collect();
        for seq in put_back {
            self.parking.put_back(seq, None);
        }
        if !self.desk.is_idle() {
            return Err(PipelineError::Timeout);
        }
        self.count_lost();
        if self.reader.has_moved() || self.parking.has_changes() {
            let job = self.save();
            self.desk.start(job);
            let done = self.desk.done().await?;
            self.take(done);
        }
        tracing::info!(sink = self.sink.name, unsettled = self.reader.len(), "drained");
        Ok(())
    }
}
