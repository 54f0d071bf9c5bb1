//! How far a consumer has come within a key, and passing by what does not come.

use jiff::Timestamp;

use crate::{
    dynamodb::{
        store::{Cancellation, Transacted},
        watermark::Stamp,
    },
    gap_guard::{GapGuard, MAX_MISSED, Watermark},
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

    /// Whether the one with this sequence may be skipped, by whoever has seen this.
    pub(super) fn allows(&self, known: Option<&Watermark>, sequence: i64) -> Result<(), OperatorError> {
        if known.map(|known| &known.own) != self.own.as_ref() {
            return Err(OperatorError::Moved);
        }
        if sequence != self.awaited {
            return Err(OperatorError::NotAwaited {
                expected: self.awaited,
                found: sequence,
            });
        }
        if self.missed.len() >= MAX_MISSED {
            return Err(OperatorError::TooManyMissed(MAX_MISSED));
        }
        Ok(())
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
        let known = self.watermark(key).await?;
        seen.allows(known.as_ref(), sequence)?;
        // Which guard the consumer has makes no difference to the write.
        let guard = GapGuard::from_one();
        let place = Watermark::key(&self.consumer, key);
        let stamp = Stamp::new(guard, place, known.as_ref(), sequence, None);
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
