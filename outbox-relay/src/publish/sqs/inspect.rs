//! A queue's dead-letter queue.

use std::collections::HashMap;

use aws_sdk_sqs::{Client, types::QueueAttributeName as Name};
use serde::Deserialize;

use super::{SqsQueue, resolve::MISSING};
use crate::publish::{inspect::Remark, resolve::Arn};
use aws_sdk_sqs::error::ProvideErrorMetadata as _;

/// Amazon SQS API reference, `SetQueueAttributes`: `RedrivePolicy`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
}

impl SqsQueue {
    pub(in crate::publish) async fn inspect(&self) -> Vec<Remark> {
        let attributes = match attributes(&self.client, &self.url).await {
            Ok(attributes) => attributes,
            Err(error) => {
                return vec![Remark::unread(
                    "the queue's attributes",
                    "sqs:GetQueueAttributes",
                    &error,
                )];
            }
        };
        let mut remarks = vec![fifo(self.is_fifo, &attributes)];
        let policy = attributes
            .get(&Name::RedrivePolicy)
            .map(String::as_str)
            .unwrap_or_default();
        let Ok(policy) = serde_json::from_str::<RedrivePolicy>(policy) else {
            remarks.push(Remark::warning(
                "has no dead-letter queue: what its consumers cannot process comes again until it expires; set a RedrivePolicy",
            ));
            return remarks;
        };
        remarks.push(self.dead_letters(&policy.dead_letter_target_arn, &attributes).await);
        remarks
    }

    async fn dead_letters(&self, arn: &str, attributes: &HashMap<Name, String>) -> Remark {
        let Some(Arn { account, resource }) = Arn::of("sqs", arn) else {
            return Remark::warning("its RedrivePolicy names no SQS queue; correct deadLetterTargetArn");
        };
        let asked = self.client.get_queue_url().queue_name(resource);
        let found = asked.queue_owner_aws_account_id(account).send().await;
        let url = match found {
            Ok(found) => found.queue_url.unwrap_or_default(),
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| MISSING.iter().any(|m| code.ends_with(m))) =>
            {
                return Remark::warning(format!("its dead-letter queue {arn} does not exist; create it"));
            }
            Err(error) => return Remark::unread("its dead-letter queue", "sqs:GetQueueUrl on it", &error),
        };
        match self::attributes(&self.client, &url).await {
            Ok(dead) => judge(self.is_fifo, arn, retention_secs(attributes), retention_secs(&dead)),
            Err(error) => Remark::unread(
                "its dead-letter queue's attributes",
                "sqs:GetQueueAttributes on it",
                &error,
            ),
        }
    }
}

async fn attributes(
    client: &Client,
    url: &str,
) -> Result<
    HashMap<Name, String>,
    aws_sdk_sqs::error::SdkError<aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError>,
> {
    let asked = client.get_queue_attributes().queue_url(url).attribute_names(Name::All);
    Ok(asked.send().await?.attributes.unwrap_or_default())
}

/// The relay tells the kind by the name, as SQS demands it.
fn fifo(by_name: bool, attributes: &HashMap<Name, String>) -> Remark {
    let by_attribute = attributes.get(&Name::FifoQueue).is_some_and(|value| value == "true");
    match (by_name, by_attribute) {
        (true, true) => Remark::ok("is a FIFO queue: the order of keys is kept"),
        (false, false) => Remark::ok("is a standard queue: no order is kept"),
        (true, false) => Remark::fault("is named .fifo and is no FIFO queue; name a queue whose FifoQueue is true"),
        (false, true) => {
            Remark::fault("is a FIFO queue whose name does not end in .fifo; name it by its own name or ARN")
        }
    }
}

/// Four days, Amazon SQS API reference, `SetQueueAttributes`: `MessageRetentionPeriod`.
fn retention_secs(attributes: &HashMap<Name, String>) -> u64 {
    let set = attributes.get(&Name::MessageRetentionPeriod);
    set.and_then(|secs| secs.parse().ok()).unwrap_or(345_600)
}

/// Amazon SQS developer guide, "Dead-letter queues": a FIFO queue's must be FIFO too; a message of a
/// standard queue keeps its enqueue time when it moves, one of a FIFO queue gets a new one.
fn judge(is_fifo: bool, dead_arn: &str, retention_secs: u64, dead_retention_secs: u64) -> Remark {
    let dead_is_fifo = dead_arn.ends_with(".fifo");
    if is_fifo != dead_is_fifo {
        let kind = if is_fifo { "FIFO" } else { "standard" };
        return Remark::warning(format!(
            "its dead-letter queue {dead_arn} is of another kind; a {kind} queue needs a {kind} one"
        ));
    }
    if !is_fifo && dead_retention_secs <= retention_secs {
        return Remark::warning(format!(
            "its dead-letter queue {dead_arn} keeps messages {dead_retention_secs} s and the queue itself {retention_secs} s: \
             age counts from the first queue, so they may be gone at once; raise MessageRetentionPeriod there to \
             1209600 (14 days) or lower it here"
        ));
    }
    Remark::ok(format!("has the dead-letter queue {dead_arn}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::inspect::Weight;

    #[test]
    fn a_dead_letter_queue_is_of_the_same_kind_and_keeps_longer() {
        let weight = |is_fifo, arn, own, dead| judge(is_fifo, arn, own, dead).weight;
        assert_eq!(weight(false, "arn:d", 10, 11), Weight::Ok);
        assert_eq!(weight(false, "arn:d", 10, 10), Weight::Warning);
        assert_eq!(weight(false, "arn:d.fifo", 10, 11), Weight::Warning);
        assert_eq!(weight(true, "arn:d", 10, 11), Weight::Warning);
        assert_eq!(weight(true, "arn:d.fifo", 10, 10), Weight::Ok, "its time begins anew");
    }

    #[test]
    fn a_queue_is_what_its_name_says() {
        let attributes = |fifo: &str| HashMap::from([(Name::FifoQueue, fifo.to_owned())]);
        assert_eq!(fifo(true, &attributes("true")).weight, Weight::Ok);
        assert_eq!(fifo(false, &HashMap::new()).weight, Weight::Ok);
        assert_eq!(fifo(true, &HashMap::new()).weight, Weight::Fault);
        assert_eq!(fifo(false, &attributes("true")).weight, Weight::Fault);
    }
}
