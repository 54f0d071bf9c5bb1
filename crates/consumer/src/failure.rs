//! What can go wrong with one message, classified once.

use std::{error::Error, fmt};

/// Most bytes of an error's text that reach the log and the dead-letter queue.
const MAX_TEXT_BYTES: usize = 512;

/// Why a handler did not do its work.
///
/// The text goes to the log and, for a permanent error, to the dead-letter queue: write what is
/// wrong, never a value of the payload. It is cut at 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HandlerError {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Retryable,
    Unknown,
    Permanent,
}

impl HandlerError {
    /// Trying again later may help: the message goes back to its queue.
    pub fn retryable(text: impl fmt::Display) -> Self {
        Self {
            text: clean(&text.to_string()),
            kind: Kind::Retryable,
        }
    }

    /// Whether the effect happened is not known, as when the reply to a request is lost.
    ///
    /// A `leased` handler's declared policy decides what follows. In the other modes it is a
    /// retryable error: there, an effect cannot have happened.
    pub fn outcome_unknown(text: impl fmt::Display) -> Self {
        Self {
            text: clean(&text.to_string()),
            kind: Kind::Unknown,
        }
    }

    /// Trying again cannot help: the message goes to the dead-letter queue.
    pub fn permanent(text: impl fmt::Display) -> Self {
        Self {
            text: clean(&text.to_string()),
            kind: Kind::Permanent,
        }
    }

    /// Adds what led to it: `error` and its sources, the outermost first, each text once.
    ///
    /// Only for errors whose texts quote no values; those of the AWS SDK, for one, may quote the request.
    ///
    /// ```
    /// # use oncebox_consumer::HandlerError;
    /// let cause = "x".parse::<u32>().unwrap_err();
    /// let error = HandlerError::permanent("no number").caused_by(&cause);
    /// assert_eq!(error.to_string(), "no number: invalid digit found in string");
    /// ```
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let said = error.to_string();
            // Many errors already say what their source says.
            if !self.text.contains(&said) {
                self.text = clean(&format!("{}: {said}", self.text));
            }
            cause = error.source();
        }
        self
    }

    /// Whether the message goes to the dead-letter queue.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.kind == Kind::Permanent
    }
}

/// Why a message was set aside: the attribute `oncebox-reason` of the dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The body is none of the shapes that carry events, or what it holds is no valid envelope.
    NotAnEnvelope,
    /// The data is not what the event type promises.
    WrongSchema,
    /// The data lies elsewhere, and what is there is missing, too large or not what the envelope
    /// says; or the consumer fetches none.
    ClaimCheck,
    /// No handler for this event type.
    UnknownType,
    /// A handler for another major version of this event type, none for this one.
    UnsupportedVersion,
    /// An older version of the event type could not be brought up to date.
    UpcastFailed,
    /// An event with this id and another payload has been consumed before.
    PayloadMismatch,
    /// The handler says that this can never succeed.
    Rejected,
    /// It failed at its last delivery but one, in a way that might have passed; see
    /// [`max_receive_count`](crate::ConsumerBuilder::max_receive_count).
    AttemptsExhausted,
    /// The condition of an effect does not hold.
    ConditionFailed,
    /// The effects cannot be written: too many, too large, an item twice, or refused by DynamoDB; or
    /// the handler ended the Postgres transaction itself.
    InvalidEffects,
    /// Its predecessor within its key has not come, and it has waited long enough.
    Gap,
    /// Whether the effect happened is not known, and the handler's policy is to park.
    UnknownOutcome,
}

impl Reason {
    /// The word on the dead letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAnEnvelope => "not_an_envelope",
            Self::WrongSchema => "wrong_schema",
            Self::ClaimCheck => "claim_check",
            Self::UnknownType => "unknown_type",
            Self::UnsupportedVersion => "unsupported_version",
            Self::UpcastFailed => "upcast_failed",
            Self::PayloadMismatch => "payload_mismatch",
            Self::Rejected => "rejected",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::ConditionFailed => "condition_failed",
            Self::InvalidEffects => "invalid_effects",
            Self::Gap => "gap",
            Self::UnknownOutcome => "unknown_outcome",
        }
    }
}

