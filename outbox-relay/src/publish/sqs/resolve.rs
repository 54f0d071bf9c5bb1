//! A queue's name, URL or ARN to the queue.

use aws_sdk_sqs::types::QueueAttributeName;

use super::SqsQueue;
use crate::publish::{
    clients::Clients,
    resolve::{Arn, ResolveError, Subject},
};

pub(super) const MISSING: [&str; 2] = ["NonExistentQueue", "QueueDoesNotExist"];

/// Finds the queue and makes sure that it is there.
///
/// # Errors
/// [`ResolveError`], which says what to do.
///
/// # Cancel safety
/// Reads only.
pub(in crate::publish) async fn resolve(clients: &Clients, queue: &str) -> Result<SqsQueue, ResolveError> {
    let subject = Subject {
        what: "queue",
        text: queue,
        forms: "its name, its URL (https://…/account/name) or its ARN (arn:aws:sqs:region:account:name)",
        permissions: "the permissions sqs:GetQueueUrl and sqs:GetQueueAttributes",
    };
    let client = clients.sqs.clone();
    let url = match name_of(queue).map_err(|problem| subject.malformed(problem))? {
        Reference::Url(url) => url.to_owned(),
        Reference::Name { name, account } => {
            let asked = client
                .get_queue_url()
                .queue_name(name)
                .set_queue_owner_aws_account_id(account.map(str::to_owned));
            let found = asked.send().await.map_err(|error| subject.failed(&error, &MISSING))?;
            found.queue_url.ok_or_else(|| subject.missing())?
        }
    };
    let asked = client
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(QueueAttributeName::QueueArn)
        .attribute_names(QueueAttributeName::MaximumMessageSize);
    let found = asked.send().await.map_err(|error| subject.failed(&error, &MISSING))?;
    let mut attributes = found.attributes.unwrap_or_default();
    let max_message_bytes = attributes.remove(&QueueAttributeName::MaximumMessageSize);
    Ok(SqsQueue {
        is_fifo: url.ends_with(".fifo"),
        arn: attributes
            .remove(&QueueAttributeName::QueueArn)
            .ok_or_else(|| subject.missing())?,
        max_message_bytes: max_message_bytes.and_then(|bytes| bytes.parse().ok()),
        client,
        url,
    })
}

enum Reference<'a> {
    Url(&'a str),
    Name { name: &'a str, account: Option<&'a str> },
}

fn name_of(queue: &str) -> Result<Reference<'_>, &'static str> {
    if queue.contains("://") {
        let url = url::Url::parse(queue).map_err(|_| "it looks like a URL and is none")?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        return match url.path_segments().and_then(|mut path| path.next_back().map(is_name)) {
            Some(true) if is_http => Ok(Reference::Url(queue)),
            _ => Err("the URL does not end in a queue's name"),
        };
    }
    if queue.starts_with("arn:") {
        return match Arn::of("sqs", queue) {
            Some(Arn { account, resource }) if is_name(resource) => Ok(Reference::Name {
                name: resource,
                account: (!account.is_empty()).then_some(account),
            }),
            _ => Err("the ARN is not one of an SQS queue"),
        };
    }
    if is_name(queue) {
        Ok(Reference::Name {
            name: queue,
            account: None,
        })
    } else {
        Err("a name has 1 to 80 letters, digits, hyphens and underscores, and may end in .fifo")
    }
}

/// Amazon SQS API reference, `CreateQueue`.
fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    !stem.is_empty()
        && name.len() <= 80
        && stem
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_by_name_url_or_arn() {
        for good in [
            "q",
            "invoice-commands.fifo",
            "http://127.0.0.1:4566/000000000000/q",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo",
            "arn:aws:sqs:eu-west-1:123456789012:q",
        ] {
            assert!(name_of(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            ".fifo",
            "q.fif",
            "ftp://x/q",
            "http://",
            "http://x/",
            "arn:aws:sns:eu-west-1:123456789012:q",
            "arn:aws:sqs:eu-west-1:123456789012",
            &"x".repeat(81),
        ] {
            assert!(name_of(bad).is_err(), "{bad}");
        }
    }
}
