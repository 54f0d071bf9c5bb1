//! The pure rule of reading: from a base, over a run, to the next base.

use super::{Seq, Xid, snapshot::Snapshot};
use crate::planted::{Bug, is_planted};

/// A point in the log's history up to which everything is published.
///
/// The numbers say where rows lie that the snapshot does not see. They rest on two facts: a
/// transaction takes its xid before it takes a `seq` (`oncebox.enqueue`), and xids are given out in
/// order. A snapshot's `xmax` is *not* the next xid: it is the last one that ended, plus one, so
/// transactions above it may have been running for long.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Base {
    /// All that this sees is published.
    pub snapshot: Snapshot,
    /// Transactions from here on got their xid after [`Base::seq`] was read. At least
    /// `snapshot.xmax()`.
    pub next_xid: Xid,
    /// Rows of transactions from `next_xid` on have a `seq` above this.
    pub seq: Seq,
    /// Rows of transactions from `snapshot.xmax()` up to `next_xid` have a `seq` above this.
    pub open_floor: Seq,
    /// One for each element of `snapshot.xip()`: that transaction's rows have a `seq` above it.
    pub floors: Vec<Seq>,
}

/// What one look at the log's end shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Horizon {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The next xid to be given out, read after `seq_before`.
    pub next_xid: Xid,
    /// The sequence's position, read *before* the snapshot was taken.
    pub seq_before: Seq,
    /// The sequence's position, read *after* the snapshot was taken.
    pub seq_after: Seq,
}

/// The way from a base to a horizon: publish what the horizon sees and the base does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    /// Where it starts.
    pub base: Base,
    /// Where it ends.
    pub target: Horizon,
}

/// Where to look for the next rows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Rows above the position and up to `up_to` of transactions that may have been running at the
    /// base.
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

impl Stretch {
    /// Where it ends.
    #[must_use]
    pub fn up_to(self) -> Seq {
        match self {
            Self::Late { up_to } | Self::New { up_to } => up_to,
        }
    }
}

impl Base {
    /// The base of a sink that wants the whole log.
    #[must_use]
    pub fn beginning() -> Self {
        let snapshot = Snapshot::of_nothing();
        Self {
            next_xid: snapshot.xmax(),
            snapshot,
            seq: 0,
            open_floor: 0,
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
            next_xid: horizon.next_xid,
            seq: horizon.seq_before,
            open_floor: 0,
        }
    }

    /// Below every row of transaction `xid`, which the base does not see.
    fn floor_of(&self, xid: Xid) -> Seq {
        if xid >= self.next_xid {
            self.seq
        } else if xid >= self.snapshot.xmax() {
            self.open_floor
        } else {
            let index = self.snapshot.xip().binary_search(&xid).ok();
            index.and_then(|index| self.floors.get(index)).copied().unwrap_or(0)
        }
    }
}

impl Run {
    /// The transactions that the base's snapshot names as running and that have ended since.
    #[must_use]
    pub fn late_xids(&self) -> Vec<Xid> {
        let ended = |xid: &&Xid| self.target.snapshot.sees(**xid);
        self.base.snapshot.xip().iter().filter(ended).copied().collect()
    }

    /// The transactions, from and up to, that the base's snapshot does not name but that may have
    /// been running all the same. Empty when the target sees none of them.
    #[must_use]
    pub fn open_xids(&self) -> std::ops::Range<Xid> {
        let from = self.base.snapshot.xmax();
        from..self.base.next_xid.min(self.target.snapshot.xmax()).max(from)
    }

    /// Whether the row of transaction `xid` is published by this run.
    #[must_use]
    pub fn covers(&self, xid: Xid) -> bool {
        self.target.snapshot.sees(xid) && !self.base.snapshot.sees(xid)
    }

    /// Below every row of the run.
    #[must_use]
    pub fn start(&self) -> Seq {
        if is_planted(Bug::AboveLastOnly) {
            return self.base.seq;
        }
        let late = self.late_xids().into_iter().map(|xid| self.base.floor_of(xid)).min();
        let open = (!self.open_xids().is_empty()).then_some(self.base.open_floor);
        late.into_iter().chain(open).fold(self.base.seq, Seq::min)
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
        let target = &self.target;
        Base {
            floors: target
                .snapshot
                .xip()
                .iter()
                .map(|xid| self.base.floor_of(*xid))
                .collect(),
            // The lowest xid of the open ones has the lowest floor: floors rise with xids there.
            open_floor: self.base.floor_of(target.snapshot.xmax()).min(target.seq_before),
            snapshot: target.snapshot.clone(),
            next_xid: target.next_xid,
            seq: target.seq_before,
        }
    }
}

#[cfg(test)]
mod tests;
