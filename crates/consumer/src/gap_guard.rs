//! Whose turn it is within a key, and how far a consumer has come in it. Pure, and the same for each store.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    failure::{Failure, Reason},
    outcome::Verdict,
    planted::{Bug, is_planted},
    record::Content,
    retry_delay::Retry,
    time,
};

/// How many events of a key are known by their id and payload, and not by their sequence alone.
const RECENT: usize = 32;
/// How many events may be passed by before a person has to look.
pub(crate) const MAX_MISSED: usize = 1_000;
/// An event as the watermark remembers it.
const PRINT_BYTES: usize = 16;
/// How long an event waits for its predecessors by default. Those are retried meanwhile.
const PARK_AFTER: Duration = Duration::from_secs(60 * 60);

/// Holds back an event whose predecessors within its key have not had their effect yet.
///
/// It is for consumers that get *all* events of a key: one that a filter leaves out is a gap.
///
/// With [`RetryDelay::ByReceiveCount`](crate::RetryDelay::ByReceiveCount), an event that is held is delivered again after
/// about a second for each of its predecessors that are still missing, and later when the key does not go on meanwhile:
/// a backlog of a key on a standard queue goes on by about one event in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapGuard {
    start: Start,
    park_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    One,
    FirstSeen,
}

impl GapGuard {
    /// Every key begins with sequence 1: for a consumer that has been there from the beginning, or
    /// is fed by a replay from it.
    #[must_use]
    pub const fn from_one() -> Self {
        Self {
            start: Start::One,
            park_after: PARK_AFTER,
        }
    }

    /// A key begins with the event of it that comes first: for a consumer that begins in the middle.
    ///
    /// What comes later with a lower sequence than that has its effect once too, but in no order.
    #[must_use]
    pub const fn from_first_seen() -> Self {
        Self {
            start: Start::FirstSeen,
            park_after: PARK_AFTER,
        }
    }

    /// How long an event waits while its key does not go on, until it goes to the dead-letter queue with reason
    /// `gap`; by default an hour. It counts from its first delivery (on a FIFO queue from when it was sent, since it waits there
    /// behind others of its group), or from the moment at which the key went on last, whichever was later, by the clocks of SQS and of the functions.
    ///
    /// Take more than a predecessor may be retried for, and than an outage of the functions may last: after a longer
    /// one, what happens to come before its predecessor has waited long enough. An event that has waited is delivered again after as long
    /// as it has waited, at most 15 minutes: within an hour some 15 times, so that the queue's `maxReceiveCount` is to be
    /// higher. With [`max_receive_count`](crate::ConsumerBuilder::max_receive_count) the last delivery but one
    /// parks it in any case.
    #[must_use]
    pub const fn park_after(mut self, waited: Duration) -> Self {
        self.park_after = waited;
        self
    }
}

/// Where the watermarks of a consumer are: beside the effects of its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    #[cfg(feature = "dynamodb")]
    DynamoDb,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// Where an event stands that the gap guard looks after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position<'a> {
    pub(crate) key: &'a str,
    pub(crate) sequence: i64,
}

impl<'a> Position<'a> {
    /// `None` when it has no key or no sequence.
    pub(crate) fn of(content: &'a Content) -> Option<Self> {
        let envelope = &content.envelope;
        Some(Self {
            key: envelope.partition_key.as_ref()?.as_str(),
            sequence: envelope.sequence?.get(),
        })
    }
}

/// Id and payload of an event, shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print([u8; PRINT_BYTES]);

impl Print {
    /// Of one that was passed by, or of which nothing is known but its sequence.
    const NONE: Self = Self([0; PRINT_BYTES]);

    #[cfg(test)]
    pub(crate) fn test(n: u8) -> Self {
        Self([n; PRINT_BYTES])
    }

    /// Of an event that is dropped as it came. Data that lies in S3 was not fetched then and the payload's hash is not
    /// the real one: whatever comes under its sequence is taken for it.
    pub(crate) fn of_dropped(content: &Content) -> Self {
        match content.envelope.data_ref {
            Some(_) => Self::NONE,
            None => Self::of(content),
        }
    }

    pub(crate) fn of(content: &Content) -> Self {
        let mut hash = Sha256::new();
        hash.update(content.envelope.id.as_uuid().as_bytes());
        hash.update(content.hash.as_bytes());
        let mut print = [0; PRINT_BYTES];
        print.copy_from_slice(&hash.finalize()[..PRINT_BYTES]);
        Self(print)
    }
}

/// The record of a key: how far a consumer has come in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// Up to here each event had its effect or is in `missed`, from `first` on.
    pub(crate) last: i64,
    pub(crate) first: i64,
    /// Which write this is: nothing is written over what one has not seen.
    pub(crate) own: String,
    /// Of the last events, `last` last.
    recent: Vec<Print>,
    /// Sequences that were passed by without an effect.
    pub(crate) missed: BTreeSet<i64>,
    /// When `last` became what it is, by the clock of the function that wrote it; `None` where that is not known.
    pub(crate) moved_at: Option<Timestamp>,
}

/// What is to be done with an event, by its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the next one of its key.
    Next,
    /// It was passed by, set aside or skipped, and comes now.
    Late,
    /// It comes from before the first one that was seen: its key knows nothing of it.
    Before,
    /// It had its effect.
    Duplicate,
    /// Another event with this sequence had its effect.
    Mismatch,
    /// The one with sequence `expected` is missing.
    Gap { expected: i64 },
}

