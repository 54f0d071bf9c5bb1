//! Where a sink's events go, and the claim check.

use serde::Deserialize;

use crate::config::{ClaimCheckConfig, TargetConfig};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { queue = \"…\" }")]
pub(super) struct SqsTable {
    queue: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { topic = \"…\" }")]
pub(super) struct SnsTable {
    topic: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { bus = \"…\" }")]
pub(super) struct EventBridgeTable {
    bus: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { bucket = \"…\" }")]
pub(super) struct ClaimCheckTable {
    bucket: String,
    #[serde(default)]
    prefix: String,
    above_bytes: Option<i64>,
}

/// A key within the sink's table, empty for the table itself, and what is wrong.
type Fault = (&'static str, String);

/// The one target of a sink.
pub(super) fn read(
    sqs: Option<SqsTable>,
    sns: Option<SnsTable>,
    eventbridge: Option<EventBridgeTable>,
) -> Result<TargetConfig, Fault> {
    let target = match (sqs, sns, eventbridge) {
        (Some(sqs), None, None) => TargetConfig::Sqs { queue: sqs.queue },
        (None, Some(sns), None) => TargetConfig::Sns { topic: sns.topic },
        (None, None, Some(eventbridge)) => TargetConfig::EventBridge { bus: eventbridge.bus },
        (None, None, None) => {
            let problem = "says not where the events go; write one of sqs = { queue = \"…\" }, sns = { topic = \"…\" } \
                           and eventbridge = { bus = \"…\" }";
            return Err(("", problem.to_owned()));
        }
        (sqs, sns, eventbridge) => {
            let found = [
                ("sqs", sqs.is_some()),
                ("sns", sns.is_some()),
                ("eventbridge", eventbridge.is_some()),
            ];
            let found = found.iter().filter(|(_, is_there)| *is_there).map(|(key, _)| *key);
            let found = found.collect::<Vec<_>>().join(" and ");
            let problem =
                format!("has {found}; a sink has one target: leave one, and write another [[sink]] for the rest");
            return Err(("", problem));
        }
    };
    let is_empty = match &target {
        TargetConfig::Sqs { queue } => queue.is_empty().then_some("the queue's name, URL or ARN"),
        TargetConfig::Sns { topic } => topic.is_empty().then_some("the topic's name or ARN"),
        TargetConfig::EventBridge { bus } => bus.is_empty().then_some("the event bus's name or ARN"),
    };
    match is_empty {
        Some(fix) => Err((target.key(), format!("is empty; write {fix}"))),
        None => Ok(target),
    }
}

/// The claim check of a sink.
pub(super) fn read_claim_check(table: ClaimCheckTable) -> Result<ClaimCheckConfig, Fault> {
    if !is_bucket(&table.bucket) {
        let fix = "write the name of an S3 bucket: 3 to 63 lower-case letters, digits, dots and hyphens";
        return Err(("claim_check.bucket", fix.to_owned()));
    }
    if !(table.prefix.is_empty() || is_prefix(&table.prefix)) {
        let fix = "write 1 to 512 letters, digits, hyphens, underscores, dots and slashes, with no slash at either \
                   end and no empty part, no `.` and no `..` between them";
        return Err(("claim_check.prefix", fix.to_owned()));
    }
    let above_bytes = match table.above_bytes.map(usize::try_from) {
        None => None,
        Some(Ok(bytes)) if (1_024..=1_048_576).contains(&bytes) => Some(bytes),
        Some(_) => {
            let fix = "write a number of bytes from 1024 to 1048576, or leave it out for the target's own limit";
            return Err(("claim_check.above_bytes", fix.to_owned()));
        }
    };
    Ok(ClaimCheckConfig {
        bucket: table.bucket,
        prefix: table.prefix,
        above_bytes,
    })
}

/// Amazon S3 user guide, "General purpose bucket naming rules".
fn is_bucket(name: &str) -> bool {
    let is_edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&name.len())
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || *b == b'.')
}

/// Characters that stand in a URI as they are, and no steps that an HTTP client could take (Amazon S3
/// user guide, "Naming Amazon S3 objects"; a key has at most 1,024 bytes).
fn is_prefix(prefix: &str) -> bool {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    prefix.len() <= 512 && prefix.split('/').all(is_part)
}
