//! The bare AWS SDK: the yardstick for the relay.
//!
//! It sends the same batches as the relay (bodies, attributes, groups), with the relay's client
//! settings, from memory and without anything around: no database, no retry, no order.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use aws_config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    Client,
    types::{MessageAttributeValue, SendMessageBatchRequestEntry},
};
use outbox_relay::publish::Message;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::{backlog, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The queue's URL.
    #[arg(long)]
    queue_url: String,
    /// How many events of the log to send.
    #[arg(long)]
    events: i64,
    /// Requests in flight at once.
    #[arg(long)]
    in_flight: usize,
    /// Where the log is.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Amazon SQS API reference, `SendMessageBatch`.
const MAX_ENTRIES: usize = 10;

/// What the sending took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// CPU seconds of the sender while it sent.
    pub(crate) cpu_secs: f64,
    /// The most memory that it has had; all messages are held in it.
    pub(crate) rss_mib: f64,
}

/// Sends the first events of the log and prints [`Spent`] as JSON.
pub(crate) async fn send(arguments: Arguments) -> Result<()> {
    let mut connection = PgConnection::connect(&arguments.database_url).await?;
    let messages = backlog::messages(&mut connection, arguments.events).await?;
    connection.close().await?;
    ensure!(
        messages.len() == usize::try_from(arguments.events)?,
        "the log holds fewer events"
    );
    let is_fifo = arguments.queue_url.ends_with(".fifo");
    // Entries are made beforehand: a request then costs what the SDK costs and nothing else.
    let batches = messages.chunks(MAX_ENTRIES).map(|batch| entries(batch, is_fifo));
    let batches: Vec<Vec<SendMessageBatchRequestEntry>> = batches.collect::<Result<_>>()?;
    drop(messages);

    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let client = client(&aws);
    // Let the allocator's and the database's aftermath pass.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = process::cpu_secs(std::process::id())?;
    let batches = Arc::new(Mutex::new(batches.into_iter()));
    let mut senders = JoinSet::new();
    for _ in 0..arguments.in_flight {
        let (client, batches, queue_url) = (client.clone(), Arc::clone(&batches), arguments.queue_url.clone());
        senders.spawn(async move {
            loop {
                let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(batch) = batch else { return Ok(()) };
                let sent = batch.len();
                let request = client.send_message_batch().queue_url(&queue_url);
                let output = request.set_entries(Some(batch)).send().await?;
                ensure!(output.successful().len() == sent, "an entry failed");
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    let id = std::process::id();
    let spent = Spent {
        cpu_secs: process::cpu_secs(id)? - before,
        rss_mib: process::peak_rss_mib(id)?,
    };
    crate::say(&serde_json::to_string(&spent)?);
    Ok(())
}

/// A client with the relay's settings: no retries, and timeouts, which cost a timer per request.
fn client(aws: &aws_config::SdkConfig) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(10))
        .build();
    let config = aws_sdk_sqs::config::Builder::from(aws)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    Client::from_conf(config)
}

fn entries(batch: &[Message], is_fifo: bool) -> Result<Vec<SendMessageBatchRequestEntry>> {
    let entry = |(index, message): (usize, &Message)| {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(&message.body)
            .message_group_id(message.group(is_fifo));
        if is_fifo {
            entry = entry.message_deduplication_id(&message.id);
        }
        for (name, value) in &message.attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value);
            entry = entry.message_attributes(*name, value.build()?);
        }
        Ok(entry.build()?)
    };
    batch.iter().enumerate().map(entry).collect()
}
