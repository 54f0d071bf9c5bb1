//! What a consumer's handlers have emitted and nobody has sent yet, and sending it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::Client;
use jiff::Timestamp;
use oncebox_envelope::EventId;

use crate::{
    dynamodb::store::Item,
    operator::OperatorError,
    outbox::{AwsPost, Extent, Outbox, Parcel, SHARDS, SweepReport, partition},
    sqs::SqsClient,
    time,
};

/// Parcels that are read at a time.
const PAGE: u16 = 25;
/// How long a sweep may take.
const SWEEP_TIME: Duration = Duration::from_secs(3_600);

/// A consumer's outbox, in the hands of a person.
pub struct OutboxOperator(Outbox);

/// What lies in an outbox; of the events no payload and no key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStanding {
    /// Parcels of it.
    pub parcels: usize,
    /// Events in them.
    pub events: usize,
    /// Parcels that were added to in the last ten seconds, so that a sweep leaves them alone.
    pub young: usize,
    /// Parcels that this version cannot read.
    pub unreadable: usize,
    /// When the oldest event was emitted, by the clock of the function that did.
    pub oldest: Option<Timestamp>,
    /// The parcels, as many as were asked for.
    pub shown: Vec<ParcelStanding>,
}

/// A parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParcelStanding {
    /// Its sort key.
    pub parcel: String,
    /// Whether its events are sent one after the other.
    pub is_ordered: bool,
    /// Whether it was added to in the last ten seconds, so that a sweep leaves it alone.
    pub is_young: bool,
    /// When it was added to last, by the clock of who did.
    pub added: Option<Timestamp>,
    /// Its events, in their order.
    pub events: Vec<EmittedEvent>,
}

/// An event that was emitted and not sent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmittedEvent {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: String,
    /// Where it goes.
    pub target: String,
    /// When it was emitted, by the clock of who did.
    pub time: Timestamp,
}

impl OutboxOperator {
    /// For the consumer of this name, whose emitted events are in `table`. Clients for what it sends are made from
    /// the environment.
    #[must_use]
    pub fn new(client: Client, consumer: impl Into<String>, table: impl Into<String>) -> Self {
        let store = crate::dynamodb::store_of(client);
        let post = Arc::new(AwsPost::new(Arc::new(SqsClient::new(None))));
        // Where a letter goes stands in it.
        let targets = HashMap::new();
        Self(Outbox::new(consumer.into(), table.into(), targets, store, post))
    }

    /// What lies in the outbox, with the first `limit` parcels of it.
    ///
    /// # Errors
    /// [`OperatorError::Table`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn list(&self, limit: usize) -> Result<OutboxStanding, OperatorError> {
        let mut standing = OutboxStanding::default();
        for shard in 0..SHARDS {
            let partition = partition(&self.0.table, &self.0.consumer, shard);
            let mut after: Option<Item> = None;
            loop {
                let page = self.0.store.query(&partition, after.as_ref(), PAGE).await;
                let page = page.map_err(|why| OperatorError::Table {
                    table: self.0.table.clone(),
                    why,
                })?;
                let now = time::wall();
                for item in &page.items {
                    standing.add(item, now, limit);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(standing)
    }

    /// Sends what is left, and takes out what has arrived. What was stored in the last ten seconds is left to who is
    /// about to send it. Functions may send meanwhile: what is sent twice has one id, and no order suffers.
    ///
    /// # Cancel safety
    /// What was not sent stays in the outbox.
    pub async fn sweep(&self) -> SweepReport {
        self.0.sweep(Extent::All, time::now() + SWEEP_TIME).await
    }
}

impl OutboxStanding {
    fn add(&mut self, item: &Item, now: Timestamp, limit: usize) {
        self.parcels += 1;
        let Some(parcel) = Parcel::read(item) else {
            self.unreadable += 1;
            return;
        };
        self.young += usize::from(parcel.is_young(now));
        self.events += parcel.letters.len();
        let times = parcel.letters.iter().map(|letter| letter.time);
        self.oldest = self.oldest.into_iter().chain(times).min();
        if self.shown.len() >= limit {
            return;
        }
        self.shown.push(ParcelStanding {
            is_ordered: parcel.is_ordered(),
            is_young: parcel.is_young(now),
            added: Timestamp::from_millisecond(parcel.at).ok(),
            parcel: parcel.sk,
            events: parcel
                .letters
                .into_iter()
                .map(|letter| EmittedEvent {
                    id: letter.id,
                    event_type: letter.event_type,
                    target: letter.to.address,
                    time: letter.time,
                })
                .collect(),
        });
    }
}
