//! An SQS queue of a test's own.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use aws_sdk_sqs::{
    Client,
    types::{MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName},
};
use oncebox_envelope::RawEnvelope;

use crate::{Stack, cleanup, unique, until};

/// A queue in LocalStack; deleted with this value if this value made it.
#[derive(Debug)]
pub struct Queue {
    /// Its name, with `.fifo` where it is one.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Its ARN.
    pub arn: String,
    client: Client,
    endpoint: String,
    owned: bool,
}

/// A message that a queue handed out.
#[derive(Debug, Clone)]
pub struct Message {
    /// As it came.
    pub body: String,
    /// Message attributes that are strings.
    pub attributes: HashMap<String, String>,
    /// `MessageGroupId`.
    pub group: Option<String>,
    /// `MessageDeduplicationId`.
    pub deduplication_id: Option<String>,
}

impl Message {
    /// The body as an envelope.
    ///
    /// # Errors
    /// It is none.
    pub fn envelope(&self) -> Result<RawEnvelope> {
        RawEnvelope::from_json(self.body.as_bytes()).context("a message that is no envelope")
    }
}

impl Queue {
    /// Makes a standard queue.
    ///
    /// # Errors
    /// LocalStack does not answer, or refuses.
    pub async fn standard(stack: &Stack) -> Result<Self> {
        Self::create(stack, unique("q"), &[]).await
    }

    /// Makes a FIFO queue.
    ///
    /// # Errors
    /// As [`Queue::standard`].
    pub async fn fifo(stack: &Stack) -> Result<Self> {
        Self::create(
            stack,
            format!("{}.fifo", unique("q")),
            &[(QueueAttributeName::FifoQueue, "true")],
        )
        .await
    }

    /// A queue that somebody else made and deletes.
    #[must_use]
    pub fn existing(stack: &Stack, url: &str, arn: &str) -> Self {
        let name = url.rsplit('/').next().unwrap_or(url).to_owned();
        Self {
            name,
            url: url.to_owned(),
            arn: arn.to_owned(),
            client: stack.sqs(),
            endpoint: stack.endpoint.clone(),
            owned: false,
        }
    }

    async fn create(stack: &Stack, name: String, attributes: &[(QueueAttributeName, &str)]) -> Result<Self> {
        let client = stack.sqs();
        let attributes = attributes
            .iter()
            .map(|(name, value)| (name.clone(), (*value).to_owned()))
            .collect();
        let created = client
            .create_queue()
            .queue_name(&name)
            .set_attributes(Some(attributes))
            .send()
            .await?;
        let url = created.queue_url().context("a queue without a URL")?.to_owned();
        let asked = client
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await?.attributes.unwrap_or_default();
        let arn = attributes
            .get(&QueueAttributeName::QueueArn)
            .context("a queue without an ARN")?
            .clone();
        Ok(Self {
            name,
            url,
            arn,
            client,
            endpoint: stack.endpoint.clone(),
            owned: true,
        })
    }

    /// Sends one body, as a client that is no relay would.
    ///
    /// # Errors
    /// LocalStack refuses.
    pub async fn send(&self, body: &str, group: Option<&str>, deduplication_id: Option<&str>) -> Result<()> {
        let content_type = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("application/cloudevents+json")
            .build()?;
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .message_attributes("content-type", content_type)
            .set_message_group_id(group.map(ToOwned::to_owned))
            .set_message_deduplication_id(deduplication_id.map(ToOwned::to_owned))
            .send()
            .await
            .with_context(|| format!("sending to {}", self.name))?;
        Ok(())
    }

    /// Receives and deletes until `count` messages came, in the order of their arrival here.
    ///
    /// # Errors
    /// They did not come in time, or LocalStack fails.
    pub async fn take(&self, count: usize) -> Result<Vec<Message>> {
        let mut taken = Vec::new();
        until(&format!("{count} messages in {}", self.name), async || {
            taken.extend(self.take_batch().await?);
            ensure!(taken.len() >= count, "{} messages so far", taken.len());
            Ok(())
        })
        .await?;
        Ok(taken)
    }

    /// What is there now, at most ten messages, deleted from the queue.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn take_batch(&self) -> Result<Vec<Message>> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .wait_time_seconds(0)
            .send()
            .await?;
        let mut messages = Vec::new();
        for message in received.messages.unwrap_or_default() {
            let handle = message.receipt_handle().context("a message without a receipt handle")?;
            self.client
                .delete_message()
                .queue_url(&self.url)
                .receipt_handle(handle)
                .send()
                .await?;
            messages.push(from_sdk(message));
        }
        Ok(messages)
    }

    /// Messages waiting, being worked on and delayed, about.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn depth(&self) -> Result<u64> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let asked = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .set_attribute_names(Some(names.to_vec()));
        let attributes = asked.send().await?.attributes.unwrap_or_default();
        Ok(names
            .iter()
            .filter_map(|name| attributes.get(name)?.parse::<u64>().ok())
            .sum())
    }
}

fn from_sdk(message: aws_sdk_sqs::types::Message) -> Message {
    let system = message.attributes.unwrap_or_default();
    let attributes = message.message_attributes.unwrap_or_default();
    Message {
        body: message.body.unwrap_or_default(),
        attributes: attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.string_value?)))
            .collect(),
        group: system.get(&MessageSystemAttributeName::MessageGroupId).cloned(),
        deduplication_id: system.get(&MessageSystemAttributeName::MessageDeduplicationId).cloned(),
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.owned {
            let url = self.url.clone();
            cleanup::run_with_aws(self.endpoint.clone(), async move |config| {
                let _ = Client::new(&config).delete_queue().queue_url(url).send().await;
            });
        }
    }
}
