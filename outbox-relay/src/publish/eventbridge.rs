//! Amazon EventBridge.

mod inspect;
mod resolve;

use std::sync::Arc;

use aws_sdk_eventbridge::{
    Client,
    operation::put_events::PutEventsOutput,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};

use oncebox_envelope::target::RESERVED_SOURCE;

use super::{FailureClass, Message, PublishError, answer, classify};

pub(super) use resolve::resolve;

/// An EventBridge event bus.
#[derive(Debug, Clone)]
pub(super) struct EventBus {
    client: Client,
    arn: String,
}

impl EventBus {
    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    pub(super) async fn send(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let entries = batch.iter().map(|message| self.entry(message)).collect();
        let sent = self.client.put_events().set_entries(Some(entries)).send();
        match sent.await {
            Ok(output) => results(batch.len(), &output),
            Err(error) => vec![Err(classify::request(&error, class)); batch.len()],
        }
    }

    /// No `TraceHeader`: the envelope carries its W3C trace context itself, and that is not X-Ray's.
    fn entry(&self, message: &Message) -> PutEventsRequestEntry {
        let nanos = i128::from(message.time_micros) * 1_000;
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.arn)
            .source(&message.source)
            .detail_type(&message.event_type)
            .detail(&message.body)
            .set_time(DateTime::from_nanos(nanos).ok())
            .build()
    }
}

/// Sources that begin with `aws.` are those of AWS's own services ([`RESERVED_SOURCE`]). `PutEvents` calls them a matter of permissions, which nobody can give.
///
/// # Errors
/// The source is such a one.
pub(super) fn check_source(source: &str) -> Result<(), PublishError> {
    if source.starts_with(RESERVED_SOURCE) {
        let problem = "a source that begins with `aws.` is reserved on EventBridge; enqueue with another one";
        return Err(PublishError::of_entry("ReservedSource", problem.to_owned()));
    }
    Ok(())
}

/// Entries are answered by their place. Where their number is not what was sent, no place can be
/// relied on, and nothing was answered.
fn results(sent: usize, output: &PutEventsOutput) -> Vec<Result<(), PublishError>> {
    let entries = output.entries();
    if entries.len() != sent {
        return vec![Err(PublishError::unanswered()); sent];
    }
    let is_taken = |entry: &PutEventsResultEntry| entry.event_id().is_some_and(|id| !id.is_empty());
    let places = || entries.iter().enumerate();
    let taken = places().map(|(place, entry)| is_taken(entry).then_some(place));
    let failed = places().filter_map(|(place, entry)| {
        let code = entry.error_code()?;
        Some((Some(place), classify::entry(code, entry.error_message(), None, class)))
    });
    answer::results(sent, taken, failed)
}

/// Amazon EventBridge API reference, `PutEventsResultEntry` and "Errors" of the API's operations.
pub(super) fn class(code: &str) -> Option<FailureClass> {
    match code {
        // Permissions by source or detail type are the bus policy's, not the message's fault.
        "NotAuthorizedForSourceException" | "NotAuthorizedForDetailTypeException" | "InvalidAccountIdException"
        | "OperationDisabledException" | "ManagedRuleException" | "PolicyLengthExceededException"
        | "InvalidStateException" | "IllegalStatusException"
        // The bus is gone or not yet there: nothing is wrong with the message.
        | "ResourceNotFoundException" => Some(FailureClass::Auth),
        "InternalException" | "ConcurrentModificationException" => Some(FailureClass::Transient),
        "InvalidArgument" | "MalformedDetail" | "RedactionFailure" | "InvalidEventPatternException" => {
            Some(FailureClass::Permanent)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
