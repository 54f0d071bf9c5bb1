//! What is set aside, until it is written with the cursor.

use std::collections::{BTreeSet, HashSet};

use crate::{
    log::{
        Seq,
        parked::{Changes, Edition, ParkedClass, Refusal},
    },
    publish::PublishError,
};

/// The changes that the next save writes, and what they mean for events that are read meanwhile.
///
/// A key is held here from the refusal of one of its events until a save begins that writes it. What the
/// loop gets in that time (a page, retries, events that were held for a save) was read before, so the
/// database could not tell. From then on the database tells.
#[derive(Debug)]
pub(super) struct Parking {
    changes: Changes,
    /// Keys with an event among the changes that are not written yet.
    keys: HashSet<String>,
    /// Whether the sink may have parked events, so that it pays to ask.
    pub(super) any: bool,
    /// Parked events that are on their way again, until what became of them is written.
    loaded: BTreeSet<Seq>,
    /// Whether it was seen to what an earlier relay was sending when it ended.
    is_swept: bool,
}

impl Parking {
    pub(super) fn new(any: bool) -> Self {
        Self {
            changes: Changes::default(),
            keys: HashSet::new(),
            any,
            loaded: BTreeSet::new(),
            is_swept: false,
        }
    }

    /// An event of the log will not be accepted.
    pub(super) fn refuse(&mut self, seq: Seq, key: Option<&str>, error: &PublishError, attempts: u32) {
        self.note_key(key);
        self.changes.refused.push(refusal(seq, error, attempts));
    }

    /// An event of the log stands behind a parked one of its key.
    pub(super) fn follow(&mut self, seq: Seq, key: Option<&str>) {
        self.note_key(key);
        self.changes.followers.push(seq);
    }

    /// A parked event is about to be sent again, and never a second time.
    pub(super) fn take_off(&mut self, seq: Seq, edition: Edition) {
        self.changes.taken.push((seq, edition));
    }

    /// A parked event was sent again, and will not be once more.
    pub(super) fn settle(&mut self, seq: Seq, edition: Edition) {
        self.changes.settled.push((seq, edition));
    }

    /// A parked event was sent again and refused again.
    pub(super) fn refuse_again(
        &mut self,
        seq: Seq,
        edition: Edition,
        key: Option<&str>,
        error: &PublishError,
        attempts: u32,
    ) {
        self.note_key(key);
        self.changes
            .refused_again
            .push((refusal(seq, error, attempts), edition));
    }

    /// A parked event was to be sent again, but one before it was refused again, or the end came first.
    pub(super) fn put_back(&mut self, seq: Seq, key: Option<&str>) {
        self.note_key(key);
        self.changes.taken.retain(|(taken, _)| *taken != seq);
        self.changes.returned.push(seq);
    }

    /// Whether an event of this key that was read has to be parked, as far as is known here: the
    /// database knows of what was written before the event was read.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Notes parked events that are on their way again.
    pub(super) fn load(&mut self, seqs: impl IntoIterator<Item = Seq>) {
        self.loaded.extend(seqs);
    }

    /// Notes that a parked event that was read is not on its way: it was edited or taken back meanwhile.
    pub(super) fn leave(&mut self, seq: Seq) {
        self.loaded.remove(&seq);
    }

    /// The parked events that are on their way again.
    pub(super) fn loaded(&self) -> Vec<Seq> {
        self.loaded.iter().copied().collect()
    }

    /// Notes how many events are being sent, as the table says, and sees once to those that an earlier
    /// relay has left like that. Returns whether there are any.
    pub(super) fn sweep(&mut self, sending: i64, shards: &[i16]) -> bool {
        // Only at first is none of them this pipeline's own.
        let is_left = !std::mem::replace(&mut self.is_swept, true) && sending > 0;
        if is_left {
            self.changes.unattended = shards.to_vec();
        }
        is_left
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Takes what has to be written. The caller writes it, and reads nothing until that is done.
    pub(super) fn take(&mut self) -> Changes {
        self.keys.clear();
        std::mem::take(&mut self.changes)
    }

    /// Notes that changes were written.
    pub(super) fn written(&mut self, changes: &Changes) {
        let refused = changes.refused_again.iter().map(|(refusal, _)| &refusal.seq);
        let settled = changes.settled.iter().map(|(seq, _)| seq);
        for seq in settled.chain(&changes.returned).chain(refused) {
            self.loaded.remove(seq);
        }
    }

    fn note_key(&mut self, key: Option<&str>) {
        self.any = true;
        if let Some(key) = key
            && !self.keys.contains(key)
        {
            self.keys.insert(key.to_owned());
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
