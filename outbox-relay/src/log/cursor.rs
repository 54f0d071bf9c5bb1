//! The pure rule of reading: from a base, over a run, to the next base.

use super::{Seq, Xid, snapshot::Snapshot};

/// A point in the log's history up to which everything is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// All that this sees is published.
    pub snapshot: Snapshot,
    /// Rows of transactions from `snapshot.xmax()` on have a `seq` above this.
    pub seq: Seq,
    /// One for each element of `snapshot.xip()`: that transaction's rows have a `seq` above it.
    pub floors: Vec<Seq>,
}

/// What one look at the log's end shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizon {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The sequence's position, read *before* the snapshot was taken.
    pub seq_before: Seq,
    /// The sequence's position, read *after* the snapshot was taken.
    pub seq_after: Seq,
}

/// The way from a base to a horizon: publish what the horizon sees and the base does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where it starts.
    pub base: Base,
    /// Where it ends.
    pub target: Horizon,
}

/// Where to look for the next rows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Rows above the position and up to `up_to` of transactions that were running at the base and
    /// have ended since. Few rows, found by their transaction.
    Late {
        /// The base's `seq`.
        up_to: Seq,
    },
    /// All rows above the position and up to `up_to` that are new to the target.
    New {
        /// At most `span` above the position.
        up_to: Seq,
    },
}

impl Base {
    /// The base of a sink that wants the whole log.
    #[must_use]
    pub fn beginning() -> Self {
        Self {
            snapshot: Snapshot::of_nothing(),
            seq: 0,
            floors: Vec::new(),
        }
    }

    /// The base of a sink that wants what comes after `horizon`: transactions that are running at
    /// the horizon are still to come, wherever they have written already.
    #[must_use]
    pub fn at(horizon: Horizon) -> Self {
        Self {
            floors: vec![0; horizon.snapshot.xip().len()],
            snapshot: horizon.snapshot,
            seq: horizon.seq_before,
        }
    }

    fn floor_of(&self, xid: Xid) -> Option<Seq> {
        let index = self.snapshot.xip().binary_search(&xid).ok()?;
        self.floors.get(index).copied()
    }
}

impl Run {
    /// The transactions that were running at the base and have ended by the target.
    #[must_use]
    pub fn late_xids(&self) -> Vec<Xid> {
        let ended = |xid: &&Xid| self.target.snapshot.sees(**xid);
        self.base.snapshot.xip().iter().filter(ended).copied().collect()
    }

    /// Whether the row of transaction `xid` is published by this run.
    #[must_use]
    pub fn covers(&self, xid: Xid) -> bool {
        self.target.snapshot.sees(xid) && !self.base.snapshot.sees(xid)
    }

    /// Below every row of the run.
    #[must_use]
    pub fn start(&self) -> Seq {
        let floor = |xid: &Xid| self.base.floor_of(*xid);
        let floors = self.late_xids().iter().filter_map(floor).min();
        floors.map_or(self.base.seq, |floor| floor.min(self.base.seq))
    }

    /// Where to look after `position`, at most `span` positions of new rows at once; `None` when
    /// the run has been read.
    #[must_use]
    pub fn next_stretch(&self, position: Seq, span: Seq) -> Option<Stretch> {
        if position < self.base.seq {
            Some(Stretch::Late { up_to: self.base.seq })
        } else if position < self.target.seq_after {
            let up_to = self.target.seq_after.min(position.saturating_add(span));
            Some(Stretch::New { up_to })
        } else {
            None
        }
    }

    /// The base once everything in the run is published.
    #[must_use]
    pub fn completed(&self) -> Base {
        let running = self.target.snapshot.xip();
        // A transaction that the base did not know got its xid after the base was taken, so its
        // rows lie above the base's seq.
        let floor = |xid: &Xid| self.base.floor_of(*xid).unwrap_or(self.base.seq);
        Base {
            floors: running.iter().map(floor).collect(),
            snapshot: self.target.snapshot.clone(),
            seq: self.target.seq_before,
        }
    }
}

#[cfg(test)]
mod tests;
