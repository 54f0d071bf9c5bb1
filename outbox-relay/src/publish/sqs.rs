//! Amazon SQS, standard and FIFO.

mod inspect;
mod resolve;

use std::sync::Arc;

use aws_sdk_sqs::{
    Client,
    operation::send_message_batch::SendMessageBatchOutput,
    types::{BatchResultErrorEntry, MessageAttributeValue, SendMessageBatchRequestEntry},
};

use super::{FailureClass, Message, PublishError, answer, classify};

pub(super) use resolve::resolve;

/// An SQS queue.
#[derive(Debug, Clone)]
pub(super) struct SqsQueue {
    client: Client,
    url: String,
    arn: String,
    is_fifo: bool,
    max_message_bytes: Option<usize>,
}

impl SqsQueue {
    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    /// Whether the queue keeps the order of message groups; its name tells.
    pub(super) fn is_fifo(&self) -> bool {
        self.is_fifo
    }

    /// The queue's attribute `MaximumMessageSize`.
    pub(super) fn max_message_bytes(&self) -> Option<usize> {
        self.max_message_bytes
    }

    pub(super) async fn send(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let all = |error: &PublishError| vec![Err(error.clone()); batch.len()];
        let entries = batch.iter().enumerate();
        let entries = entries.map(|(index, message)| self.entry(index, message));
        let entries: Vec<SendMessageBatchRequestEntry> = match entries.collect() {
            Ok(entries) => entries,
            Err(error) => return all(&PublishError::unsendable(&error)),
        };
        let sent = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send();
        match sent.await {
            Ok(output) => results(batch.len(), &output),
            Err(error) => all(&classify::request(&error, class)),
        }
    }

    fn entry(
        &self,
        index: usize,
        message: &Message,
    ) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(&message.body)
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

fn results(sent: usize, output: &SendMessageBatchOutput) -> Vec<Result<(), PublishError>> {
    let taken = output.successful().iter().map(|entry| answer::place(entry.id()));
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

/// Amazon SQS API reference, `SendMessageBatch` and `SendMessage`, "Errors".
pub(super) fn class(code: &str) -> Option<FailureClass> {
    match code {
        "KmsThrottled" | "OverLimit" => Some(FailureClass::Throttled),
        "InvalidSecurity" | "KmsAccessDenied" | "KmsDisabled" | "KmsNotFound" | "KmsInvalidState"
        | "KmsInvalidKeyUsage" | "KmsOptInRequired"
        // The queue is gone or not yet there: nothing is wrong with the message.
        | "QueueDoesNotExist" | "NonExistentQueue" | "InvalidAddress" => Some(FailureClass::Auth),
        "InvalidMessageContents" | "InvalidAttributeValue" | "MessageTooLong" | "BatchRequestTooLong"
        | "UnsupportedOperation" | "InvalidBatchEntryId" | "BatchEntryIdsNotDistinct" | "EmptyBatchRequest"
        | "TooManyEntriesInBatchRequest" => Some(FailureClass::Permanent),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
