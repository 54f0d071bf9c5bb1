//! What holds back the rest of its message group or key within a batch.

use crate::{
    gap_guard::Position,
    record::{Part, Record},
    retry_delay::Retry,
};

/// The first event of its group or key that goes back to the queue.
pub(super) struct Blocker {
    receive_count: u32,
    sequence: Option<i64>,
    retry: Retry,
}

impl Blocker {
    pub(super) fn new(record: &Record, part: &Part, retry: Retry) -> Self {
        Self {
            receive_count: record.receive_count.unwrap_or(1),
            sequence: sequence_of(part),
            retry,
        }
    }

    /// When one that comes after it is worth being delivered again: not long after the blocker, however often it has
    /// itself been delivered in vain.
    pub(super) fn retry_behind(&self, part: &Part) -> Retry {
        match self.retry {
            Retry::InTurn { missing, waited } => {
                let further = sequence_of(part).zip(self.sequence);
                let further = further.map_or(0, |(later, earlier)| later.saturating_sub(earlier).unsigned_abs());
                Retry::InTurn {
                    missing: missing.saturating_add(further),
                    waited,
                }
            }
            Retry::ByCount | Retry::ByCountOf(_) => Retry::ByCountOf(self.receive_count),
            Retry::AtLeast(after) => Retry::AtLeast(after),
        }
    }
}

fn sequence_of(part: &Part) -> Option<i64> {
    Some(Position::of(part.content.as_ref().ok()?)?.sequence)
}
