//! The seam to the queues that emitted events go to.

use std::{collections::HashMap, sync::Arc};

use aws_sdk_sqs::{
    Client,
    types::{MessageAttributeValue, SendMessageBatchRequestEntry},
};
use futures::{FutureExt as _, future::BoxFuture};

use super::{letter::Letter, target::Target};
use crate::{sdk_error::describe, sqs::SqsClient};

/// Amazon SQS API reference, `SendMessageBatch`: ten entries, 1 MiB altogether.
pub(super) const MAX_ENTRIES: usize = 10;
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Sends letters to queues.
pub(crate) trait Post: Send + Sync + 'static {
    /// Sends `letters` to a queue in one request: ten at most, of each message group of a FIFO queue one at most (of
    /// a batch that fails in part, later ones of a group would overtake).
    ///
    /// Returns for each letter whether the queue has it; an error says why not, or that it is not known, without a
    /// value.
    ///
    /// # Cancel safety
    /// Dropped before it ends, letters may be sent or not, now or later.
    fn send<'a>(&'a self, to: &'a Target, letters: &'a [Letter]) -> BoxFuture<'a, Vec<Result<(), String>>>;
}

/// Amazon SQS.
pub(crate) struct SqsPost(pub(crate) Arc<SqsClient>);

impl Post for SqsPost {
    fn send<'a>(&'a self, to: &'a Target, letters: &'a [Letter]) -> BoxFuture<'a, Vec<Result<(), String>>> {
        async move { send(self.0.get().await, to, letters).await }.boxed()
    }
}

async fn send(client: &Client, to: &Target, letters: &[Letter]) -> Vec<Result<(), String>> {
    let all = |error: String| vec![Err(error); letters.len()];
    let entries = letters.iter().enumerate();
    let entries = entries.map(|(index, letter)| entry(index, letter));
    let Ok(entries) = entries.collect::<Result<Vec<_>, _>>() else {
        return all("an incomplete message".to_owned());
    };
    let request = client.send_message_batch().queue_url(&to.url);
    let output = match request.set_entries(Some(entries)).send().await {
        Ok(output) => output,
        Err(error) => return all(describe(&error)),
    };
    // A 200 says nothing: only what is confirmed by name is sent.
    let failed = output.failed().iter();
    let failed: HashMap<&str, &str> = failed.map(|entry| (entry.id(), entry.code())).collect();
    let taken: Vec<&str> = output.successful().iter().map(|entry| entry.id()).collect();
    (0..letters.len())
        .map(|index| {
            let id = index.to_string();
            match failed.get(id.as_str()) {
                Some(code) => Err((*code).to_owned()),
                None if taken.contains(&id.as_str()) => Ok(()),
                None => Err("the queue's answer does not name it".to_owned()),
            }
        })
        .collect()
}

fn entry(index: usize, letter: &Letter) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(&letter.body)
        .message_group_id(&letter.group);
    if letter.to.is_fifo() {
        entry = entry.message_deduplication_id(letter.id.to_string());
    }
    for (name, value) in &letter.attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value);
        entry = entry.message_attributes(*name, value.build()?);
    }
    entry.build()
}
