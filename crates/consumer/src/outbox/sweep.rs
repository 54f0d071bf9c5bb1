//! Looking for what others have left unsent, and when.
//!
//! The first invocation of a process sweeps, then one every five minutes, and sooner after a sign that something
//! may be left: an event that comes again and is a duplicate (whoever had its effect may have crashed before it
//! sent), a commit whose end is not known, a sweep that did not come to its end. An invocation without records
//! sweeps always: that is what a schedule calls.
//!
//! Parcels that were added to in the last ten seconds are left to who is about to send them. That is to save
//! work: clocks that disagree make a sweep early or late, and what is sent twice has one id.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Outbox,
    parcel::{Parcel, SHARDS, partition, place},
};
use crate::{
    dynamodb::store::{Item, ItemKey},
    time::{self, Instant, timeout_at},
};

/// How long who has committed is given to send.
pub(super) const QUIET: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(300);
/// Parcels that are read and sent at a time.
const PAGE: u16 = 25;
/// How many places are remembered that could not be sent; a sweep finds the others.
const MAX_LEFT: usize = 100;

/// What a process knows of its sweeps.
#[derive(Default)]
pub(super) struct Sweeps {
    last: Option<Instant>,
    /// Something may be left.
    is_wanted: bool,
    /// Where this process itself has left something.
    left: Vec<ItemKey>,
}

impl Sweeps {
    /// Whether it is time. Pure.
    fn is_due(&self, now: Instant) -> bool {
        let since = |last: Instant| now.saturating_duration_since(last);
        match self.last {
            None => true,
            Some(last) => since(last) >= EVERY || (self.is_wanted && since(last) >= QUIET),
        }
    }
}

/// How much an invocation sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// One page of each shard: the invocation has other work to do.
    Page,
    /// Everything.
    All,
}

impl Outbox {
    /// Something may be left: sweeps soon.
    pub(super) fn want_sweep(&self) {
        self.sweeps().is_wanted = true;
    }

    /// Where this process has left something, for another try.
    pub(super) fn take_left(&self) -> Vec<ItemKey> {
        std::mem::take(&mut self.sweeps().left)
    }

    pub(super) fn leave(&self, places: Vec<ItemKey>) {
        let mut sweeps = self.sweeps();
        let room = MAX_LEFT.saturating_sub(sweeps.left.len());
        sweeps.is_wanted |= places.len() > room;
        sweeps.left.extend(places.into_iter().take(room));
    }

    /// Sweeps if it is time, or `is_forced`.
    pub(super) async fn sweep_if_due(&self, extent: Extent, until: Instant) {
        {
            let mut sweeps = self.sweeps();
            if extent == Extent::Page && !sweeps.is_due(time::now()) {
                return;
            }
            // Others need not begin one meanwhile.
            sweeps.last = Some(time::now());
            sweeps.is_wanted = false;
        }
        let mut is_done = true;
        for shard in 0..SHARDS {
            is_done &= self.sweep(shard, extent, until).await;
        }
        if !is_done {
            self.want_sweep();
        }
    }

    /// Whether nothing is left in the shard.
    async fn sweep(&self, shard: u8, extent: Extent, until: Instant) -> bool {
        let partition = partition(&self.table, &self.consumer, shard);
        let mut after: Option<Item> = None;
        let mut is_done = true;
        loop {
            let page = match timeout_at(until, self.store.query(&partition, after.as_ref(), PAGE)).await {
                Ok(Ok(page)) => page,
                Ok(Err(why)) => {
                    tracing::warn!(consumer = self.consumer, error = why, "the outbox could not be swept");
                    return false;
                }
                Err(_) => return false,
            };
            let now = time::wall();
            let (mut places, mut young) = (Vec::new(), 0);
            for item in &page.items {
                match Parcel::read(item) {
                    Some(parcel) if is_young(&parcel, now) => young += 1,
                    Some(parcel) => places.push(place(&self.table, &self.consumer, shard, &parcel.sk)),
                    None => {
                        tracing::error!(
                            consumer = self.consumer,
                            "a parcel of the outbox is not one that this version can read; it is left alone"
                        );
                    }
                }
            }
            is_done &= young == 0;
            if !places.is_empty() {
                is_done &= self.drain(places, until).await.is_empty();
            }
            after = page.next;
            if after.is_none() {
                return is_done;
            }
            if extent == Extent::Page || time::now() >= until {
                return false;
            }
        }
    }
}

/// One from the future is not young: the clocks disagree, and sending twice is better than waiting for it.
fn is_young(parcel: &Parcel, now: Timestamp) -> bool {
    let age_ms = now.as_millisecond().saturating_sub(parcel.at);
    age_ms.unsigned_abs() < u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sweeps_at_first_every_five_minutes_and_soon_after_a_sign() {
        let now = time::now() + EVERY;
        let due = |last: Option<Duration>, is_wanted| {
            let last = last.map(|ago| now - ago);
            Sweeps {
                last,
                is_wanted,
                left: Vec::new(),
            }
            .is_due(now)
        };
        assert!(due(None, false));
        assert!(!due(Some(EVERY - QUIET), false) && due(Some(EVERY), false));
        // A flood of duplicates is one sign.
        assert!(!due(Some(QUIET / 2), true) && due(Some(QUIET), true));
    }
}
