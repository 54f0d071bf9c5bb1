//! The consumer's outbox: events that a transactional handler emits.
//!
//! They are stored in the transaction of its effects and sent when it has been applied. So an event is
//! emitted exactly if its cause has had its effect; it arrives at least once, under one id.
//!
//! # What is stored
//! A table without TTL, partition key `pk` = `{consumer}#{shard}`, sort key `sk`. An item is a *parcel*: a list
//! of *letters* (an event and the target that it goes to), `own` (which write of the parcel this is) and `at` (when
//! that was, epoch milliseconds). Letters are appended without a condition, so parcels keep nobody from committing.
//!
//! - For targets without order (standard queues and topics, event buses) a batch has parcels of its own (`std#{uuid}`).
//! - For FIFO queues and topics there is one parcel for each message group (`fifo#{hash}`) while something of it waits.
//!   DynamoDB applies the transactions on an item one after the other: the list is in the order of the commits,
//!   whichever functions they came from, and no clock has a part in it.
//!
//! # How it is sent
//! Whoever sends reads the parcel, sends a group's letters one after the other, each when the one before is
//! confirmed, and then deletes the parcel *if it is still the one that was read*. So two who send the same
//! parcel double letters and never overtake one: what is sent out of turn has been sent in turn before.
//!
//! # Who sends
//! The invocation that has committed them; what it leaves (a crash, a target that does not answer), a later one by
//! its *sweep*: see [`sweep`]. A target that does not answer is left alone for a while ([`pause`]).

mod drain;
mod emit;
mod letter;
mod new_event;
mod packing;
mod parcel;
mod pause;
mod post;
mod posting;
mod sweep;
mod target;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[cfg(feature = "otel")]
pub(crate) use self::{drain::Posted, posting::Swept};
pub(crate) use self::{
    emit::Emitter,
    letter::Letter,
    packing::Packing,
    parcel::MAX_PARCEL_BYTES,
    post::{AwsPost, Post},
    posting::Posting,
    target::Target,
};
pub use self::{new_event::NewEvent, posting::OutboxReport, sweep::SweepReport};
#[cfg(feature = "operator")]
pub(crate) use self::{
    parcel::{Parcel, SHARDS, partition},
    sweep::Extent,
};
use crate::dynamodb::store::Store;

/// A consumer's outbox.
pub(crate) struct Outbox {
    pub(crate) consumer: String,
    pub(crate) table: String,
    pub(crate) targets: HashMap<String, Target>,
    pub(crate) store: Arc<dyn Store>,
    post: Arc<dyn Post>,
    sweeps: Mutex<sweep::Sweeps>,
    pauses: Mutex<pause::Pauses>,
}

impl Outbox {
    pub(crate) fn new(
        consumer: String,
        table: String,
        targets: HashMap<String, Target>,
        store: Arc<dyn Store>,
        post: Arc<dyn Post>,
    ) -> Self {
        Self {
            consumer,
            table,
            targets,
            store,
            post,
            sweeps: Mutex::default(),
            pauses: Mutex::default(),
        }
    }

    fn pauses(&self) -> MutexGuard<'_, pause::Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sweeps(&self) -> MutexGuard<'_, sweep::Sweeps> {
        self.sweeps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
