//! An SNS topic of a test's own.

use anyhow::{Context, Result};
use aws_sdk_sns::Client;

use crate::{Queue, Stack, cleanup, unique};

/// A topic in LocalStack; deleted with this value.
#[derive(Debug)]
pub struct Topic {
    /// Its name, with `.fifo` where it is one.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    client: Client,
    endpoint: String,
}

impl Topic {
    /// Makes a standard topic.
    ///
    /// # Errors
    /// LocalStack does not answer, or refuses.
    pub async fn standard(stack: &Stack) -> Result<Self> {
        Self::create(stack, unique("t"), &[]).await
    }

    /// Makes a FIFO topic.
    ///
    /// # Errors
    /// As [`Topic::standard`].
    pub async fn fifo(stack: &Stack) -> Result<Self> {
        Self::create(stack, format!("{}.fifo", unique("t")), &[("FifoTopic", "true")]).await
    }

    async fn create(stack: &Stack, name: String, attributes: &[(&str, &str)]) -> Result<Self> {
        let client = stack.sns();
        let mut create = client.create_topic().name(&name);
        for (attribute, value) in attributes {
            create = create.attributes(*attribute, *value);
        }
        let created = create.send().await.with_context(|| format!("creating topic {name}"))?;
        Ok(Self {
            arn: created.topic_arn.context("a topic without an ARN")?,
            name,
            client,
            endpoint: stack.endpoint.clone(),
        })
    }

    /// Hands everything on to a queue, by raw delivery.
    ///
    /// # Errors
    /// LocalStack refuses.
    pub async fn subscribe(&self, queue: &Queue) -> Result<()> {
        self.client
            .subscribe()
            .topic_arn(&self.arn)
            .protocol("sqs")
            .endpoint(&queue.arn)
            .attributes("RawMessageDelivery", "true")
            .send()
            .await
            .with_context(|| format!("subscribing {} to {}", queue.name, self.name))?;
        Ok(())
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let arn = self.arn.clone();
        cleanup::run_with_aws(self.endpoint.clone(), async move |config| {
            let _ = Client::new(&config).delete_topic().topic_arn(arn).send().await;
        });
    }
}
