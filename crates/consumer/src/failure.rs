//! What can go wrong with one message, classified once.

use std::fmt;

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
    is_permanent: bool,
}

impl HandlerError {
    /// Trying again later may help: the message goes back to its queue.
    pub fn retryable(text: impl fmt::Display) -> Self {
        Self {
            text: clean(&text.to_string()),
            is_permanent: false,
        }
    }

    /// Trying again cannot help: the message goes to the dead-letter queue.
    pub fn permanent(text: impl fmt::Display) -> Self {
        Self {
            text: clean(&text.to_string()),
            is_permanent: true,
        }
    }

    /// Whether the message goes to the dead-letter queue.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.is_permanent
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
    /// The condition of an effect does not hold.
    ConditionFailed,
    /// The effects cannot be written: too many, too large, an item twice, or refused by DynamoDB; or
    /// the handler ended the Postgres transaction itself.
    InvalidEffects,
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
            Self::ConditionFailed => "condition_failed",
            Self::InvalidEffects => "invalid_effects",
        }
    }
}

/// A failed attempt: what to do with the message, and the text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Back to the queue.
    Retryable(String),
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

    /// The same id was consumed with another payload.
    pub(crate) fn payload_mismatch() -> Self {
        Self::permanent(
            Reason::PayloadMismatch,
            "an event with this id and another payload was consumed before; ids must never be used twice",
        )
    }
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        if error.is_permanent {
            Self::Permanent(Reason::Rejected, error.text)
        } else {
            Self::Retryable(error.text)
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
    fn an_error_text_is_one_line_of_bounded_length() {
        let error = HandlerError::permanent(format!("a\nb\u{0}{}", "é".repeat(600)));
        let text = error.to_string();
        assert!(text.starts_with("a b é"), "{text}");
        assert!(
            text.len() <= MAX_TEXT_BYTES && text.len() > MAX_TEXT_BYTES - 2,
            "{}",
            text.len()
        );
        assert_eq!(HandlerError::retryable("").to_string(), "no reason given");
    }
}
