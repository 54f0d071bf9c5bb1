//! What the record of an event says.

use std::time::Duration;

use jiff::Timestamp;
use oncebox_envelope::EventId;

use crate::{
    dynamodb::{Key, store::Item},
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
        let unreadable = || OperatorError::Unreadable {
            what: "the event",
            table: self.table.clone(),
        };
        let item = self.item(Key::new("pk", format!("{}#{event}", self.consumer))).await?;
        item.map(|item| RecordStanding::read(&item).ok_or_else(unreadable))
            .transpose()
    }
}
