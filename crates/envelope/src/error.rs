//! What can be wrong with an envelope.

use crate::attribute::AttributeError;

/// Why bytes are no valid envelope, or an envelope's data not the asked type.
///
/// No variant holds a value from the input: only names, shapes and positions, so that an error can
/// be logged and put on a dead-letter message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are not one JSON object (or, for a batch, one array of objects).
    #[error("not a JSON envelope: {category} at line {line} column {column}")]
    NotJson {
        /// `syntax error`, `unexpected end` or `unexpected value`.
        category: &'static str,
        /// 1-based line.
        line: usize,
        /// 1-based column, in bytes.
        column: usize,
    },
    /// An attribute stands twice; which one counts would depend on the reader.
    #[error("attribute `{attribute}` appears more than once; keep one")]
    Duplicate {
        /// The attribute's name.
        attribute: String,
    },
    /// A required attribute is absent.
    #[error("attribute `{attribute}` is missing; {fix}")]
    Missing {
        /// The attribute's name.
        attribute: &'static str,
        /// What to do.
        fix: &'static str,
    },
    /// An attribute breaks its rule.
    #[error("attribute `{attribute}`: {reason}")]
    Invalid {
        /// The attribute's name.
        attribute: String,
        /// The rule that it breaks and the shape found.
        #[source]
        reason: AttributeError,
    },
    /// The data is not what the event type promises.
    #[error("data does not match type `{event_type}` at `{path}`: {problem}")]
    Data {
        /// The event type that was asked for.
        event_type: String,
        /// JSON path of the fault, `$` for the root.
        path: String,
        /// Kind of the fault, without the value.
        problem: String,
    },
    /// The envelope's type is not the asked one.
    #[error("expected type `{expected}`, found `{found}`")]
    WrongType {
        /// The event type that was asked for.
        expected: &'static str,
        /// The event type found.
        found: String,
    },
    /// The data is elsewhere (claim check) and has not been fetched.
    #[error("data is held at `dataref` and has not been fetched")]
    Unresolved,
    /// A message's body is none of the shapes that carry events.
    #[error(
        "neither an envelope (`specversion`) nor an array of them, an SNS notification (`Type`, `Message`) or an \
         EventBridge event (`detail-type`, `detail`)"
    )]
    UnknownShape,
    /// An array of no envelopes, which no sender has a reason to send.
    #[error("the bundle is empty; send nothing instead")]
    EmptyBundle,
    /// What is wrong within an SNS notification or an `EventBridge` event.
    #[error("in {wrapping}: {source}")]
    Wrapped {
        /// What it is wrapped in.
        wrapping: &'static str,
        /// What is wrong with the content.
        #[source]
        source: Box<Self>,
    },
    /// An `EventBridge` event is labelled as something else than the envelope that it holds.
    #[error("`{label}` differs from the envelope's `{attribute}`; put the event with the envelope's own")]
    Label {
        /// The field of the event.
        label: &'static str,
        /// The attribute of the envelope.
        attribute: &'static str,
    },
    /// An element of a batch is no valid envelope.
    #[error("element {index} of the batch: {source}")]
    Element {
        /// 0-based position in the batch.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: Box<Self>,
    },
}

impl EnvelopeError {
    pub(crate) fn invalid(attribute: impl Into<String>, reason: AttributeError) -> Self {
        Self::Invalid {
            attribute: attribute.into(),
            reason,
        }
    }

    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        use serde_json::error::Category;
        Self::NotJson {
            category: match error.classify() {
                Category::Eof => "unexpected end",
                Category::Data => "unexpected value",
                Category::Syntax | Category::Io => "syntax error",
            },
            line: error.line(),
            column: error.column(),
        }
    }
}
