//! Amazon SQS, standard and FIFO.

mod classify;
mod resolve;

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::{
    Client,
    operation::send_message_batch::SendMessageBatchOutput,
    types::{MessageAttributeValue, SendMessageBatchRequestEntry},
};

use super::{BatchLimits, FailureClass, Message, PublishError, Publisher, Scope};

pub use resolve::{ResolveError, resolve};

/// A request holds at most ten messages and 1 MiB over all of them, attributes included (Amazon
/// SQS API reference, `SendMessageBatch`; the limit was 256 KiB before August 2025).
pub const LIMITS: BatchLimits = BatchLimits {
    max_entries: 10,
    max_bytes: 1_048_576,
};

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
    is_fifo: bool,
}

impl SqsQueue {
    /// The queue's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The queue's name, which ends its URL.
    #[must_use]
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }

    /// Whether the queue keeps the order of message groups; its name tells.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.is_fifo
    }

    fn entry(&self, index: usize, message: &Message) -> Result<SendMessageBatchRequestEntry, PublishError> {
        let ours = |error: aws_sdk_sqs::error::BuildError| PublishError {
            class: FailureClass::Permanent,
            code: "InvalidEntry".to_owned(),
            message: error.to_string(),
            scope: Scope::Entry,
            may_have_arrived: false,
        };
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(&message.body)
            .message_group_id(message.group(self.is_fifo));
        if self.is_fifo {
            entry = entry.message_deduplication_id(&message.id);
        }
        for (name, value) in &message.attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value);
            entry = entry.message_attributes(*name, value.build().map_err(ours)?);
        }
        entry.build().map_err(ours)
    }
}

impl Publisher for SqsQueue {
    async fn publish(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let all = |error: &PublishError| vec![Err(error.clone()); batch.len()];
        let entries = batch
            .iter()
            .enumerate()
            .map(|(index, message)| self.entry(index, message));
        let entries: Vec<SendMessageBatchRequestEntry> = match entries.collect() {
            Ok(entries) => entries,
            Err(error) => return all(&error),
        };
        let sent = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send();
        match sent.await {
            Ok(output) => results(batch.len(), &output),
            Err(error) => all(&classify::request(&error)),
        }
    }
}

/// One result per entry. A 200 says nothing by itself: only an entry in `Successful` has arrived.
fn results(sent: usize, output: &SendMessageBatchOutput) -> Vec<Result<(), PublishError>> {
    let mut results = vec![Err(PublishError::unanswered()); sent];
    for entry in output.successful() {
        if let Some(result) = entry
            .id()
            .parse::<usize>()
            .ok()
            .and_then(|index| results.get_mut(index))
        {
            *result = Ok(());
        }
    }
    // After the successes: an entry that is named in both did not safely arrive.
    for entry in output.failed() {
        if let Some(result) = entry
            .id()
            .parse::<usize>()
            .ok()
            .and_then(|index| results.get_mut(index))
        {
            *result = Err(classify::entry(entry));
        }
    }
    results
}

/// The client's configuration: a request takes `request_timeout` at most, from the first byte sent
/// to the last byte read, and its own retries are off, since the lanes decide what is sent again and
/// in which order.
#[must_use]
pub fn client(config: &aws_config::SdkConfig, request_timeout: Duration) -> Client {
    use aws_sdk_sqs::config::{retry::RetryConfig, timeout::TimeoutConfig};
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(request_timeout.min(Duration::from_secs(3)))
        .operation_timeout(request_timeout)
        .build();
    let config = aws_sdk_sqs::config::Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    Client::from_conf(config)
}

#[cfg(test)]
mod tests;
