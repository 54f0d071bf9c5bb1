//! What the record of an event says.

use std::time::Duration;

use jiff::Timestamp;
use oncebox_envelope::EventId;

use crate::{
    dynamodb::{
        Key,
        store::{Cancellation, Item, Transacted},
    },
    leased::repair::{self, Resolution, Unfit},
    operator::{Operator, OperatorError},
};

/// What the record of an event says; of the payload only that it has a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordStanding {
    /// `done`; in mode `leased` also `claimed`, `released` or `unknown`.
    pub state: String,
    /// The attempt that wrote it.
    pub owner: String,
    /// The number of the claim; mode `leased` only.
    pub fence: Option<u64>,
    /// How often that claim was renewed; mode `leased` only.
    pub beat: Option<u64>,
    /// How long its holder may be silent; mode `leased` only.
    pub lease: Option<Duration>,
    /// Whether a response is kept for duplicates.
    pub has_response: bool,
    /// Until when it counts.
    pub expires: Option<Timestamp>,
}

impl RecordStanding {
    fn read(item: &Item) -> Option<Self> {
        let text = |name: &str| item.get(name)?.as_s().ok().cloned();
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
        let expires = number("ttl").and_then(|secs| i64::try_from(secs).ok());
        Some(Self {
            state: text("st")?,
            owner: text("own")?,
            fence: number("fence"),
            beat: number("beat"),
            lease: number("lease").map(Duration::from_millis),
            has_response: item.contains_key("res"),
            expires: expires.and_then(|secs| Timestamp::from_second(secs).ok()),
        })
    }
}

impl Operator {
    /// The record of an event; `None` where there is none. Behind a gap guard, numbered events have none of their own:
    /// see [`key`](Self::key).
    ///
    /// # Errors
    /// [`OperatorError::Table`], [`OperatorError::Unreadable`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn record(&self, event: EventId) -> Result<Option<RecordStanding>, OperatorError> {
        let item = self.item(self.record_key(event)).await?;
        item.map(|item| RecordStanding::read(&item).ok_or_else(|| self.unreadable()))
            .transpose()
    }

    /// Says how an attempt in mode `leased` has ended of which nobody knew: `seen`, whose state is `unknown`.
    ///
    /// # Errors
    /// [`OperatorError::NoRecord`], [`OperatorError::NotUnknown`]; [`OperatorError::Moved`] when somebody has written since
    /// `seen`; the others as their names say.
    ///
    /// # Cancel safety
    /// Dropped before it ends, it may be said or not.
    pub async fn resolve(
        &self,
        event: EventId,
        resolution: Resolution,
        seen: &RecordStanding,
    ) -> Result<RecordStanding, OperatorError> {
        let item = self
            .item(self.record_key(event))
            .await?
            .ok_or(OperatorError::NoRecord)?;
        let (write, own) = repair::write(&item, &self.table, resolution).map_err(|unfit| match unfit {
            Unfit::Unreadable => self.unreadable(),
            Unfit::Known(state) => OperatorError::NotUnknown(state),
        })?;
        if RecordStanding::read(&item).as_ref() != Some(seen) {
            return Err(OperatorError::Moved);
        }
        match self.write(write).await {
            Transacted::Committed => {}
            Transacted::Canceled(reasons) => match reasons.into_iter().next() {
                Some(Cancellation::ConditionFailed(_) | Cancellation::None) | None => return Err(OperatorError::Moved),
                Some(Cancellation::Busy(why) | Cancellation::Invalid(why) | Cancellation::Other(why)) => {
                    return Err(self.refused(why));
                }
            },
            Transacted::Busy(why) | Transacted::Refused(why) => return Err(self.refused(why)),
            Transacted::Unknown(why) => {
                let now = self.record(event).await;
                match now {
                    Ok(Some(now)) if now.owner == own => return Ok(now),
                    // The request may still be on its way.
                    _ => return Err(OperatorError::Unknown { why }),
                }
            }
        }
        Ok(RecordStanding {
            state: match resolution {
                Resolution::Done => "done",
                Resolution::Released => "released",
            }
            .to_owned(),
            owner: own,
            ..seen.clone()
        })
    }

    fn record_key(&self, event: EventId) -> Key {
        Key::new("pk", format!("{}#{event}", self.consumer))
    }

    fn unreadable(&self) -> OperatorError {
        OperatorError::Unreadable {
            what: "the event",
            table: self.table.clone(),
        }
    }
}
