//! The dedupe table.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
};
use uuid::Uuid;

use super::{
    attribute::{Attribute, Key},
    aws::AwsStore,
    condition::Condition,
    store::{Change, Item, ItemKey, Store, Write},
};
use crate::{
    canonical::PayloadHash,
    planted::{Bug, is_planted},
    record::Content,
    start_error::{StartError, optional_env, required_env},
};

/// Where transactional handlers keep one record for each event that they have consumed.
///
/// The table has the partition key `pk` (a string) and no sort key; TTL is to be on for `ttl`. A
/// record holds `pk` = `{consumer}#{event id}`, `st` = `done`, `own` (the attempt that committed
/// it), `ph` (the payload's hash, binary) and `ttl` (epoch seconds).
#[derive(Clone)]
pub struct DynamoDbDedupe {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) table: String,
    pub(crate) tables: HashMap<String, String>,
    keep: Duration,
}

/// For how many days records are kept. `outbox-relay check` reads it of deployed functions.
const DEDUPE_DAYS: &str = "ONCEBOX_DEDUPE_DAYS";

fn dedupe_days(value: Option<&str>) -> Result<Option<u64>, StartError> {
    match value.map(|value| value.trim().parse()) {
        None => Ok(None),
        Some(Ok(days @ 1..=3_650)) => Ok(Some(days)),
        Some(_) => Err(StartError::InvalidEnv {
            name: DEDUPE_DAYS.to_owned(),
            expected: "a number of days from 1 to 3650",
        }),
    }
}

impl DynamoDbDedupe {
    /// 35 days: the retention of a queue and of its dead-letter queue (14 days each at most), and
    /// a week for whoever redrives or replays.
    pub const DEFAULT_KEEP: Duration = Duration::from_secs(35 * 24 * 60 * 60);

    /// Records in `table`, through `client`. Effects go through the same client.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self::on(Arc::new(AwsStore(client)), table)
    }

    /// The same on any store.
    pub(crate) fn on(store: Arc<dyn Store>, table: impl Into<String>) -> Self {
        Self {
            store,
            table: table.into(),
            tables: HashMap::new(),
            keep: Self::DEFAULT_KEEP,
        }
    }

    /// The table named by `DEDUPE_TABLE`, with the SDK's configuration from the environment. Records are kept
    /// for `ONCEBOX_DEDUPE_DAYS` days where that is set; see [`keep`](Self::keep).
    ///
    /// # Errors
    /// [`StartError::MissingEnv`] and [`StartError::InvalidEnv`]. The table itself is not looked at.
    pub async fn from_env() -> Result<Self, StartError> {
        let table = required_env("DEDUPE_TABLE", "the name of the DynamoDB table for dedupe records")?;
        // The SDK waits for a reply for ever by default; a lost one would cost the whole invocation.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(Duration::from_secs(3))
            .build();
        let config = Builder::from(&aws_config::load_from_env().await)
            .timeout_config(timeouts)
            .build();
        let dedupe = Self::new(Client::from_conf(config), table);
        Ok(match dedupe_days(optional_env(DEDUPE_DAYS).as_deref())? {
            Some(days) => dedupe.keep(Duration::from_secs(days * 24 * 60 * 60)),
            None => dedupe,
        })
    }

    /// How long a record counts. At least the retention of the queue and of the dead-letter queue
    /// and the time within which anybody replays.
    #[must_use]
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// The `ttl` of a record that is written at `now_secs`.
    pub(crate) fn ttl_secs(&self, now_secs: i64) -> i64 {
        now_secs.saturating_add(i64::try_from(self.keep.as_secs()).unwrap_or(i64::MAX))
    }

    pub(crate) fn with_tables(mut self, tables: HashMap<String, String>) -> Self {
        self.tables = tables;
        self
    }
}

/// The record that an attempt would write.
pub(crate) struct Claim {
    pub(crate) pk: String,
    /// Unique to this attempt: what tells "committed by me, reply lost" from "committed by another".
    pub(crate) own: String,
    pub(crate) hash: PayloadHash,
    pub(crate) now_secs: i64,
    ttl_secs: i64,
}

/// What an existing record says about this attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Me,
    Another,
    /// Another one, with another payload under the same id.
    AnotherPayload,
}

impl Claim {
    pub(crate) fn new(consumer: &str, content: &Content, dedupe: &DynamoDbDedupe) -> Self {
        let now_secs = crate::time::wall().as_second();
        Self::of(consumer, content, now_secs, dedupe.ttl_secs(now_secs))
    }

    pub(crate) fn of(consumer: &str, content: &Content, now_secs: i64, ttl_secs: i64) -> Self {
        let own = Uuid::new_v4().to_string();
        Self {
            pk: match is_planted(Bug::RecordOfAttempt) {
                true => format!("{consumer}#{own}"),
                false => format!("{consumer}#{}", content.envelope.id),
            },
            own,
            hash: content.hash,
            now_secs,
            ttl_secs,
        }
    }

    /// Puts the record where there is none that still counts.
    pub(crate) fn write(&self, table: &str) -> Write {
        let attributes: [(&str, Attribute); 4] = [
            ("st", "done".into()),
            ("own", self.own.as_str().into()),
            ("ph", self.hash.as_bytes().to_vec().into()),
            ("ttl", self.ttl_secs.into()),
        ];
        // DynamoDB deletes expired items hours late, so the time is tested too.
        let is_free = match is_planted(Bug::ExpiredCounts) {
            true => Condition::absent("pk"),
            false => Condition::absent("pk").or(Condition::less_than("ttl", self.now_secs.saturating_add(1))),
        };
        Write {
            table: table.to_owned(),
            key: self.key(),
            change: Change::Put(attributes.map(|(name, value)| (name.to_owned(), value)).into()),
            condition: Some(is_free),
            // Tells a duplicate from a second use of the id without another read.
            wants_old: true,
        }
    }

    pub(crate) fn record(&self, table: &str) -> ItemKey {
        ItemKey::new(table, self.key())
    }

    fn key(&self) -> Key {
        Key::new("pk", self.pk.as_str())
    }

    /// Who wrote the record; `None` when it does not count any more.
    pub(crate) fn owner(&self, record: &Item) -> Option<Owner> {
        let text = |name| record.get(name).and_then(|value| value.as_s().ok());
        let ttl = record
            .get("ttl")
            .and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
        let hash = record.get("ph").and_then(|value| value.as_b().ok());
        if ttl.is_some_and(|ttl| ttl <= self.now_secs) && !is_planted(Bug::ExpiredCounts) {
            None
        } else if text("own") == Some(&self.own) {
            Some(Owner::Me)
        } else if hash.is_some_and(|hash| hash.as_ref() == self.hash.as_bytes()) {
            Some(Owner::Another)
        } else {
            Some(Owner::AnotherPayload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_for_whole_days_within_reason_or_the_function_does_not_start() {
        assert_eq!(dedupe_days(None).unwrap(), None);
        assert_eq!(dedupe_days(Some(" 18 ")).unwrap(), Some(18));
        for bad in ["0", "-1", "1.5", "3651", "18 days"] {
            let error = dedupe_days(Some(bad)).unwrap_err().to_string();
            assert!(
                error.contains("`ONCEBOX_DEDUPE_DAYS`") && !error.contains("`18"),
                "{error}"
            );
        }
    }
}
