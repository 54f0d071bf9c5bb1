//! Amazon SNS, standard and FIFO.

mod inspect;
mod resolve;

use std::sync::Arc;

use aws_sdk_sns::{
    Client,
    operation::publish_batch::PublishBatchOutput,
    types::{BatchResultErrorEntry, MessageAttributeValue, PublishBatchRequestEntry},
};

use super::{FailureClass, Message, PublishError, answer, classify};

pub(super) use resolve::resolve;

/// An SNS topic.
#[derive(Debug, Clone)]
pub(super) struct SnsTopic {
    client: Client,
    arn: String,
    is_fifo: bool,
    max_message_bytes: Option<usize>,
}

impl SnsTopic {
    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    /// Whether the topic keeps the order of message groups; its name tells.
    pub(super) fn is_fifo(&self) -> bool {
        self.is_fifo
    }

    /// The topic's attribute `MaximumMessageSize`, where it is set.
    pub(super) fn max_message_bytes(&self) -> Option<usize> {
        self.max_message_bytes
    }

    pub(super) async fn send(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let all = |error: &PublishError| vec![Err(error.clone()); batch.len()];
        let entries = batch.iter().enumerate();
        let entries = entries.map(|(index, message)| self.entry(index, message));
        let entries: Vec<PublishBatchRequestEntry> = match entries.collect() {
            Ok(entries) => entries,
            Err(error) => return all(&PublishError::unsendable(&error)),
        };
        let sent = self
            .client
            .publish_batch()
            .topic_arn(&self.arn)
            .set_publish_batch_request_entries(Some(entries))
            .send();
        match sent.await {
            Ok(output) => results(batch.len(), &output),
            Err(error) => all(&classify::request(&error, class)),
        }
    }

    /// A standard topic takes a group too and hands it on to standard queues, which are fair by it
    /// (Amazon SNS API reference, `PublishBatchRequestEntry`).
    fn entry(
        &self,
        index: usize,
        message: &Message,
    ) -> Result<PublishBatchRequestEntry, aws_sdk_sns::error::BuildError> {
        let mut entry = PublishBatchRequestEntry::builder()
            .id(index.to_string())
            .message(&message.body)
            .message_group_id(message.group(self.is_fifo));
        if self.is_fifo {
            entry = entry.message_deduplication_id(&message.id);
        }
        for (name, value) in &message.attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value);
            entry = entry.message_attributes(*name, value.build()?);
        }
        entry.build()
    }
}

fn results(sent: usize, output: &PublishBatchOutput) -> Vec<Result<(), PublishError>> {
    // A success without an id is none that we know of.
    let taken = output
        .successful()
        .iter()
        .map(|entry| entry.id().and_then(answer::place));
    let failed = output.failed().iter();
    answer::results(
        sent,
        taken,
        failed.map(|entry| (answer::place(entry.id()), failure(entry))),
    )
}

fn failure(entry: &BatchResultErrorEntry) -> PublishError {
    classify::entry(entry.code(), entry.message(), Some(entry.sender_fault()), class)
}

/// Amazon SNS API reference, `PublishBatch`, "Errors".
pub(super) fn class(code: &str) -> Option<FailureClass> {
    match code {
        "KMSThrottling" | "KMSThrottlingException" => Some(FailureClass::Throttled),
        "AuthorizationError" | "AuthorizationErrorException" | "InvalidSecurity" | "InvalidSecurityException"
        | "KMSAccessDenied" | "KMSDisabled" | "KMSInvalidState" | "KMSNotFound" | "KMSOptInRequired"
        // Somebody has to switch it on again.
        | "EndpointDisabled" | "PlatformApplicationDisabled"
        // The topic is gone or not yet there: nothing is wrong with the message.
        | "NotFound" | "NotFoundException" => Some(FailureClass::Auth),
        "InvalidParameter" | "InvalidParameterException" | "ParameterValueInvalid" | "BatchRequestTooLong"
        | "InvalidBatchEntryId" | "BatchEntryIdsNotDistinct" | "EmptyBatchRequest"
        | "TooManyEntriesInBatchRequest" => Some(FailureClass::Permanent),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
