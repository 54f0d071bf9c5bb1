//! What happened: a plain list.

use uuid::Uuid;

use crate::ledger::PayloadHash;

/// An effect as its consumer saw its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Who had it.
    pub consumer: String,
    /// Of which event.
    pub event: Uuid,
    /// The key that came with the event.
    pub key: Option<String>,
    /// The sequence that came with the event.
    pub sequence: Option<u64>,
    /// The hash of the payload that came.
    pub payload: PayloadHash,
}

/// All effects of a run in the order in which they became durable. Nothing is unique in it and nothing is
/// merged.
#[derive(Debug, Clone, Default)]
pub struct Effects(pub(super) Vec<Effect>);

impl Effects {
    /// Adds the next effect.
    pub fn record(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// All of them, in order.
    #[must_use]
    pub fn all(&self) -> &[Effect] {
        &self.0
    }
}

impl FromIterator<Effect> for Effects {
    fn from_iter<T: IntoIterator<Item = Effect>>(effects: T) -> Self {
        Self(effects.into_iter().collect())
    }
}
