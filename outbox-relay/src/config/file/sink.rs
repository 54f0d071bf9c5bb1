//! A `[[sink]]` table.

use std::time::Duration;

use oncebox_envelope::{Kind, Tenant};
use serde::Deserialize;

use super::target::{self, ClaimCheckTable, EventBridgeTable, SnsTable, SqsTable};
use crate::{
    config::{Fault, SinkConfig, pattern},
    log::{page::Selection, store::Start},
    publish::BatchLimits,
    sink::{Guarantee, gather::BundleLimits},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[sink]] table")]
pub(super) struct SinkTable {
    name: String,
    #[serde(default, rename = "match")]
    selection: MatchTable,
    sqs: Option<SqsTable>,
    bundle: Option<BundleTable>,
    #[serde(default)]
    guarantee: GuaranteeWord,
    sns: Option<SnsTable>,
    eventbridge: Option<EventBridgeTable>,
    claim_check: Option<ClaimCheckTable>,
    max_in_flight: Option<i64>,
    max_window: Option<i64>,
    start: Option<StartWord>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { type = \"invoice.*\" }")]
struct MatchTable {
    #[serde(rename = "type")]
    types: Option<OneOrMany>,
    #[serde(rename = "kind")]
    kinds: Option<OneOrMany>,
    #[serde(rename = "tenant")]
    tenants: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table like { max_events = 100, max_bytes = 65536, linger_ms = 5 }"
)]
struct BundleTable {
    max_events: Option<i64>,
    max_bytes: Option<i64>,
    linger_ms: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum GuaranteeWord {
    #[default]
    AtLeastOnce,
    AtMostOnce,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or an array of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StartWord {
    Beginning,
    Now,
}

/// Whether a sink may be called so.
pub(crate) fn is_sink_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Reads the table of sink number `index`.
pub(super) fn read(index: usize, table: SinkTable) -> Result<SinkConfig, Fault> {
    let fault = |key: &str, problem: &str| (format!("sink[{index}].{key}"), problem.to_owned());
    let in_list = |key: &str, (at, problem): (Option<usize>, String)| match at {
        None => fault(key, &problem),
        Some(at) => fault(&format!("{key}[{at}]"), &problem),
    };
    if !is_sink_name(&table.name) {
        return Err(fault(
            "name",
            "write 1 to 64 lower-case letters, digits, hyphens and underscores",
        ));
    }
    let types = list(table.selection.types, |glob| {
        pattern::like(&glob).map_err(str::to_owned)
    });
    let kinds = list(table.selection.kinds, |kind| match kind.parse::<Kind>() {
        Ok(kind) => Ok(kind.to_string()),
        Err(error) => Err(error.to_string()),
    });
    let tenants = list(table.selection.tenants, |tenant| match tenant.parse::<Tenant>() {
        Ok(tenant) => Ok(tenant.to_string()),
        Err(error) => Err(error.to_string()),
    });
    let target = target::read(table.sqs, table.sns, table.eventbridge);
    let target = target.map_err(|(key, problem)| match key {
        "" => (format!("sink[{index}]"), problem),
        key => fault(key, &problem),
    })?;
    let claim_check = table.claim_check.map(target::read_claim_check).transpose();
    let claim_check = claim_check.map_err(|(key, problem)| fault(key, &problem))?;
    let max_in_flight = table.max_in_flight.unwrap_or(16);
    if !(1..=256).contains(&max_in_flight) {
        return Err(fault("max_in_flight", "write a number of requests from 1 to 256"));
    }
    let max_window = table.max_window.unwrap_or(100_000);
    if !(100..=1_000_000).contains(&max_window) {
        return Err(fault("max_window", "write a number of events from 100 to 1000000"));
    }
    let bundle = table.bundle.map(|table| bundle(&table)).transpose();
    let bundle = bundle.map_err(|(key, problem)| fault(key, problem))?;
    Ok(SinkConfig {
        name: table.name,
        selection: Selection {
            types: types.map_err(|at| in_list("match.type", at))?,
            kinds: kinds.map_err(|at| in_list("match.kind", at))?,
            tenants: tenants.map_err(|at| in_list("match.tenant", at))?,
            shards: None,
        },
        bundle,
        guarantee: match table.guarantee {
            GuaranteeWord::AtLeastOnce => Guarantee::AtLeastOnce,
            GuaranteeWord::AtMostOnce => Guarantee::AtMostOnce,
        },
        target,
        claim_check,
        max_in_flight: usize::try_from(max_in_flight).unwrap_or(16),
        max_window: usize::try_from(max_window).unwrap_or(100_000),
        start: table.start.map(|word| match word {
            StartWord::Beginning => Start::Beginning,
            StartWord::Now => Start::Now,
        }),
    })
}

/// The most that a target takes as one message is less for some; the relay takes the smaller.
fn bundle(table: &BundleTable) -> Result<BundleLimits, (&'static str, &'static str)> {
    let number = |value: Option<i64>, default: i64, allowed: std::ops::RangeInclusive<i64>| {
        let value = value.unwrap_or(default);
        allowed.contains(&value).then(|| usize::try_from(value).unwrap_or(0))
    };
    let max_entries = number(table.max_events, 100, 2..=1_000)
        .ok_or(("bundle.max_events", "write a number of events from 2 to 1000"))?;
    let max_bytes = number(table.max_bytes, 65_536, 1_024..=1_048_576)
        .ok_or(("bundle.max_bytes", "write a number of bytes from 1024 to 1048576"))?;
    let linger_ms = number(table.linger_ms, 5, 0..=10_000)
        .ok_or(("bundle.linger_ms", "write a number of milliseconds from 0 to 10000"))?;
    Ok(BundleLimits {
        size: BatchLimits { max_entries, max_bytes },
        linger: Duration::from_millis(u64::try_from(linger_ms).unwrap_or(0)),
    })
}

/// Reads one word or a list of them; a fault says at which place of the list.
fn list(
    words: Option<OneOrMany>,
    read: impl Fn(String) -> Result<String, String>,
) -> Result<Option<Vec<String>>, (Option<usize>, String)> {
    match words {
        None => Ok(None),
        Some(OneOrMany::One(word)) => read(word)
            .map(|word| Some(vec![word]))
            .map_err(|problem| (None, problem)),
        Some(OneOrMany::Many(words)) if words.is_empty() => {
            let problem = "is an empty list, which matches nothing; leave it out to match all";
            Err((None, problem.to_owned()))
        }
        Some(OneOrMany::Many(words)) => {
            let read = |(at, word)| read(word).map_err(|problem| (Some(at), problem));
            words
                .into_iter()
                .enumerate()
                .map(read)
                .collect::<Result<_, _>>()
                .map(Some)
        }
    }
}
