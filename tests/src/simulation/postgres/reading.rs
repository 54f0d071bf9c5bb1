//! The log as it is read.

use outbox_relay::log::{
    Seq, Xid,
    cursor::{Horizon, Run, Stretch},
    page::{Page, PageLimits, Row, Selection},
    snapshot::Snapshot,
};

use super::Postgres;

impl Postgres {
    /// The sequence's position.
    #[must_use]
    pub fn sequence_position(&self) -> Seq {
        self.seq
    }

    /// The first half of a look: the statement's snapshot.
    #[must_use]
    pub fn look(&self) -> Snapshot {
        self.snapshot()
    }

    /// Its second half, a moment later: what the statement's expressions say.
    #[must_use]
    pub fn looked(&self, snapshot: Snapshot, seq_before: Seq) -> Horizon {
        Horizon {
            snapshot,
            next_xid: self.next_xid,
            seq_before,
            seq_after: self.seq,
        }
    }

    /// The rows of a run, by the conditions of the relay's statement.
    #[must_use]
    pub fn rows(
        &self,
        run: &Run,
        selection: &Selection,
        stretch: Stretch,
        (position, up_to): (Seq, Seq),
        limits: PageLimits,
    ) -> Page {
        let late = run.late_xids();
        let below = match stretch {
            Stretch::Late { .. } => run.open_xids().end,
            Stretch::New { .. } => run.target.snapshot.xmax(),
        };
        let from = run.base.snapshot.xmax();
        let is_named = |xid: Xid| late.contains(&xid) || (from..below).contains(&xid);
        let is_new = |xid: Xid| is_named(xid) && !run.target.snapshot.xip().contains(&xid);
        let span = usize::try_from(limits.span).unwrap_or(usize::MAX);
        let found: Vec<&Row> = self
            .rows
            .range(position + 1..=up_to.max(position))
            .filter(|(_, (xid, row))| self.is_visible(*xid) && is_new(*xid) && selects(selection, row))
            .map(|(_, (_, row))| row)
            .take(span)
            .collect();
        let mut bytes_before = 0;
        let within = found.iter().take_while(|row| {
            let fits = bytes_before < limits.max_bytes;
            bytes_before += i64::try_from(row.data.len()).unwrap_or(i64::MAX);
            fits
        });
        let rows: Vec<Row> = within.map(|row| (*row).clone()).collect();
        let is_cut = found.len() >= span || rows.len() < found.len();
        let read_to = match rows.last() {
            Some(last) if is_cut => last.seq,
            _ => up_to,
        };
        Page { rows, read_to }
    }

    /// These rows, as far as they are committed.
    #[must_use]
    pub fn again(&self, seqs: &[Seq]) -> Vec<Row> {
        let mut rows: Vec<Row> = seqs.iter().filter_map(|seq| self.row(*seq)).cloned().collect();
        rows.sort_by_key(|row| row.seq);
        rows
    }

    /// A committed row.
    #[must_use]
    pub fn row(&self, seq: Seq) -> Option<&Row> {
        let (xid, row) = self.rows.get(&seq)?;
        self.is_visible(*xid).then_some(row)
    }

    /// All committed rows, in order.
    pub fn committed(&self) -> impl Iterator<Item = &Row> {
        let visible = self.rows.values().filter(|(xid, _)| self.is_visible(*xid));
        visible.map(|(_, row)| row)
    }
}

/// Whether a sink wants a row. Of patterns this knows those that end in `%`.
#[must_use]
pub fn selects(selection: &Selection, row: &Row) -> bool {
    let like = |pattern: &String| match pattern.strip_suffix('%') {
        Some(beginning) => row.event_type.starts_with(beginning),
        None => row.event_type == *pattern,
    };
    selection.types.as_ref().is_none_or(|types| types.iter().any(like))
        && selection
            .shards
            .as_ref()
            .is_none_or(|shards| shards.contains(&row.shard))
}
