//! Where emitted events go.

use oncebox_envelope::target::{RESERVED_SOURCE, TargetKind};

/// A queue, a topic or an event bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The URL of a queue, the ARN of the others.
    pub(crate) address: String,
    pub(crate) kind: TargetKind,
}

/// Bytes of an address; URLs and ARNs of AWS are shorter.
const MAX_ADDRESS_BYTES: usize = 1_024;

impl Target {
    /// By the URL of a queue, or the ARN of a topic or an event bus.
    ///
    /// # Errors
    /// What was found instead, and the fix.
    pub(crate) fn new(address: &str) -> Result<Self, &'static str> {
        if address.len() > MAX_ADDRESS_BYTES || !address.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("no address; name an SQS queue by its URL, a topic or an event bus by its ARN");
        }
        let kind = if address.starts_with("arn:") {
            kind_of_arn(address)?
        } else {
            kind_of_url(address)?
        };
        Ok(Self {
            address: address.to_owned(),
            kind,
        })
    }

    /// Whether the order of message groups is kept, so that whoever sends must keep it too.
    pub(crate) fn keeps_order(&self) -> bool {
        self.kind.keeps_order()
    }

    /// The name in traces.
    #[cfg(feature = "otel")]
    pub(crate) fn name(&self) -> &str {
        let name = self.address.rsplit(['/', ':']).next();
        name.unwrap_or(&self.address)
    }

    /// Whether a consumer of this name, built with these features, can send there.
    ///
    /// # Errors
    /// What stands against it, and the fix.
    pub(crate) fn check(&self, consumer: &str) -> Result<(), &'static str> {
        match self.kind {
            TargetKind::Topic | TargetKind::FifoTopic if !cfg!(feature = "sns") => {
                Err("an SNS topic; build `oncebox-consumer` with its feature `sns`")
            }
            TargetKind::EventBus if !cfg!(feature = "eventbridge") => {
                Err("an event bus; build `oncebox-consumer` with its feature `eventbridge`")
            }
            TargetKind::EventBus if consumer.starts_with(RESERVED_SOURCE) => {
                Err("an event bus, which takes nothing from a source that begins with `aws.`; rename the consumer")
            }
            _ => Ok(()),
        }
    }
}

fn kind_of_url(url: &str) -> Result<TargetKind, &'static str> {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Err("neither URL nor ARN; name an SQS queue by its URL, a topic or an event bus by its ARN");
    };
    match rest.rsplit_once('/') {
        Some((_, name)) if !name.is_empty() => Ok(TargetKind::queue(name.ends_with(".fifo"))),
        _ => Err("no URL of a queue; name an SQS queue by its URL, as `AWS::SQS::Queue` returns it"),
    }
}

/// `arn:partition:service:region:account:resource` (AWS General Reference, "Amazon Resource Names").
fn kind_of_arn(arn: &str) -> Result<TargetKind, &'static str> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, region, account, resource] = parts[..] else {
        return Err("no ARN of a topic or an event bus; it has too few parts");
    };
    if [partition, region, account].contains(&"") {
        return Err("no ARN of a topic or an event bus; partition, region or account is missing");
    }
    match service {
        "sqs" => Err("the ARN of a queue; name an SQS queue by its URL, as `AWS::SQS::Queue` returns it"),
        "sns" if resource.is_empty() || resource.contains(':') => {
            Err("no ARN of a topic; name one as `AWS::SNS::Topic` returns it, not a subscription")
        }
        "sns" => Ok(TargetKind::topic(resource.ends_with(".fifo"))),
        "events" => match resource.strip_prefix("event-bus/") {
            Some(name) if !name.is_empty() => Ok(TargetKind::EventBus),
            _ => Err("no ARN of an event bus; name one by its attribute `Arn` of `AWS::Events::EventBus`"),
        },
        _ => Err("the ARN of something else; events go to an SQS queue (its URL), an SNS topic or an event bus"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_the_url_of_a_queue_or_the_arn_of_a_topic_or_an_event_bus() {
        for (address, kind) in [
            (
                "https://sqs.eu-west-1.amazonaws.com/000000000000/invoices.fifo",
                TargetKind::FifoQueue,
            ),
            ("http://127.0.0.1:4566/000000000000/invoices", TargetKind::Queue),
            ("arn:aws:sns:eu-west-1:000000000000:invoices", TargetKind::Topic),
            (
                "arn:aws-cn:sns:cn-north-1:000000000000:invoices.fifo",
                TargetKind::FifoTopic,
            ),
            (
                "arn:aws:events:eu-west-1:000000000000:event-bus/default",
                TargetKind::EventBus,
            ),
        ] {
            assert_eq!(Target::new(address).map(|target| target.kind), Ok(kind), "{address}");
        }
        for (bad, found) in [
            ("invoices", "neither URL nor ARN"),
            ("", "neither URL nor ARN"),
            ("https://sqs.eu-west-1.amazonaws.com/", "no URL of"),
            ("https://sqs/000000000000/in voices", "no address"),
            ("arn:aws:sqs:eu-west-1:000000000000:invoices", "the ARN of a queue"),
            (
                "arn:aws:sns:eu-west-1:000000000000",
                "no ARN of a topic or an event bus",
            ),
            (
                "arn:aws:sns::000000000000:invoices",
                "no ARN of a topic or an event bus",
            ),
            ("arn:aws:sns:eu-west-1:000000000000:", "no ARN of a topic;"),
            (
                "arn:aws:sns:eu-west-1:000000000000:invoices:0190a1b2",
                "no ARN of a topic;",
            ),
            (
                "arn:aws:events:eu-west-1:000000000000:rule/invoices",
                "no ARN of an event bus",
            ),
            (
                "arn:aws:kinesis:eu-west-1:000000000000:stream/invoices",
                "the ARN of something else",
            ),
        ] {
            let why = Target::new(bad).unwrap_err();
            assert!(why.starts_with(found), "{bad}: {why}");
        }
        let long = format!("https://sqs/{}", "x".repeat(MAX_ADDRESS_BYTES));
        assert!(Target::new(&long).is_err());
    }

    #[test]
    fn an_event_bus_takes_nothing_from_a_consumer_that_is_named_like_an_aws_service() {
        let bus = Target::new("arn:aws:events:eu-west-1:000000000000:event-bus/b").unwrap();
        let queue = Target::new("https://sqs/000000000000/q").unwrap();
        assert!(bus.check("aws.billing").is_err());
        assert!(queue.check("aws.billing").is_ok());
        assert_eq!(bus.check("billing").is_ok(), cfg!(feature = "eventbridge"));
    }
}
