//! What is set aside, until it is written with the cursor.

use std::collections::HashSet;

use crate::{
    log::{
        Seq,
        parked::{Changes, ParkedClass, Refusal},
    },
    publish::PublishError,
};

/// The changes that the next save writes, and what they mean for events that are read meanwhile.
#[derive(Debug)]
pub(super) struct Parking {
    changes: Changes,
    /// Keys with an event among the changes that are not written yet.
    keys: HashSet<String>,
    /// Whether the sink may have parked events, so that it pays to ask.
    pub(super) any: bool,
    /// Parked events that are on their way again, until what became of them is written.
    loaded: HashSet<Seq>,
}

impl Parking {
    pub(super) fn new(any: bool) -> Self {
        Self {
            changes: Changes::default(),
            keys: HashSet::new(),
            any,
            loaded: HashSet::new(),
        }
    }

    /// An event of the log will not be accepted.
    pub(super) fn refuse(&mut self, seq: Seq, lane: Option<&str>, error: &PublishError, attempts: u32) {
        self.note_key(lane);
        self.changes.refused.push(refusal(seq, error, attempts));
    }

    /// An event of the log stands behind a parked one of its lane.
    pub(super) fn follow(&mut self, seq: Seq, lane: Option<&str>) {
        self.note_key(lane);
        self.changes.followers.push(seq);
    }

    /// A parked event was sent again and confirmed.
    pub(super) fn confirm(&mut self, seq: Seq) {
        self.changes.confirmed.push(seq);
    }

    /// A parked event was sent again and refused again.
    pub(super) fn refuse_again(&mut self, seq: Seq, error: &PublishError, attempts: u32) {
        self.changes.refused_again.push(refusal(seq, error, attempts));
    }

    /// A parked event was to be sent again, but one before it was refused again.
    pub(super) fn put_back(&mut self, seq: Seq) {
        self.changes.returned.push(seq);
    }

    /// Whether an event of this lane that is read now has to be parked, as far as is known here: the
    /// database knows of what was written earlier.
    pub(super) fn holds(&self, lane: &str) -> bool {
        self.keys.contains(lane)
    }

    /// Notes parked events that are on their way again.
    pub(super) fn load(&mut self, seqs: impl IntoIterator<Item = Seq>) {
        self.loaded.extend(seqs);
    }

    /// The parked events that are on their way again.
    pub(super) fn loaded(&self) -> Vec<Seq> {
        self.loaded.iter().copied().collect()
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Takes what has to be written. The caller writes it, and reads no page until that is done.
    pub(super) fn take(&mut self) -> Changes {
        self.keys.clear();
        std::mem::take(&mut self.changes)
    }

    /// Notes that changes were written.
    pub(super) fn written(&mut self, changes: &Changes) {
        let refused = changes.refused_again.iter().map(|refusal| &refusal.seq);
        for seq in changes.confirmed.iter().chain(&changes.returned).chain(refused) {
            self.loaded.remove(seq);
        }
    }

    fn note_key(&mut self, lane: Option<&str>) {
        self.any = true;
        if let Some(lane) = lane
            && !self.keys.contains(lane)
        {
            self.keys.insert(lane.to_owned());
        }
    }
}

fn refusal(seq: Seq, error: &PublishError, attempts: u32) -> Refusal {
    let class = match error.code.as_str() {
        PublishError::INVALID_ROW => ParkedClass::Invalid,
        PublishError::OVERSIZE => ParkedClass::Oversize,
        _ => ParkedClass::Permanent,
    };
    Refusal {
        seq,
        class,
        code: error.code.clone(),
        reason: error.message.clone(),
        attempts,
    }
}
