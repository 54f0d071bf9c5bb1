//! Keeping a claim while its handler works.

use std::{convert::Infallible, pin::pin};

use futures::future::{Either, select};

use super::{
    context::LeaseContext,
    record::Record,
    table::{Expected, Table, Written},
};
use crate::{
    invocation::Budget,
    planted::{Bug, is_planted},
    time::{self, Instant, sleep_until, timeout_at},
};

/// A claim is renewed so often within its lease.
pub(super) const BEATS_PER_LEASE: u32 = 3;
/// The last part of a lease in which a handler may still end what it has begun.
const GRACE: u32 = 10;

/// A claim that was confirmed.
pub(super) struct Hold<'a> {
    pub(super) table: Table<'a>,
    pub(super) record: Record,
    /// When the request was sent that was confirmed last. Whoever watches has seen its beat later.
    pub(super) since: Instant,
}

/// How work under a claim ended.
#[derive(Debug)]
pub(super) enum Held<T> {
    Returned(T),
    /// It was dropped, since the claim was not its own any more.
    Lost(&'static str),
    /// It was dropped, since the invocation ends.
    OutOfTime,
}

impl Hold<'_> {
    /// Whether work may begin. A claim may be confirmed so late that another delivery has seen it stand still for
    /// the whole lease, and is at work.
    pub(super) fn is_fresh(&self) -> bool {
        time::now() < self.warning(self.since)
    }

    /// When a claim that was confirmed by a request of `since` is too old to go on with.
    fn warning(&self, since: Instant) -> Instant {
        let length = self.record.lease;
        since + length - length / GRACE
    }

    /// Works for as long as the claim and the invocation last.
    ///
    /// When `work` has to end it is told by `lease`, and dropped a little later. From the end of the lease on, a
    /// successor may be at work.
    pub(super) async fn run<T>(&self, lease: &LeaseContext, budget: Budget, work: impl Future<Output = T>) -> Held<T> {
        let warn = async {
            sleep_until(budget.start_until).await;
            lease.stop.cancel();
            std::future::pending::<Infallible>().await
        };
        let work = pin!(work);
        let ends = pin!(async {
            tokio::select! {
                biased;
                lost = self.keep(lease) => lost,
                never = warn => match never {},
            }
        });
        match timeout_at(budget.work_until, select(work, ends)).await {
            Ok(Either::Left((returned, _))) => Held::Returned(returned),
            Ok(Either::Right((why, _))) => Held::Lost(why),
            Err(_) => Held::OutOfTime,
        }
    }

    /// Renews the claim until it is lost and the handler's grace is over; says why.
    async fn keep(&self, lease: &LeaseContext) -> &'static str {
        let length = self.record.lease;
        let mut record = self.record.clone();
        let mut since = self.since;
        if is_planted(Bug::NoBeat) {
            return std::future::pending().await;
        }
        loop {
            sleep_until(since + length / BEATS_PER_LEASE).await;
            record.beat += 1;
            let sent = time::now();
            let warning = self.warning(since);
            match self.table.write(&record, Expected::MineBefore, warning).await {
                Written::Yes => since = sent,
                Written::No(_) | Written::GaveUp(_) if is_planted(Bug::LostGoesOn) => since = time::now(),
                Written::No(_) => {
                    lease.stop.cancel();
                    sleep_until(time::now() + length / GRACE).await;
                    return "another delivery has taken over";
                }
                Written::GaveUp(_) => {
                    lease.stop.cancel();
                    sleep_until(since + length).await;
                    return "it could not be renewed in time";
                }
            }
        }
    }
}
