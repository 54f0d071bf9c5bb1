//! An envelope as a message: content types, message attributes, message group and body.
//!
//! SQS and SNS allow ten message attributes; an envelope uses at most six.

use sha2::{Digest as _, Sha256};

use crate::RawEnvelope;

/// Characters of a `MessageGroupId` (API references of Amazon SQS, `SendMessage`, and Amazon SNS,
/// `PublishBatchRequestEntry`: letters, digits and ASCII punctuation).
pub const MAX_GROUP_ID_CHARS: usize = 128;

/// The content type of one envelope.
pub const ENVELOPE_CONTENT_TYPE: &str = "application/cloudevents+json";
/// The content type of a bundle: a JSON array of envelopes.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// The content type of every envelope's data.
pub const DATA_CONTENT_TYPE: &str = "application/json";

/// Message attribute: the envelope's `id`.
pub const ATTRIBUTE_ID: &str = "ce-id";
/// Message attribute: the envelope's `type`.
pub const ATTRIBUTE_TYPE: &str = "ce-type";
/// Message attribute: the envelope's `kind`.
pub const ATTRIBUTE_KIND: &str = "ce-kind";
/// Message attribute: the envelope's `tenant`.
pub const ATTRIBUTE_TENANT: &str = "ce-tenant";
/// Message attribute: the body's content type.
pub const ATTRIBUTE_CONTENT_TYPE: &str = "content-type";
/// Message attribute: the envelope's `traceparent`, when it has one.
pub const ATTRIBUTE_TRACE_PARENT: &str = "traceparent";

/// The attributes of a message whose body is `envelope`, each a string.
#[must_use]
pub fn attributes(envelope: &RawEnvelope) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        (ATTRIBUTE_ID, envelope.id.to_string()),
        (ATTRIBUTE_TYPE, envelope.event_type.to_string()),
        (ATTRIBUTE_KIND, envelope.kind.to_string()),
        (ATTRIBUTE_TENANT, envelope.tenant.to_string()),
        (ATTRIBUTE_CONTENT_TYPE, ENVELOPE_CONTENT_TYPE.to_owned()),
    ];
    attributes.extend(
        envelope
            .trace_parent
            .as_ref()
            .map(|trace_parent| (ATTRIBUTE_TRACE_PARENT, trace_parent.to_string())),
    );
    attributes
}

/// The message group for SQS and SNS: on FIFO the key, else (and on standard queues, for fairness) the
/// tenant.
#[must_use]
pub fn group(envelope: &RawEnvelope, is_fifo: bool) -> String {
    match &envelope.partition_key {
        Some(key) if is_fifo => group_id(key.as_str()),
        _ => group_id(envelope.tenant.as_str()),
    }
}

/// A name as a `MessageGroupId`; one that is none (see [`MAX_GROUP_ID_CHARS`]) is represented by its SHA-256.
#[must_use]
pub fn group_id(name: &str) -> String {
    let is_allowed = name.len() <= MAX_GROUP_ID_CHARS && name.bytes().all(|b| b.is_ascii_graphic());
    if is_allowed {
        name.to_owned()
    } else {
        let digest = Sha256::digest(name.as_bytes());
        digest
            .iter()
            .fold("sha256-".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
    }
}

/// The envelope as the body of a message.
///
/// SQS takes no U+FFFE and U+FFFF (API reference, `SendMessage`), JSON does: they can only stand
/// within strings, where an escape means the same.
#[must_use]
pub fn body(envelope: &RawEnvelope) -> String {
    let json = envelope.to_json();
    if json.contains(['\u{fffe}', '\u{ffff}']) {
        json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    } else {
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_sqs_does_not_take_as_a_group_is_represented_by_its_hash() {
        assert_eq!(group_id(&"x".repeat(128)), "x".repeat(128));
        for odd in ["x".repeat(129), "naïve".to_owned(), "a b".to_owned()] {
            let group = group_id(&odd);
            assert!(group.len() == 71 && group.starts_with("sha256-"), "{group}");
        }
        assert_ne!(group_id("a b"), group_id("a  b"));
    }
}
