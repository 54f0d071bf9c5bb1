//! What became of an event.

use std::time::Duration;

use crate::{
    failure::{Failure, Reason},
    response::Response,
    retry_delay::Retry,
};

/// What became of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The effect was committed by this attempt.
    Done,
    /// The event had been consumed before, or is consumed by another copy in the same batch.
    Duplicate,
    /// Past its `expirytime`: dropped.
    Expired,
    /// Nobody handles this type and the consumer ignores such: dropped.
    Ignored,
    /// Back to the queue.
    Retryable,
    /// Back to the queue: another delivery of the event is being worked on under a lease.
    InProgress,
    /// Back to the queue: the lease was lost while the handler ran, and what it did was not recorded.
    LeaseLost,
    /// Can never succeed: set aside in the dead-letter queue, or, where that was not possible,
    /// left to the queue's redrive policy.
    Permanent,
    /// Back to the queue without an attempt: no time left, or an earlier one of its message group or key failed.
    NotStarted,
    /// Back to the queue without an attempt: its predecessor within its key has not come yet.
    Held,
}

impl Outcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Duplicate,
        Self::Expired,
        Self::Ignored,
        Self::Retryable,
        Self::InProgress,
        Self::LeaseLost,
        Self::Permanent,
        Self::NotStarted,
        Self::Held,
    ];

    /// The word in the log, also the name of its count in the batch line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Duplicate => "duplicate",
            Self::Expired => "expired",
            Self::Ignored => "ignored",
            Self::Retryable => "retryable",
            Self::InProgress => "in_progress",
            Self::LeaseLost => "lease_lost",
            Self::Permanent => "permanent",
            Self::NotStarted => "not_started",
            Self::Held => "held",
        }
    }
}

impl Outcome {
    /// Whether it was tried to have the effect.
    pub(crate) const fn is_attempt(self) -> bool {
        match self {
            Self::Done | Self::Retryable | Self::LeaseLost | Self::Permanent => true,
            Self::Duplicate | Self::Expired | Self::Ignored | Self::InProgress | Self::NotStarted | Self::Held => false,
        }
    }
}

/// What an attempt came to, before anything is done about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Duplicate,
    Expired,
    Ignored,
    /// It is not its turn.
    Held(String),
    /// Done or a duplicate, with the response that is kept in the record.
    Replied(Outcome, Response),
    /// Another delivery holds the lease; worth another look after this time.
    InProgress(Duration),
    /// The lease was lost while the handler ran: to another delivery, which sees to the event then, or to nobody.
    LeaseLost {
        error: String,
        is_taken_over: bool,
    },
    Failed(Failure),
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What is settled about an event: the outcome, and whether its message goes back to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) is_failed: bool,
    pub(crate) reason: Option<Reason>,
    pub(crate) error: Option<String>,
    /// What the handler answered, now or when it had its effect.
    pub(crate) response: Option<Response>,
    pub(crate) retry: Retry,
}

impl Settled {
    pub(crate) fn acknowledged(outcome: Outcome) -> Self {
        Self {
            outcome,
            is_failed: false,
            reason: None,
            error: None,
            response: None,
            retry: Retry::default(),
        }
    }

    pub(crate) fn failed(outcome: Outcome, error: impl Into<String>) -> Self {
        Self {
            outcome,
            is_failed: true,
            reason: None,
            error: Some(error.into()),
            response: None,
            retry: Retry::default(),
        }
    }

    /// What a copy of the same event gets, without an attempt of its own.
    ///
    /// A copy of one that was dealt with, dead-lettered included, is a duplicate; a copy of one
    /// that goes back to the queue goes back too.
    pub(crate) fn for_copy(&self) -> Self {
        if self.is_failed {
            self.clone()
        } else {
            Self {
                response: self.response.clone(),
                ..Self::acknowledged(Outcome::Duplicate)
            }
        }
    }
}
