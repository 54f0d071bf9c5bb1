//! What an answer means for the cursor: confirmed, parked, dropped.

use super::Pipeline;
use crate::{
    publish::Publisher,
    sink::{
        dispatch::{Answer, Refused},
        entry::Item as _,
        outgoing::{Origin, Outgoing},
    },
};

impl<P: Publisher> Pipeline<P> {
    pub(super) fn settle(&mut self, answer: Answer) {
        let settled = self.dispatch.settle(answer);
        self.saving.note_settled(settled.confirmed.len());
        for event in settled.confirmed {
            match event.origin {
                Origin::Log(ticket) => self.reader.settle(ticket),
                Origin::Parked => self.parking.confirm(event.seq),
                Origin::Settled | Origin::Replay => {}
            }
        }
        for refused in settled.refused {
            self.park(refused);
        }
        if !settled.dropped.is_empty() {
            self.sink.metrics.dropped(settled.dropped.len());
            for event in settled.dropped {
                tracing::error!(
                    sink = self.sink.name,
                    event = event.message().map_or("", |message| message.id.as_str()),
                    seq = event.seq,
                    "the answer is missing and the sink sends at most once: the event may be lost"
                );
            }
        }
    }

    /// Sets an event aside, and what waited behind it.
    fn park(&mut self, refused: Refused) {
        let Refused {
            event,
            error,
            attempts,
            followers,
        } = refused;
        tracing::error!(
            sink = self.sink.name,
            event = event.message().map_or("", |message| message.id.as_str()),
            seq = event.seq,
            code = error.code,
            reason = error.message,
            attempts,
            followers = followers.len(),
            "the event is parked; see `outbox-relay parked`"
        );
        match event.origin {
            Origin::Log(ticket) => {
                self.reader.settle(ticket);
                self.parking.refuse(event.seq, event.lane(), &error, attempts);
            }
            Origin::Settled | Origin::Replay => self.parking.refuse(event.seq, event.lane(), &error, attempts),
            Origin::Parked => self.parking.refuse_again(event.seq, &error, attempts),
        }
        for follower in followers {
            self.follow(&follower);
        }
        self.saving.note_settled(1);
    }

    /// Sets an event aside because one before it is.
    pub(super) fn follow(&mut self, event: &Outgoing) {
        match event.origin {
            Origin::Log(ticket) => {
                self.reader.settle(ticket);
                self.parking.follow(event.seq, event.lane());
            }
            Origin::Settled | Origin::Replay => self.parking.follow(event.seq, event.lane()),
            Origin::Parked => self.parking.put_back(event.seq),
        }
        self.saving.note_settled(1);
    }
}
