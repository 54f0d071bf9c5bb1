//! Handing messages to a target.
//!
//! # Reading order
//! [`message`] (an event as a target takes it), [`Publisher`] (the seam), [`sqs`].

pub mod message;
pub mod sqs;

use std::{fmt, future::Future, sync::Arc};

pub use message::Message;

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
}

/// What one request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Entries.
    pub max_entries: usize,
    /// Bytes over all entries, as the target counts them.
    pub max_bytes: usize,
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
}
