//! A topic's name or ARN to the topic.
//!
//! SNS knows topics by their ARN only. A name's ARN is put together from the caller's partition and
//! account, which `sts:GetCallerIdentity` tells anybody, and the region; listing all topics would ask
//! for a broad permission, and creating by name might create.

use super::SnsTopic;
use crate::publish::{
    clients::Clients,
    resolve::{Arn, ResolveError, Subject},
};

/// Finds the topic and makes sure that it is there.
///
/// # Errors
/// [`ResolveError`], which says what to do.
///
/// # Cancel safety
/// Reads only.
pub(in crate::publish) async fn resolve(clients: &Clients, topic: &str) -> Result<SnsTopic, ResolveError> {
    let subject = Subject {
        what: "topic",
        text: topic,
        forms: "its name or its ARN (arn:aws:sns:region:account:name)",
        permissions: "the permission sns:GetTopicAttributes",
    };
    let arn = match arn_of(topic).map_err(|problem| subject.malformed(problem))? {
        Reference::Arn(arn) => arn.to_owned(),
        Reference::Name(name) => {
            let asked = clients.sts.get_caller_identity().send().await;
            let caller = asked.map_err(|error| subject.failed(&error, &[]))?;
            let region = clients.region.as_ref();
            let region = region.ok_or_else(|| subject.refused("no region is set".to_owned()))?;
            let caller = caller.arn().unwrap_or_default();
            let unknown = || subject.refused("who asks has no ARN".to_owned());
            let mut parts = caller.split(':').skip(1);
            let partition = parts.next().ok_or_else(unknown)?;
            let account = parts.nth(2).ok_or_else(unknown)?;
            format!("arn:{partition}:sns:{region}:{account}:{name}")
        }
    };
    let asked = clients.sns.get_topic_attributes().topic_arn(&arn).send().await;
    let found = asked.map_err(|error| subject.failed(&error, &["NotFound", "NotFoundException"]))?;
    let attributes = found.attributes.unwrap_or_default();
    let max_message_bytes = attributes.get("MaximumMessageSize");
    Ok(SnsTopic {
        client: clients.sns.clone(),
        is_fifo: arn.ends_with(".fifo"),
        arn,
        max_message_bytes: max_message_bytes.and_then(|bytes| bytes.parse().ok()),
    })
}

enum Reference<'a> {
    Arn(&'a str),
    Name(&'a str),
}

fn arn_of(topic: &str) -> Result<Reference<'_>, &'static str> {
    if topic.starts_with("arn:") {
        return match Arn::of("sns", topic) {
            Some(arn) if !arn.account.is_empty() && is_name(arn.resource) => Ok(Reference::Arn(topic)),
            _ => Err("the ARN is not one of an SNS topic"),
        };
    }
    if is_name(topic) {
        Ok(Reference::Name(topic))
    } else {
        Err("a name has 1 to 256 letters, digits, hyphens and underscores, and may end in .fifo")
    }
}

/// Amazon SNS API reference, `CreateTopic`.
fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    !stem.is_empty()
        && name.len() <= 256
        && stem
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_by_name_or_arn() {
        for good in [
            "t",
            "invoice-events.fifo",
            "arn:aws-cn:sns:cn-north-1:123456789012:t.fifo",
        ] {
            assert!(arn_of(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            ".fifo",
            "t.fif",
            "https://sns.eu-west-1.amazonaws.com/t",
            "arn:aws:sqs:eu-west-1:123456789012:t",
            "arn:aws:sns:eu-west-1::t",
            "arn:aws:sns:eu-west-1:123456789012:t:a-subscription",
            &"x".repeat(257),
        ] {
            assert!(arn_of(bad).is_err(), "{bad}");
        }
    }
}
