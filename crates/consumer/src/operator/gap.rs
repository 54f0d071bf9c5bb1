//! How far a consumer has come within a key, passing by what does not come, and giving up what was passed by.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    dynamodb::{
        store::{Cancellation, Transacted},
        watermark::Stamp,
    },
    gap_guard::{MAX_MISSED, Watermark},
    operator::{Operator, OperatorError},
    outcome::Verdict,
};

/// How far a consumer with a gap guard has come within a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStanding {
    /// Each event up to this sequence had its effect or is missed; `None` where nothing is known of the key.
    pub last: Option<i64>,
    /// The first sequence that the guard has seen.
    pub first: Option<i64>,
    /// The sequences that were passed by without an effect, ascending; each has its effect late if it comes.
    pub missed: Vec<i64>,
    /// When `last` became what it is, by the clock of the function that wrote it; `None` where that is not known.
    pub moved_at: Option<Timestamp>,
    /// The sequence that is waited for.
    pub awaited: i64,
    /// Which write of the watermark this is.
    own: Option<String>,
}

impl KeyStanding {
    pub(super) fn of(known: Option<&Watermark>) -> Self {
        Self {
            last: known.map(|known| known.last),
            first: known.map(|known| known.first),
            missed: known
                .map(|known| known.missed.iter().copied().collect())
                .unwrap_or_default(),
            moved_at: known.and_then(|known| known.moved_at),
            awaited: known.map_or(1, |known| known.last.saturating_add(1)),
            own: known.map(|known| known.own.clone()),
        }
    }
}

/// What a person changes about a key.
pub(super) enum Mend<'a> {
    /// Passes by the one that is waited for.
    Skip(i64),
    /// Gives up what was passed by.
    Forget(&'a BTreeSet<i64>),
}

impl Mend<'_> {
    /// The watermark when it is done, by whoever has seen `seen`.
    pub(super) fn after(&self, known: Option<&Watermark>, seen: &KeyStanding) -> Result<Watermark, OperatorError> {
        if known.map(|known| &known.own) != seen.own.as_ref() {
            return Err(OperatorError::Moved);
        }
        match (self, known) {
            (Self::Skip(sequence), _) if *sequence != seen.awaited => Err(OperatorError::NotAwaited {
                expected: seen.awaited,
                found: *sequence,
            }),
            (Self::Skip(_), _) if seen.missed.len() >= MAX_MISSED => Err(OperatorError::TooManyMissed(MAX_MISSED)),
            (Self::Skip(sequence), known) => Ok(Watermark::after(known, *sequence, None)),
            (Self::Forget(sequences), known) => {
                let not_missed = sequences.iter().find(|sequence| !seen.missed.contains(sequence));
                match (not_missed, known) {
                    (None, Some(known)) => Ok(known.giving_up(sequences)),
                    (Some(sequence), _) => Err(OperatorError::NotMissed(*sequence)),
                    (None, None) => Err(OperatorError::Moved),
                }
            }
        }
    }
}

impl Operator {
    /// How far the consumer has come within `key`.
    ///
    /// # Errors
    /// [`OperatorError::Table`], [`OperatorError::Unreadable`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn key(&self, key: &str) -> Result<KeyStanding, OperatorError> {
        Ok(KeyStanding::of(self.watermark(key).await?.as_ref()))
    }

    /// Passes by the event of `key` with this sequence, which is lost: its successors go on at their next delivery.
    /// If it comes after all, it has its effect then, late. `seen` is what [`key`](Self::key) has shown.
    ///
    /// # Errors
    /// [`OperatorError::NotAwaited`] when another one is waited for, [`OperatorError::Moved`] when the consumer has
    /// gone on since `seen`; the others as their names say.
    ///
    /// # Cancel safety
    /// Dropped before it ends, the event may be passed by or not.
    pub async fn skip(&self, key: &str, sequence: i64, seen: &KeyStanding) -> Result<KeyStanding, OperatorError> {
        self.mend(key, &Mend::Skip(sequence), seen).await
    }

    /// Gives up events of `key` that were passed by, which makes room for others: if one comes after all, it is a duplicate and
    /// has no effect. `seen` is what [`key`](Self::key) has shown.
    ///
    /// # Errors
    /// [`OperatorError::NotMissed`] when one was not passed by, [`OperatorError::Moved`] when the consumer has
    /// gone on since `seen`; the others as their names say.
    ///
    /// # Cancel safety
    /// Dropped before it ends, they may be given up or not.
    pub async fn forget(
        &self,
        key: &str,
        sequences: &BTreeSet<i64>,
        seen: &KeyStanding,
    ) -> Result<KeyStanding, OperatorError> {
        self.mend(key, &Mend::Forget(sequences), seen).await
    }

    async fn mend(&self, key: &str, mend: &Mend<'_>, seen: &KeyStanding) -> Result<KeyStanding, OperatorError> {
        let known = self.watermark(key).await?;
        let after = mend.after(known.as_ref(), seen)?;
        let stamp = Stamp::by_hand(Watermark::key(&self.consumer, key), known.as_ref(), after);
        let after = KeyStanding::of(Some(&stamp.after));
        match self.write(stamp.write(&self.table)).await {
            Transacted::Committed => Ok(after),
            Transacted::Canceled(reasons) => match reasons.into_iter().next() {
                Some(Cancellation::ConditionFailed(_) | Cancellation::None) | None => Err(OperatorError::Moved),
                Some(Cancellation::Busy(why) | Cancellation::Invalid(why) | Cancellation::Other(why)) => {
                    Err(self.refused(why))
                }
            },
            Transacted::Busy(why) | Transacted::Refused(why) => Err(self.refused(why)),
            Transacted::Unknown(why) => match self.item(Watermark::key(&self.consumer, key)).await {
                Ok(item) => match stamp.settled_by(item.as_ref(), &Verdict::Done) {
                    Some(Verdict::Done) => Ok(after),
                    Some(_) => Err(OperatorError::Moved),
                    // The request may still be on its way.
                    None => Err(OperatorError::Unknown { why }),
                },
                Err(_) => Err(OperatorError::Unknown { why }),
            },
        }
    }

    async fn watermark(&self, key: &str) -> Result<Option<Watermark>, OperatorError> {
        let unreadable = || OperatorError::Unreadable {
            what: "the key",
            table: self.table.clone(),
        };
        let item = self.item(Watermark::key(&self.consumer, key)).await?;
        item.map(|item| Watermark::read(&item).ok_or_else(unreadable))
            .transpose()
    }
}
