//! A queue's name, URL or ARN to the queue.

use std::error::Error;

use aws_sdk_sqs::{Client, error::ProvideErrorMetadata, types::QueueAttributeName};

use super::SqsQueue;

/// Why a queue cannot be published to.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The text is no name, URL or ARN of a queue.
    #[error(
        "`{queue}` is no queue: {problem}; write its name, its URL (https://…/account/name) or its ARN (arn:aws:sqs:region:account:name)"
    )]
    Malformed {
        /// The configured text.
        queue: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no such queue.
    #[error("queue `{queue}` does not exist for these credentials in this region; create it or correct the name")]
    Missing {
        /// The configured text.
        queue: String,
    },
    /// SQS could not be asked, or refused.
    #[error(
        "queue `{queue}` could not be looked up: {problem}; check AWS_ENDPOINT_URL, region, credentials and the permissions sqs:GetQueueUrl and sqs:GetQueueAttributes"
    )]
    Failed {
        /// The configured text.
        queue: String,
        /// What SQS or the client said.
        problem: String,
    },
}

/// Finds the queue and makes sure that it is there.
///
/// # Errors
/// [`ResolveError`], which says what to do.
///
/// # Cancel safety
/// Reads only.
pub async fn resolve(client: Client, queue: &str) -> Result<SqsQueue, ResolveError> {
    let missing = || ResolveError::Missing {
        queue: queue.to_owned(),
    };
    let failed = |problem: String| ResolveError::Failed {
        queue: queue.to_owned(),
        problem,
    };
    let name = name_of(queue).map_err(|problem| ResolveError::Malformed {
        queue: queue.to_owned(),
        problem,
    })?;
    let url = match name {
        Reference::Url(url) => {
            let asked = client
                .get_queue_attributes()
                .queue_url(url)
                .attribute_names(QueueAttributeName::QueueArn);
            match asked.send().await {
                Ok(_) => url.to_owned(),
                Err(error) if is_missing(error.code()) => return Err(missing()),
                Err(error) => return Err(failed(describe(&error))),
            }
        }
        Reference::Name { name, account } => {
            let asked = client
                .get_queue_url()
                .queue_name(name)
                .set_queue_owner_aws_account_id(account.map(str::to_owned));
            match asked.send().await {
                Ok(found) => found.queue_url().ok_or_else(missing)?.to_owned(),
                Err(error) if is_missing(error.code()) => return Err(missing()),
                Err(error) => return Err(failed(describe(&error))),
            }
        }
    };
    Ok(SqsQueue {
        is_fifo: url.ends_with(".fifo"),
        client,
        url,
    })
}

/// What the service said, or the innermost cause where it said nothing.
fn describe<E: Error + ProvideErrorMetadata + 'static>(error: &E) -> String {
    if let Some(code) = error.code() {
        return format!("{code}: {}", error.message().unwrap_or("no message"));
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn is_missing(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.ends_with("NonExistentQueue") || code.ends_with("QueueDoesNotExist"))
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
        let parts: Vec<&str> = queue.split(':').collect();
        return match parts.as_slice() {
            ["arn", _, "sqs", region, account, name] if !region.is_empty() && is_name(name) => Ok(Reference::Name {
                name,
                account: (!account.is_empty()).then_some(*account),
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