/// A failed attempt: what to do with the message, and the text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Back to the queue.
    Retryable(String),
    /// Back to the queue: the handler was broken off, or says that it cannot know how it ended.
    Unknown(String),
    /// To the dead-letter queue.
    Permanent(Reason, String),
}

impl Failure {
    pub(crate) fn retryable(text: impl Into<String>) -> Self {
        Self::Retryable(text.into())
    }

    pub(crate) fn permanent(reason: Reason, text: impl fmt::Display) -> Self {
        Self::Permanent(reason, clean(&text.to_string()))
    }

    /// What a failure is of a message that has been delivered `receive_count` times, where its queue gives
    /// it up after `max_receive_count`.
    ///
    /// One delivery is kept in reserve: for a dead-letter queue that does not answer, and for followers
    /// of the message's group, which have been delivered as often and not been attempted yet.
    pub(crate) fn after_deliveries(self, receive_count: Option<u32>, max_receive_count: Option<u32>) -> Self {
        let is_last = receive_count
            .zip(max_receive_count)
            .is_some_and(|(count, max)| count >= max.saturating_sub(1).max(1));
        match self {
            Self::Retryable(error) | Self::Unknown(error) if is_last => {
                Self::Permanent(Reason::AttemptsExhausted, error)
            }
            failure => failure,
        }
    }

    /// The same id was consumed with another payload.
    pub(crate) fn payload_mismatch() -> Self {
        Self::permanent(
            Reason::PayloadMismatch,
            "an event with this id and another payload was consumed before; ids must never be used twice",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retryable(text) | Self::Unknown(text) | Self::Permanent(_, text) => f.write_str(text),
        }
    }
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        match error.kind {
            Kind::Retryable => Self::Retryable(error.text),
            Kind::Unknown => Self::Unknown(error.text),
            Kind::Permanent => Self::Permanent(Reason::Rejected, error.text),
        }
    }
}

/// One line of bounded length: what a log line and an SQS attribute can carry.
fn clean(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = MAX_TEXT_BYTES.min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    if line.is_empty() {
        "no reason given".to_owned()
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retryable_failure_is_final_at_the_last_delivery_but_one() {
        let after = |count, max| Failure::retryable("x").after_deliveries(count, max);
        let exhausted = Failure::permanent(Reason::AttemptsExhausted, "x");
        for (count, max, is_final) in [
            (18, 20, false),
            (19, 20, true),
            (20, 20, true),
            (25, 20, true),
            (1, 3, false),
            (2, 3, true),
            (1, 2, true),
            (1, 1, true),
        ] {
            assert_eq!(after(Some(count), Some(max)) == exhausted, is_final, "{count} of {max}");
        }
        assert_eq!(after(Some(99), None), Failure::retryable("x"));
        assert_eq!(after(None, Some(1)), Failure::retryable("x"));
        let rejected = Failure::permanent(Reason::Rejected, "x");
        assert_eq!(rejected.clone().after_deliveries(Some(9), Some(9)), rejected);
    }

    #[test]
    fn causes_are_told_from_the_outermost_on_and_each_text_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner;
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Inner);
        let error = HandlerError::retryable("the handler's word").caused_by(&Outer(Inner));
        assert_eq!(error.to_string(), "the handler's word: outer: inner");
        assert!(!error.is_permanent());
        assert_eq!(
            HandlerError::permanent("outer").caused_by(&Outer(Inner)).to_string(),
            "outer: inner"
        );
    }

    #[test]
    fn an_error_text_is_one_line_of_bounded_length() {
        let error = HandlerError::permanent(format!("a\nb\u{0}{}", "é".repeat(600)));
        let text = error.to_string();
        assert!(text.starts_with("a b é"), "{text}");
        assert!(
            text.len() <= MAX_TEXT_BYTES && text.len() > MAX_TEXT_BYTES - 2,
            "{}",
            text.len()
        );
        // Wherever the bound falls, within a character too.
        for before in ["", "x"] {
            let text = HandlerError::permanent(format!("{before}{}", "é".repeat(600))).to_string();
            assert_eq!(
                (text.len(), text.ends_with('é')),
                (MAX_TEXT_BYTES - before.len(), true),
                "{text}"
            );
        }
        assert_eq!(HandlerError::retryable("").to_string(), "no reason given");
    }
}
