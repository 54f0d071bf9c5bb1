//! What an answer means for the cursor: confirmed, parked, dropped.

use super::Pipeline;
use crate::{
    log::connection::Connection,
    planted::{Bug, is_planted},
    publish::{PublishError, Publisher},
    sink::{
        dispatch::{Answer, Refused},
        outgoing::{Origin, Outgoing},
    },
};

impl<P: Publisher, C: Connection> Pipeline<P, C> {
    pub(super) fn settle(&mut self, answer: Answer) {
        let settled = self.dispatch.settle(answer);
        self.saving.note_settled(settled.confirmed.len());
        for event in settled.confirmed {
            self.end(&event);
        }
        for refused in settled.refused {
            self.park(refused);
        }
        if !settled.dropped.is_empty() {
            self.sink.metrics.dropped(settled.dropped.len());
            for event in settled.dropped {
                self.end(&event);
                tracing::error!(
                    sink = self.sink.name,
                    event = %event.id,
                    seq = event.seq,
                    "the answer is missing and the sink sends at most once: the event may be lost"
                );
            }
        }
    }

    /// Sets an event aside, and what waited behind it.
    fn park(&mut self, refused: Refused) {
        if refused.error.code == PublishError::GONE && !matches!(refused.event.origin, Origin::Parked(_)) {
            self.lose(&refused.event);
            for follower in refused.followers {
                self.dispatch.push(follower);
            }
            return;
        }
        let Refused {
            event,
            error,
            attempts,
            followers,
        } = refused;
        tracing::error!(
            sink = self.sink.name,
            event = %event.id,
            seq = event.seq,
            code = error.code,
            reason = error.message,
            attempts,
            followers = followers.len(),
            "the event is parked; see `outbox-relay parked list`"
        );
        match event.origin {
            Origin::Parked(edition) if is_planted(Bug::RetryTakenForDone) => self.parking.settle(event.seq, edition),
            Origin::Parked(edition) => {
                self.parking
                    .refuse_again(event.seq, edition, event.key(), &error, attempts);
            }
            Origin::Log(_) | Origin::Settled | Origin::Replay => {
                self.end(&event);
                self.parking.refuse(event.seq, event.key(), &error, attempts);
            }
        }
        for follower in followers {
            self.follow(&follower);
        }
        // What waits for the next save would come into the lane that was just closed. What the save under
        // way moves over is looked at when that is done.
        let is_behind = |held: &Outgoing| held.key().is_some_and(|key| Some(key) == event.key());
        let (followers, held) = std::mem::take(&mut self.held).into_iter().partition(is_behind);
        self.held = held;
        let followers: Vec<Outgoing> = followers;
        for follower in followers {
            self.follow(&follower);
        }
        self.saving.note_settled(1);
    }

    /// Nothing is left of the event that could be set aside.
    fn lose(&mut self, event: &Outgoing) {
        self.sink.metrics.dropped(1);
        tracing::error!(
            sink = self.sink.name,
            event = %event.id,
            seq = event.seq,
            "the event's row was deleted from the log while it waited for the target: it is lost"
        );
        self.end(event);
        self.saving.note_settled(1);
    }

    /// Sets an event aside because one before it is.
    pub(super) fn follow(&mut self, event: &Outgoing) {
        match event.origin {
            Origin::Parked(_) => self.parking.put_back(event.seq, event.key()),
            Origin::Log(_) | Origin::Settled | Origin::Replay => {
                self.end(event);
                self.parking.follow(event.seq, event.key());
            }
        }
        self.saving.note_settled(1);
    }

    /// An event will not be sent again.
    fn end(&mut self, event: &Outgoing) {
        match event.origin {
            Origin::Log(ticket) => self.reader.settle(ticket),
            Origin::Parked(edition) => self.parking.settle(event.seq, edition),
            Origin::Settled => self.passed.end(event.seq),
            Origin::Replay => {}
        }
    }
}
