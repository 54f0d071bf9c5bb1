//! Which action of which service a request asks for.

use memchr::memmem;

/// A service that takes batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Sqs,
    Sns,
    EventBridge,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// `SendMessageBatch`, `PublishBatch` or `PutEvents`.
    Send(Service),
    GetQueueUrl,
    GetQueueAttributes,
    GetTopicAttributes,
    DescribeEventBus,
    Unknown,
}

/// Reads the action from `X-Amz-Target` (AWS JSON) or, without one, from the body (AWS query).
pub(super) fn action(target: Option<&[u8]>, body: &[u8]) -> Action {
    match target {
        Some(b"AmazonSQS.SendMessageBatch") => Action::Send(Service::Sqs),
        Some(b"AmazonSQS.GetQueueUrl") => Action::GetQueueUrl,
        Some(b"AmazonSQS.GetQueueAttributes") => Action::GetQueueAttributes,
        Some(b"AWSEvents.PutEvents") => Action::Send(Service::EventBridge),
        Some(b"AWSEvents.DescribeEventBus") => Action::DescribeEventBus,
        Some(_) => Action::Unknown,
        None => match form_value(body, b"Action=") {
            Some(b"PublishBatch") => Action::Send(Service::Sns),
            Some(b"GetTopicAttributes") => Action::GetTopicAttributes,
            _ => Action::Unknown,
        },
    }
}

/// The value of a string member in a flat JSON object without escapes, such as a queue's name.
pub(super) fn json_value<'a>(body: &'a [u8], member: &[u8]) -> Option<&'a [u8]> {
    let rest = &body[memmem::find(body, member)? + member.len()..];
    Some(&rest[..memchr::memchr(b'"', rest)?])
}

/// The value of a field of a form.
pub(super) fn form_value<'a>(body: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let rest = &body[memmem::find(body, field)? + field.len()..];
    Some(&rest[..memchr::memchr(b'&', rest).unwrap_or(rest.len())])
}
