//! What came of it, from the tables themselves.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::Duration,
};

use anyhow::Result;
use serde::Serialize;

use super::{requests::Made, stage::Stage, tally::Tally};

/// The result of the demonstration.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Client transactions that committed.
    pub requested: usize,
    /// Invoices in Postgres.
    pub created: usize,
    /// Payments in DynamoDB.
    pub paid: usize,
    /// Commands and events that `audit-tap` has noted.
    pub audited: usize,
    /// Messages handed to functions, copies and retries included.
    pub deliveries: usize,
    /// Deliveries that a function recognised as copies.
    pub duplicates_skipped: usize,
    /// Copies that the demonstration sent itself.
    pub copies_sent: usize,
    /// How often the relay was killed.
    pub relay_kills: usize,
    /// Client transactions that were rolled back.
    pub rolled_back: usize,
    /// Invoices without their row, payment or note. Must be 0.
    pub lost: usize,
    /// Effects that happened more than once. Must be 0.
    pub doubled: usize,
    /// Effects of transactions that were rolled back, or of nothing at all. Must be 0.
    pub from_rolled_back: usize,
    /// Median time from the client's commit to the payment.
    pub commit_to_payment_median_ms: u64,
    /// 99th percentile of the same.
    pub commit_to_payment_p99_ms: u64,
    /// From the first request to the last effect.
    pub seconds: f32,
    /// Everything was done before time was up.
    pub in_time: bool,
}

impl Report {
    pub(super) async fn of(
        stage: &Stage,
        made: &Made,
        tally: &Tally,
        elapsed: Duration,
        in_time: bool,
    ) -> Result<Self> {
        let invoices = stage.database.invoices().await?;
        let bookings = stage.tables.bookings().await?;
        let notes = stage.tables.audit_copies().await?;
        let wanted: HashSet<String> = made
            .committed
            .iter()
            .map(|committed| committed.request.invoice_id.to_string())
            .collect();
        let mut noted: HashSet<String> = made
            .committed
            .iter()
            .map(|committed| committed.request.command_id.to_string())
            .collect();
        noted.extend(stage.database.events_of("invoice.created.v1").await?);

        let booked_at = stage.tables.booked_at_ms().await?;
        let mut took_ms: Vec<u64> = made
            .committed
            .iter()
            .filter_map(|c| {
                Some(
                    booked_at
                        .get(&c.request.invoice_id.to_string())?
                        .saturating_sub(c.at_ms),
                )
            })
            .collect();
        took_ms.sort_unstable();
        let effects = [(&wanted, &invoices), (&wanted, &bookings), (&noted, &notes)];
        Ok(Self {
            requested: made.committed.len(),
            created: invoices.len(),
            paid: bookings.len(),
            audited: notes.len(),
            deliveries: tally.deliveries(),
            duplicates_skipped: tally.duplicates(),
            copies_sent: stage.copies_sent,
            relay_kills: stage.kills,
            rolled_back: made.rolled_back.len(),
            lost: effects.iter().map(|(wanted, found)| missing(wanted, found).len()).sum(),
            doubled: effects
                .iter()
                .map(|(_, found)| found.values().filter(|count| **count > 1).count())
                .sum(),
            from_rolled_back: effects.iter().map(|(wanted, found)| uncalled_for(wanted, found)).sum(),
            commit_to_payment_median_ms: percentile(&took_ms, 50),
            commit_to_payment_p99_ms: percentile(&took_ms, 99),
            seconds: elapsed.as_secs_f32(),
            in_time,
        })
    }

    /// All was done in time; nothing lost, nothing doubled, nothing from what was rolled back.
    #[must_use]
    pub fn keeps_the_promise(&self) -> bool {
        self.in_time && self.requested > 0 && self.lost == 0 && self.doubled == 0 && self.from_rolled_back == 0
    }
}

/// Those of `wanted` that did not happen.
pub(super) fn missing(wanted: &HashSet<String>, found: &HashMap<String, u64>) -> Vec<String> {
    wanted.iter().filter(|id| !found.contains_key(*id)).cloned().collect()
}

/// How many happened that nobody has committed.
fn uncalled_for(wanted: &HashSet<String>, found: &HashMap<String, u64>) -> usize {
    found.keys().filter(|id| !wanted.contains(*id)).count()
}

/// Of a sorted list; 0 of an empty one.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: usize, what: &str| writeln!(f, "  {name:<20}{value:>8}   {what}");
        row("requested", self.requested, "client transactions that committed")?;
        row("created", self.created, "invoices in Postgres")?;
        row("paid", self.paid, "payments booked in DynamoDB")?;
        row("audited", self.audited, "commands and events noted by a tap of its own")?;
        row("deliveries", self.deliveries, "messages handed to functions")?;
        row(
            "duplicates skipped",
            self.duplicates_skipped,
            &format!("copies recognised ({} sent on purpose)", self.copies_sent),
        )?;
        row("relay killed", self.relay_kills, "times, by SIGKILL")?;
        row(
            "rolled back",
            self.rolled_back,
            "client transactions that changed their mind",
        )?;
        row("lost", self.lost, "must be 0")?;
        row("doubled", self.doubled, "must be 0")?;
        row("from rolled back", self.from_rolled_back, "must be 0")?;
        writeln!(
            f,
            "  commit to payment: median {} ms, p99 {} ms; all in {:.1} s",
            self.commit_to_payment_median_ms, self.commit_to_payment_p99_ms, self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_doubled_or_uncalled_for_is_counted() {
        let wanted: HashSet<String> = ["a", "b"].map(str::to_owned).into();
        let found: HashMap<String, u64> = [("b".to_owned(), 2), ("c".to_owned(), 1)].into();
        assert_eq!(missing(&wanted, &found), ["a"]);
        assert_eq!(uncalled_for(&wanted, &found), 1);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!(
            (percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 99)),
            (7, 7, 0)
        );
    }
}
