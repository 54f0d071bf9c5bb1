//! The SQS client of a consumer, and what it asks of its own queues.

use std::{collections::HashMap, time::Duration};

use aws_sdk_sqs::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    types::{ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue},
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::OnceCell;

use crate::sdk_error::describe;

/// The queues that a consumer reads from, and its dead-letter queue.
pub(crate) trait OwnQueues: Send + Sync + 'static {
    /// Stores a dead letter. An error says why it was not stored, or that this is not known, without a value.
    ///
    /// # Cancel safety
    /// Dropped before it ends, the letter may be stored or not, now or later.
    fn store(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), String>>;

    /// Says of at most ten messages when they are to be delivered again. An error says why that failed, without a value.
    ///
    /// # Cancel safety
    /// Dropped before it ends, it may have been said or not.
    fn redeliver(&self, url: String, messages: Vec<Redelivery>) -> BoxFuture<'_, Result<(), String>>;
}

/// A message for the dead-letter queue.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    /// The URL of the queue.
    pub(crate) url: String,
    pub(crate) body: String,
    pub(crate) attributes: HashMap<String, MessageAttributeValue>,
    /// On a FIFO queue.
    pub(crate) place: Option<FifoPlace>,
}

/// Where a message stands on a FIFO queue.
#[derive(Debug, Clone)]
pub(crate) struct FifoPlace {
    pub(crate) group: String,
    pub(crate) deduplication_id: String,
}

/// A message that goes back to its queue.
#[derive(Debug, Clone)]
pub(crate) struct Redelivery {
    /// The receipt handle of this delivery.
    pub(crate) receipt: String,
    /// When it is delivered again, in seconds from now.
    pub(crate) after_secs: i32,
}

/// A client that is made when it is first needed: most invocations need none, and it costs time at a cold start.
pub(crate) struct SqsClient(OnceCell<Client>);

impl SqsClient {
    pub(crate) fn new(client: Option<Client>) -> Self {
        Self(OnceCell::new_with(client))
    }

    pub(crate) async fn get(&self) -> &Client {
        let make = || async {
            let shared = aws_config::load_from_env().await;
            Client::from_conf(Builder::from(&shared).timeout_config(timeouts()).build())
        };
        self.0.get_or_init(make).await
    }
}

impl OwnQueues for SqsClient {
    fn store(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let request = self
                .get()
                .await
                .send_message()
                .queue_url(letter.url)
                .message_body(letter.body)
                .set_message_attributes(Some(letter.attributes));
            let request = match letter.place {
                Some(place) => request
                    .message_group_id(place.group)
                    .message_deduplication_id(place.deduplication_id),
                None => request,
            };
            match request.send().await {
                Ok(_) => Ok(()),
                Err(error) => Err(describe(&error)),
            }
        }
        .boxed()
    }

    fn redeliver(&self, url: String, messages: Vec<Redelivery>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let entries = messages.into_iter().enumerate().filter_map(|(index, message)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(message.receipt)
                    .visibility_timeout(message.after_secs);
                entry.build().ok()
            });
            let request = self.get().await.change_message_visibility_batch().queue_url(url);
            match request.set_entries(Some(entries.collect())).send().await {
                Ok(_) => Ok(()),
                Err(error) => Err(describe(&error)),
            }
        }
        .boxed()
    }
}

/// The SDK waits for a reply for ever by default; a lost one would cost the whole invocation.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(3))
        .build()
}
