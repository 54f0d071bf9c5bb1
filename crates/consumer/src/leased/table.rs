//! Reading and writing one record. A write names what it expects to find.

use std::time::Duration;

use uuid::Uuid;

use super::record::{Record, State, millis};
use crate::{
    dynamodb::{
        Condition, DynamoDbDedupe, Key,
        store::{Cancellation, Change, Item, ItemKey, Transacted, Write},
    },
    planted::{Bug, is_planted},
    time::{self, Instant, sleep_until, timeout_at},
};

/// Pauses between attempts are random, up to a bound that doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The table of the records.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) dedupe: &'a DynamoDbDedupe,
}

/// What a write expects to find; else it changes nothing.
#[derive(Clone, Copy)]
pub(super) enum Expected<'a> {
    /// No record.
    Absent,
    /// A record that nobody has touched since it was read.
    AsRead(&'a Record),
    /// A claim of this delivery that nobody has taken over.
    Mine,
    /// The same with an earlier beat: a late copy of a renewal must not turn the beat back, or a watcher
    /// could take a living holder for one that stands still.
    MineBefore,
}

/// How a write ended.
#[derive(Debug)]
pub(super) enum Written {
    Yes,
    /// What was expected is not there; this is.
    No(Option<Record>),
    /// Time was up, or it was refused. After the former it may have been written, or will be.
    GaveUp(String),
}

enum Reply {
    Applied,
    Unexpected(Option<Item>),
    /// Not applied, or perhaps applied: trying again tells.
    Again(String),
    /// A right or a table is missing: trying again right away does not help.
    Refused(String),
}

impl Table<'_> {
    /// Writes `record` until its fate is known or time is up.
    ///
    /// A try that was applied without our knowing is recognised by the next one, which finds what it
    /// would write.
    pub(super) async fn write(&self, record: &Record, expected: Expected<'_>, until: Instant) -> Written {
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.put(record, expected, until).await {
                Reply::Applied => return Written::Yes,
                Reply::Unexpected(None) => return Written::No(None),
                Reply::Unexpected(Some(item)) => match Record::read(&item) {
                    Ok(found) if is_what_it_wrote(&found, record) => return Written::Yes,
                    Ok(found) => return Written::No(Some(found)),
                    Err(attribute) => return Written::GaveUp(unreadable(attribute)),
                },
                Reply::Refused(why) => return Written::GaveUp(why),
                Reply::Again(why) => why,
            };
            let resume = time::after_about(pause);
            if resume >= until {
                return Written::GaveUp(why);
            }
            sleep_until(resume).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Writes, once, how long `read` has been watched.
    pub(super) async fn note(&self, noted: &Record, read: &Record, until: Instant) {
        let _ = self.put(noted, Expected::AsRead(read), until).await;
    }

    /// The record as it is now.
    pub(super) async fn read(&self, pk: &str, until: Instant) -> Result<Option<Record>, String> {
        let key = [ItemKey::new(&self.dedupe.table, Key::new("pk", pk))];
        match timeout_at(until, self.dedupe.store.read(&key)).await {
            Ok(items) => match items?.into_iter().next().flatten() {
                Some(item) => Record::read(&item).map(Some).map_err(unreadable),
                None => Ok(None),
            },
            Err(_) => Err("no answer".to_owned()),
        }
    }

    pub(super) fn now_secs(&self) -> i64 {
        time::wall().as_second()
    }

    /// Writes it once (the SDK may send it again by itself).
    async fn put(&self, record: &Record, expected: Expected<'_>, until: Instant) -> Reply {
        let mut record = record.clone();
        record.ttl_secs = self.dedupe.ttl_secs(self.now_secs());
        let write = [Write {
            table: self.dedupe.table.clone(),
            key: Key::new("pk", record.pk.as_str()),
            change: Change::Put(record.attributes()),
            condition: Some(condition(&record, expected)),
            wants_old: true,
        }];
        // A token of its own: an answer must be about now, not about what an earlier try had found.
        let token = Uuid::new_v4().to_string();
        match timeout_at(until, self.dedupe.store.transact(&token, &write)).await {
            Ok(Transacted::Committed) => Reply::Applied,
            Ok(Transacted::Canceled(reasons)) => match reasons.into_iter().next() {
                Some(Cancellation::ConditionFailed(found)) => Reply::Unexpected(found),
                Some(Cancellation::Invalid(why) | Cancellation::Other(why)) => Reply::Refused(why),
                Some(Cancellation::Busy(why)) => Reply::Again(why),
                Some(Cancellation::None) | None => Reply::Again("canceled without a reason".to_owned()),
            },
            Ok(Transacted::Busy(why) | Transacted::Unknown(why)) => Reply::Again(why),
            Ok(Transacted::Refused(why)) => Reply::Refused(why),
            Err(_) => Reply::Again("no answer".to_owned()),
        }
    }
}

/// Whether `found` is `record`, or a later beat of it.
fn is_what_it_wrote(found: &Record, record: &Record) -> bool {
    (&found.own, found.fence, found.state) == (&record.own, record.fence, record.state) && found.beat >= record.beat
}

fn condition(record: &Record, expected: Expected<'_>) -> Condition {
    let mine = || {
        Condition::equals("own", record.own.as_str())
            .and(Condition::equals("fence", record.fence))
            .and(Condition::equals("st", State::Claimed.as_str()))
    };
    match expected {
        Expected::Absent => Condition::absent("pk"),
        Expected::AsRead(read) => {
            let same = Condition::equals("own", read.own.as_str()).and(Condition::equals("st", read.state.as_str()));
            if read.fence == 0 {
                // Of the transactional mode.
                same.and(Condition::absent("fence"))
            } else {
                same.and(Condition::equals("fence", read.fence))
                    .and(Condition::equals("beat", read.beat))
                    .and(Condition::equals("waited", millis(read.waited)))
            }
        }
        Expected::Mine if is_planted(Bug::ReleasedWithoutFence) => Condition::equals("pk", record.pk.as_str()),
        Expected::Mine => mine(),
        Expected::MineBefore => mine().and(Condition::less_than("beat", record.beat)),
    }
}

fn unreadable(attribute: &str) -> String {
    format!("the record has an attribute `{attribute}` that this version does not understand, or has none")
}
