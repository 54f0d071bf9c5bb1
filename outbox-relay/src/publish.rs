//! Handing messages to a target.
//!
//! # Reading order
//! [`message`] (an event as a target takes it), [`Publisher`] (the seam), [`limits`] (what targets
//! take), [`target`] (one target of any kind), `sqs`, `sns` and `eventbridge` (how each is spoken to),
//! `classify` and `answer` (what came of it), [`claim_check`] (what is too large), [`inspect`] and [`consumers`]
//! (what would go wrong later).

mod answer;
pub mod claim_check;
mod classify;
pub mod clients;
pub mod consumers;
pub mod deadline;
mod eventbridge;
pub mod inspect;
pub mod limits;
mod listing;
pub mod message;
pub mod resolve;
mod sns;
mod sqs;
pub mod target;

use std::{fmt, future::Future, sync::Arc};

use oncebox_envelope::EnvelopeError;

pub use clients::Clients;
pub use deadline::Deadline;
pub use limits::{BatchLimits, Limits, TargetKind};
pub use message::Message;
pub use resolve::ResolveError;
pub use target::Target;

use crate::log::page::Row;
use message::InvalidRow;

/// A target that takes messages in batches.
///
/// # Guarantees that an implementation gives
/// - The answer has one element per message, in the order of the messages, whatever the target said.
/// - An element is `Ok` only if the target confirmed that very message.
/// - After an error the message may have arrived all the same (a reply can be lost); it is sent
///   again with the same ids.
/// - The call ends within the target's request timeout.
pub trait Publisher: Clone + Send + Sync + 'static {
    /// Sends one batch, within the target's limits.
    ///
    /// # Cancel safety
    /// A cancelled call may have sent any of the messages.
    fn publish(&self, batch: &[Arc<Message>]) -> impl Future<Output = Vec<Result<(), PublishError>>> + Send;

    /// Makes the message of a row as this target takes it, so that what [`Publisher::bytes_of`] says of
    /// it is what will be sent. Decides only; does nothing.
    ///
    /// # Errors
    /// Of class [`FailureClass::Permanent`], with code [`PublishError::INVALID_ROW`] or
    /// [`PublishError::OVERSIZE`]: the row can never be sent as it is.
    fn prepare(&self, row: Row) -> Result<Message, PublishError> {
        Ok(Message::of(row)?)
    }

    /// What a message takes of a request, in bytes as the target counts them.
    fn bytes_of(&self, message: &Message) -> usize {
        limits::bytes_of(TargetKind::Queue, message)
    }
}

/// What a failure asks for. Every error of every target is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// The network, a timeout, a fault on the target's side, a lost reply: try again.
    Transient,
    /// The target asks to slow down: try again later.
    Throttled,
    /// Credentials or permissions: trying again helps once somebody has changed them.
    Auth,
    /// The target will never take this message as it is.
    Permanent,
}

impl FailureClass {
    /// The word in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Auth => "auth",
            Self::Permanent => "permanent",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message is not known to have arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {code}: {message}")]
pub struct PublishError {
    /// What the failure asks for.
    pub class: FailureClass,
    /// The target's code, or a word of ours where there was no answer.
    pub code: String,
    /// What the target said; never the message's content.
    pub message: String,
    /// What the failure is about.
    pub scope: Scope,
    /// Whether the message may have arrived all the same: the answer is missing, or says nothing.
    pub may_have_arrived: bool,
}

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This very entry.
    Entry,
    /// The request as a whole: which of its entries is at fault, if any, shows when each is sent alone.
    Request,
}

impl PublishError {
    /// The code of a row that is no valid event.
    pub const INVALID_ROW: &str = "InvalidRow";
    /// The code of an event whose row was deleted while it waited.
    pub const GONE: &str = "Gone";
    /// The code of an event that is larger than its target takes.
    pub const OVERSIZE: &str = "Oversize";
    /// The code of a request that had no answer in time.
    pub const TIMEOUT: &str = "Timeout";

    /// Whether fewer requests at once would help: the target says so, or is too slow to say anything. What nobody waits
    /// for any more still costs a target its time, so that the same number again would only keep it from recovering.
    #[must_use]
    pub fn is_congestion(&self) -> bool {
        self.class == FailureClass::Throttled || self.code == Self::TIMEOUT
    }

    /// The target said nothing about this message.
    #[must_use]
    pub fn unanswered() -> Self {
        Self {
            class: FailureClass::Transient,
            code: "NoResult".to_owned(),
            message: "the reply names this entry neither as successful nor as failed".to_owned(),
            scope: Scope::Entry,
            may_have_arrived: true,
        }
    }

    /// The event's row was deleted while it waited: a partition that was dropped, a parked event that was skipped.
    #[must_use]
    pub fn gone() -> Self {
        Self::of_entry(Self::GONE, "the event's row is gone".to_owned())
    }

    /// It was too late to send the message: nothing of it has left.
    pub(crate) fn not_sent() -> Self {
        Self {
            class: FailureClass::Transient,
            ..Self::of_entry("NotSent", "the time in which it might be sent was over".to_owned())
        }
    }

    /// The message's payload is not in memory.
    pub(crate) fn unloaded() -> Self {
        Self {
            class: FailureClass::Transient,
            ..Self::of_entry("Unloaded", "the payload was not loaded".to_owned())
        }
    }

    /// The message is larger than its target takes.
    fn oversize(problem: &str) -> Self {
        Self::of_entry(Self::OVERSIZE, format!("the message {problem}"))
    }

    /// The row at `seq` is no valid envelope.
    fn invalid(seq: i64, error: &EnvelopeError) -> Self {
        Self::of_entry(
            Self::INVALID_ROW,
            format!("event {seq} of the log is not valid: {error}"),
        )
    }

    /// The message cannot be written down as an entry of a request.
    fn unsendable(error: &dyn fmt::Display) -> Self {
        Self::of_entry("InvalidEntry", error.to_string())
    }

    fn of_entry(code: &str, message: String) -> Self {
        Self {
            class: FailureClass::Permanent,
            code: code.to_owned(),
            message,
            scope: Scope::Entry,
            may_have_arrived: false,
        }
    }
}

impl From<InvalidRow> for PublishError {
    fn from(invalid: InvalidRow) -> Self {
        Self::invalid(invalid.seq, &invalid.source)
    }
}
