//! A promise that was not kept, with what one needs to look for the cause.

use std::fmt;

use uuid::Uuid;

use crate::ledger::PayloadHash;

/// A broken promise. Places are positions in the list of effects, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are what their names say; the variants are documented"
)]
pub enum Violation {
    /// A committed event had no effect and was not set aside.
    Lost {
        consumer: String,
        event: Uuid,
        key: Option<String>,
        sequence: Option<u64>,
        transaction: u64,
    },
    /// An event had more than one effect.
    Doubled {
        consumer: String,
        event: Uuid,
        places: Vec<usize>,
    },
    /// A rolled-back event had an effect or was set aside (then without a place).
    FromRolledBack {
        consumer: String,
        event: Uuid,
        transaction: u64,
        place: Option<usize>,
    },
    /// An event that nobody attempted had an effect or was set aside (then without a place).
    NeverAttempted {
        consumer: String,
        event: Uuid,
        place: Option<usize>,
    },
    /// A consumer had an effect of an event that is not for it, or it was set aside on its way there.
    NotWanted {
        consumer: String,
        event: Uuid,
        place: Option<usize>,
    },
    /// The payload that came is not the one that was committed.
    PayloadAltered {
        consumer: String,
        event: Uuid,
        place: usize,
        committed: PayloadHash,
        came: PayloadHash,
    },
    /// Key or sequence that came are not those of the log.
    SequenceMismatch {
        consumer: String,
        event: Uuid,
        place: usize,
        committed: (Option<String>, Option<u64>),
        came: (Option<String>, Option<u64>),
    },
    /// A later event of the key had its effect first, where order is promised.
    OutOfOrder {
        consumer: String,
        key: String,
        event: Uuid,
        sequence: u64,
        place: usize,
        after: u64,
    },
    /// A later event of the key had its effect while this one is parked.
    PassedParked {
        consumer: String,
        key: String,
        parked: Uuid,
        sequence: u64,
        passed_by: u64,
        place: usize,
    },
    /// The committed events of a key are not numbered one after the other.
    Numbering {
        key: String,
        sequence: u64,
        next: u64,
        event: Uuid,
    },
    /// A committed event of a key has no number, or one without a key has one.
    NotNumbered {
        event: Uuid,
        key: Option<String>,
        sequence: Option<u64>,
    },
    /// The run's own fault: nobody has looked what became of the event.
    Unresolved { event: Uuid, transaction: u64 },
    /// The run's own fault: an id was attempted twice.
    AttemptedTwice { event: Uuid },
    /// The run's own fault: an event is wanted by a consumer that was not declared.
    Undeclared { consumer: String, event: Uuid },
}

impl Violation {
    /// The name of the kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::Doubled { .. } => "doubled",
            Self::FromRolledBack { .. } => "from_rolled_back",
            Self::NeverAttempted { .. } => "never_attempted",
            Self::NotWanted { .. } => "not_wanted",
            Self::PayloadAltered { .. } => "payload_altered",
            Self::SequenceMismatch { .. } => "sequence_mismatch",
            Self::OutOfOrder { .. } => "out_of_order",
            Self::PassedParked { .. } => "passed_parked",
            Self::Numbering { .. } => "numbering",
            Self::NotNumbered { .. } => "not_numbered",
            Self::Unresolved { .. } => "unresolved",
            Self::AttemptedTwice { .. } => "attempted_twice",
            Self::Undeclared { .. } => "undeclared",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind())?;
        match self {
            Self::Lost {
                consumer,
                event,
                key,
                sequence,
                transaction,
            } => write!(
                f,
                "{consumer} never had an effect of {event} ({}, transaction {transaction})",
                At(key.as_deref(), *sequence)
            ),
            Self::Doubled {
                consumer,
                event,
                places,
            } => {
                write!(f, "{consumer} had {} effects of {event}, at {places:?}", places.len())
            }
            Self::FromRolledBack {
                consumer,
                event,
                transaction,
                place,
            } => {
                write!(
                    f,
                    "{event} of {consumer} was rolled back in transaction {transaction}; {}",
                    Seen(*place)
                )
            }
            Self::NeverAttempted { consumer, event, place } => {
                write!(f, "{event} of {consumer} was never attempted; {}", Seen(*place))
            }
            Self::NotWanted { consumer, event, place } => {
                write!(f, "{event} is not for {consumer}; {}", Seen(*place))
            }
            Self::PayloadAltered {
                consumer,
                event,
                place,
                committed,
                came,
            } => write!(
                f,
                "{event} came to {consumer} with payload {came}, committed was {committed}; effect at {place}"
            ),
            Self::SequenceMismatch {
                consumer,
                event,
                place,
                committed,
                came,
            } => write!(
                f,
                "{event} came to {consumer} as {}, committed was {}; effect at {place}",
                At(came.0.as_deref(), came.1),
                At(committed.0.as_deref(), committed.1)
            ),
            Self::OutOfOrder {
                consumer,
                key,
                event,
                sequence,
                place,
                after,
            } => write!(
                f,
                "{consumer} had its effect of {event} ({}) at {place}, after that of {after}",
                At(Some(key), Some(*sequence))
            ),
            Self::PassedParked {
                consumer,
                key,
                parked,
                sequence,
                passed_by,
                place,
            } => write!(
                f,
                "{parked} ({}) is parked, and {consumer} had its effect of {passed_by} at {place}",
                At(Some(key), Some(*sequence))
            ),
            Self::Numbering {
                key,
                sequence,
                next,
                event,
            } => {
                write!(f, "key `{key}` goes from {sequence} to {next} ({event})")
            }
            Self::NotNumbered { event, key, sequence } => {
                write!(f, "{event} is committed as {}", At(key.as_deref(), *sequence))
            }
            Self::Unresolved { event, transaction } => {
                write!(f, "nobody has looked what became of {event}, transaction {transaction}")
            }
            Self::AttemptedTwice { event } => write!(f, "{event} was attempted twice"),
            Self::Undeclared { consumer, event } => {
                write!(f, "{event} is wanted by {consumer}, which was not declared")
            }
        }
    }
}

struct At<'a>(Option<&'a str>, Option<u64>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At(Some(key), Some(sequence)) => write!(f, "key `{key}` number {sequence}"),
            At(Some(key), None) => write!(f, "key `{key}` without a number"),
            At(None, Some(sequence)) => write!(f, "no key, number {sequence}"),
            At(None, None) => write!(f, "no key"),
        }
    }
}

struct Seen(Option<usize>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => write!(f, "effect at {place}"),
            None => write!(f, "it was set aside"),
        }
    }
}
