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
    letter::Letter,
    parcel::{self, Parcel, SHARDS, partition, place},
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
    /// Behind which parcel of each shard the next page begins; `None`: at the first.
    after: [Option<Item>; SHARDS as usize],
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
pub(crate) enum Extent {
    /// One page of each shard, the next one: the invocation has other work to do, and what cannot be sent on one page
    /// must not keep those behind it from being looked at.
    Page,
    /// Everything.
    All,
}

/// What a sweep came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Events that have arrived where they go.
    pub sent: usize,
    /// Parcels that could not be sent, or not whole.
    pub left: usize,
    /// Parcels that were added to in the last ten seconds, and left to who is about to send them.
    pub young: usize,
    /// Parcels that this version cannot read, and leaves alone.
    pub unreadable: usize,
    /// When the oldest of the events was emitted that are still there, by the clock of who did.
    pub oldest: Option<Timestamp>,
    /// The last failure.
    pub error: Option<String>,
    /// Whether the whole outbox was looked at.
    pub is_complete: bool,
    #[cfg(feature = "otel")]
    pub(crate) posted: Vec<super::drain::Posted>,
}

impl SweepReport {
    /// Whether nothing is left that a later sweep could send.
    fn is_done(&self) -> bool {
        self.is_complete && self.left == 0 && self.young == 0
    }

    fn still_there<'a>(&mut self, letters: impl Iterator<Item = &'a Letter>) {
        let times = letters.map(|letter| letter.time);
        self.oldest = self.oldest.into_iter().chain(times).min();
    }
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

    /// Sweeps if it is time; all of it in any case.
    pub(super) async fn sweep_if_due(&self, extent: Extent, until: Instant) -> Option<SweepReport> {
        {
            let mut sweeps = self.sweeps();
            if extent == Extent::Page && !sweeps.is_due(time::now()) {
                return None;
            }
            // Others need not begin one meanwhile.
            sweeps.last = Some(time::now());
            sweeps.is_wanted = false;
        }
        let report = self.sweep(extent, until).await;
        if !report.is_done() {
            self.want_sweep();
        }
        Some(report)
    }

    /// Sends what is left, by `until` at the latest.
    ///
    /// # Cancel safety
    /// What was not sent stays in the outbox.
    pub(crate) async fn sweep(&self, extent: Extent, until: Instant) -> SweepReport {
        let mut report = SweepReport {
            is_complete: true,
            ..SweepReport::default()
        };
        for shard in 0..SHARDS {
            report.is_complete &= self.sweep_shard(shard, extent, until, &mut report).await;
        }
        report
    }

    /// Returns whether the whole shard was looked at.
    async fn sweep_shard(&self, shard: u8, extent: Extent, until: Instant, report: &mut SweepReport) -> bool {
        let partition = partition(&self.table, &self.consumer, shard);
        let mut after = match extent {
            Extent::Page => self.sweeps().after.get_mut(usize::from(shard)).and_then(Option::take),
            Extent::All => None,
        };
        let is_from_first = after.is_none();
        loop {
            let page = match timeout_at(until, self.store.query(&partition, after.as_ref(), PAGE)).await {
                Ok(Ok(page)) => page,
                Ok(Err(why)) => {
                    tracing::warn!(consumer = self.consumer, error = why, "the outbox could not be swept");
                    report.error = Some(format!("the outbox could not be read: {why}"));
                    return false;
                }
                Err(_) => return false,
            };
            let now = time::wall();
            let mut parcels = Vec::new();
            for item in &page.items {
                match Parcel::read(item) {
                    Some(parcel) if parcel.is_young(now) => {
                        report.young += 1;
                        report.still_there(parcel.letters.iter());
                    }
                    Some(parcel) => parcels.push((place(&self.table, &self.consumer, shard, &parcel.sk), parcel)),
                    None => {
                        report.unreadable += 1;
                        report.oldest = report.oldest.into_iter().chain(parcel::added(item)).min();
                        tracing::error!(
                            consumer = self.consumer,
                            "a parcel of the outbox is not one that this version can read; it is left alone"
                        );
                    }
                }
            }
            if !parcels.is_empty() {
                let places = parcels.iter().map(|(place, _)| place.clone()).collect();
                let drained = self.drain(places, until).await;
                report.sent += drained.sent.len();
                #[cfg(feature = "otel")]
                report.posted.extend(drained.posted);
                report.left += drained.left.len();
                report.error = drained.failure.or(report.error.take());
                let left = parcels.iter().filter(|(place, _)| drained.left.contains(place));
                let letters = left.flat_map(|(_, parcel)| &parcel.letters);
                report.still_there(letters.filter(|letter| !drained.sent.contains(&letter.id)));
            }
            after = page.next;
            if after.is_none() {
                return is_from_first;
            }
            if extent == Extent::Page {
                if let Some(next) = self.sweeps().after.get_mut(usize::from(shard)) {
                    *next = after;
                }
                return false;
            }
            if time::now() >= until {
                return false;
            }
        }
    }
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
                ..Sweeps::default()
            }
            .is_due(now)
        };
        assert!(due(None, false));
        assert!(!due(Some(EVERY - QUIET), false) && due(Some(EVERY), false));
        // A flood of duplicates is one sign.
        assert!(!due(Some(QUIET / 2), true) && due(Some(QUIET), true));
    }
}
