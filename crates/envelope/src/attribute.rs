//! The rule for each attribute of an envelope, as a type that cannot hold anything else.
//!
//! The limits come from where an envelope has to fit: `CloudEvents` 1.0 §3.1 (attribute names and
//! the characters of a string), Amazon `EventBridge` `PutEvents` (`DetailType` ≤ 128, `Source` ≤ 256),
//! Amazon SQS (a message attribute's value is a non-empty string) and a Postgres B-tree entry
//! (≤ 2,704 bytes, so a key is ≤ 2,048). `oncebox.enqueue` enforces the same rules in SQL.

mod data_ref;
mod extension;
mod identity;
mod kind;
mod text;

pub use data_ref::DataRef;
pub use extension::{ExtensionName, ExtensionValue};
pub use identity::{EventId, Sequence};
pub use kind::Kind;
pub use text::{EventType, PartitionKey, Source, Tenant, Text, TraceParent};

/// Which rule of an attribute is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// Another JSON type than the attribute's.
    #[error("expected {expected}, found {found}")]
    Shape {
        /// The shape that the rule asks for.
        expected: &'static str,
        /// The JSON type found.
        found: &'static str,
    },
    /// An empty string where something has to be named.
    #[error("must not be empty; leave the attribute out instead")]
    Empty,
    /// More bytes than fit.
    #[error("is {found} bytes long; at most {max} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A control character or a Unicode noncharacter.
    #[error("holds a control character or noncharacter at byte {at}; CloudEvents strings allow none")]
    Character {
        /// Byte offset of the first one.
        at: usize,
    },
    /// The right JSON type in the wrong form.
    #[error("expected {expected}")]
    Format {
        /// The form that the rule asks for.
        expected: &'static str,
    },
}

/// Checks a string against the rule that all string attributes share.
pub(crate) fn check_text(value: &str, max_bytes: usize) -> Result<(), AttributeError> {
    if value.is_empty() {
        return Err(AttributeError::Empty);
    }
    if value.len() > max_bytes {
        return Err(AttributeError::TooLong {
            found: value.len(),
            max: max_bytes,
        });
    }
    match value.char_indices().find(|(_, c)| !is_allowed(*c)) {
        Some((at, _)) => Err(AttributeError::Character { at }),
        None => Ok(()),
    }
}

/// `CloudEvents` 1.0 §3.1.1 "String": no control characters, no noncharacters.
fn is_allowed(c: char) -> bool {
    let code = u32::from(c);
    !c.is_control() && code & 0xFFFE != 0xFFFE && !(0xFDD0..=0xFDEF).contains(&code)
}

/// The JSON type of a value, for error messages.
pub(crate) fn shape(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