impl GapGuard {
    /// Whose turn it is. Without a print nothing is told of payloads.
    pub(crate) fn turn(self, known: Option<&Watermark>, sequence: i64, print: Option<Print>) -> Turn {
        let Some(known) = known else {
            return match self.start {
                Start::One if sequence > 1 => Turn::Gap { expected: 1 },
                Start::One | Start::FirstSeen => Turn::Next,
            };
        };
        if sequence < known.first {
            Turn::Before
        } else if known.missed.contains(&sequence) {
            Turn::Late
        } else if sequence <= known.last {
            match (known.print_of(sequence), print) {
                (Some(recent), Some(print)) if recent != print && recent != Print::NONE => Turn::Mismatch,
                _ => Turn::Duplicate,
            }
        } else if Some(sequence) == known.last.checked_add(1)
            || is_planted(Bug::GapOffByOne) && Some(sequence) == known.last.checked_add(2)
        {
            Turn::Next
        } else {
            Turn::Gap {
                expected: known.last.saturating_add(1),
            }
        }
    }

    /// What an event comes to that waits for `expected`.
    pub(crate) fn held(self, expected: i64, found: i64, waited: Duration) -> Verdict {
        let gap = format!("sequence {found} waits for {expected}, which has not come");
        if waited >= self.park_after {
            Failure::permanent(Reason::Gap, gap).into()
        } else {
            Verdict::Held(gap)
        }
    }
}

/// What an event of a key came to, and when it is worth coming again if it goes back.
pub(crate) struct Attempted {
    pub(crate) verdict: Verdict,
    pub(crate) retry: Retry,
}

impl Attempted {
    /// Of an event whose place in its key does not count, or is not known.
    pub(crate) fn alone(verdict: impl Into<Verdict>) -> Self {
        Self {
            verdict: verdict.into(),
            retry: Retry::ByCount,
        }
    }
}

impl Turn {
    /// When an event is worth coming again if it goes back: not by how often it was delivered, since it is delivered in
    /// vain however sound it is.
    pub(crate) fn retry(self, sequence: i64, waited: Duration) -> Retry {
        let missing = match self {
            Self::Gap { expected } => sequence.saturating_sub(expected).unsigned_abs(),
            Self::Next | Self::Late | Self::Before | Self::Duplicate | Self::Mismatch => 0,
        };
        Retry::InTurn { missing, waited }
    }
}

/// How long an event has waited while its key did not go on.
///
/// Where SQS does not say since when it has been there, this is not known, and it waits on: the key may have rested
/// for days before.
pub(crate) fn waited(known: Option<&Watermark>, waits_since: Option<Timestamp>) -> Duration {
    let Some(waits_since) = waits_since else {
        return Duration::ZERO;
    };
    let since = known.and_then(|known| known.moved_at).max(Some(waits_since));
    since
        .and_then(|since| Duration::try_from(time::wall().duration_since(since)).ok())
        .unwrap_or_default()
}

impl Watermark {
    /// As it was stored, with [`recent_bytes`](Self::recent_bytes); `None` where those are not prints.
    pub(crate) fn stored(
        last: i64,
        first: i64,
        own: String,
        recent: &[u8],
        missed: BTreeSet<i64>,
        moved_at: Option<Timestamp>,
    ) -> Option<Self> {
        let print = |bytes: &[u8]| bytes.try_into().ok().map(Print);
        Some(Self {
            last,
            first,
            own,
            recent: recent.chunks(PRINT_BYTES).map(print).collect::<Option<_>>()?,
            missed,
            moved_at,
        })
    }

    /// Its prints, one after the other.
    pub(crate) fn recent_bytes(&self) -> Vec<u8> {
        self.recent.iter().flat_map(|print| print.0).collect()
    }

    fn print_of(&self, sequence: i64) -> Option<Print> {
        let back = usize::try_from(self.last.checked_sub(sequence)?).ok()?;
        let place = self.recent.len().checked_sub(back + 1)?;
        self.recent.get(place).copied()
    }

    /// The watermark when the event has had its effect, or was passed by.
    pub(crate) fn after(known: Option<&Self>, sequence: i64, print: Option<Print>) -> Self {
        let mut after = known.cloned().unwrap_or(Self {
            last: sequence.saturating_sub(1),
            first: sequence,
            own: String::new(),
            recent: Vec::new(),
            missed: BTreeSet::new(),
            moved_at: None,
        });
        after.own = Uuid::new_v4().to_string();
        if sequence > after.last {
            after.last = sequence;
            after.moved_at = Some(this_millisecond());
            after.recent.push(print.unwrap_or(Print::NONE));
            let extra = after.recent.len().saturating_sub(RECENT);
            after.recent.drain(..extra);
        } else if let Ok(back) = usize::try_from(after.last - sequence)
            && let Some(place) = after.recent.len().checked_sub(back + 1)
        {
            after.recent[place] = print.unwrap_or(Print::NONE);
        }
        match print {
            Some(_) => after.missed.remove(&sequence),
            None => after.missed.insert(sequence),
        };
        after
    }
}

#[cfg(feature = "operator")]
impl Watermark {
    /// The watermark when these are given up that were passed by: if one comes after all, it is a duplicate.
    pub(crate) fn giving_up(&self, sequences: &BTreeSet<i64>) -> Self {
        Self {
            own: Uuid::new_v4().to_string(),
            missed: self.missed.difference(sequences).copied().collect(),
            ..self.clone()
        }
    }
}

/// As exactly as it is stored.
fn this_millisecond() -> Timestamp {
    let now = time::wall();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
