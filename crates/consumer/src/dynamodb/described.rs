//! An event whose effects are described: what is to be committed for it, and what an answer means. Pure.

use std::collections::{HashMap, HashSet};

use super::{
    dedupe::{Claim, Owner},
    effects::{Effect, Effects},
    group::{MAX_BYTES, MAX_WRITES},
    store::{Cancellation, Item, ItemKey, Write},
    watermark::Stamp,
};
use crate::{
    failure::{Failure, Reason},
    outcome::Verdict,
    planted::{Bug, is_planted},
};

/// An event that is ready to be committed.
pub(crate) struct Described {
    record: Record,
    /// The record's first, then one for each effect, then those of the parcels that take what it emits.
    pub(crate) writes: Vec<Write>,
    effects: Vec<Effect>,
    /// What the event comes to when the transaction is applied.
    done: Verdict,
}

/// What tells that the event has had its effect.
pub(crate) enum Record {
    /// An item of its own.
    Event(Claim),
    /// The watermark of its key.
    Key(Stamp),
}

/// What a transaction that was not applied means for one of its events.
#[derive(Debug, PartialEq)]
pub(crate) enum Fate {
    Settled(Verdict),
    /// It had no part in it: it can be committed right away.
    Again,
    /// The same may succeed a little later, for the reason given.
    Later(String),
    /// Its own record tells, and has to be read.
    Read,
    /// It may be at fault, or one of those that went with it.
    Suspect(Verdict),
}

impl Described {
    /// Checks the effects against the limits of a transaction.
    ///
    /// # Errors
    /// A permanent failure that names the effect by its position from 1.
    pub(crate) fn new(
        record: Record,
        table: &str,
        effects: Effects,
        tables: &HashMap<String, String>,
        parcels: Vec<Write>,
    ) -> Result<Self, Failure> {
        let effects = effects.list;
        if effects.len() + parcels.len() >= MAX_WRITES {
            let emitted = match parcels.len() {
                0 => String::new(),
                groups => format!(" and events emitted to {groups} message groups"),
            };
            return Err(invalid(format!(
                "{} effects{emitted}; a transaction takes {} beside the dedupe record",
                effects.len(),
                MAX_WRITES - 1
            )));
        }
        let mut writes = vec![record.write(table)];
        let mut written = HashSet::from([writes[0].item().identity()]);
        for (effect, position) in effects.iter().zip(1..) {
            if let Some(problem) = effect.problem() {
                return Err(invalid(format!(
                    "effect {position}, on table `{}`, {problem}",
                    effect.table
                )));
            }
            let write = effect.write(tables);
            if !written.insert(write.item().identity()) {
                return Err(invalid(format!(
                    "effect {position} is the second on one item of table `{}`; a transaction takes each item once",
                    effect.table
                )));
            }
            writes.push(write);
        }
        writes.extend(parcels);
        let bytes: usize = writes.iter().map(Write::size_bytes).sum();
        if bytes > MAX_BYTES {
            return Err(invalid(format!(
                "effects of {bytes} bytes; a transaction takes {MAX_BYTES}"
            )));
        }
        Ok(Self {
            record,
            writes,
            effects,
            done: Verdict::Done,
        })
    }

    /// The record alone, for an event that comes to `done` without an effect.
    pub(crate) fn without_effects(record: Record, table: &str, done: Verdict) -> Self {
        Self {
            writes: vec![record.write(table)],
            record,
            effects: Vec::new(),
            done,
        }
    }

    /// Where its record is.
    pub(crate) fn key(&self) -> ItemKey {
        self.writes[0].item()
    }

    /// The parcels that take what it emits.
    pub(crate) fn parcels(&self) -> impl Iterator<Item = ItemKey> + '_ {
        self.writes.iter().skip(1 + self.effects.len()).map(Write::item)
    }

    /// What it comes to when its transaction is applied.
    pub(crate) fn done(&self) -> Verdict {
        self.done.clone()
    }

    /// What the record as it is says of the event; `None` when nothing has been committed for it.
    pub(crate) fn settled_by(&self, item: Option<&Item>) -> Option<Verdict> {
        match &self.record {
            Record::Event(claim) => match claim.owner(item?)? {
                Owner::Me => Some(self.done()),
                Owner::Another => Some(Verdict::Duplicate),
                Owner::AnotherPayload => Some(Failure::payload_mismatch().into()),
            },
            Record::Key(stamp) => stamp.settled_by(item, &self.done),
        }
    }

    /// What a canceled transaction means for it, by the reasons of its own writes.
    pub(crate) fn fate(&self, reasons: &[&Cancellation]) -> Fate {
        // A record that is there goes before everything else.
        if let Some(Cancellation::ConditionFailed(item)) = reasons.first() {
            return match item {
                None => Fate::Read,
                Some(item) => match self.settled_by(Some(item)) {
                    Some(verdict) => Fate::Settled(verdict),
                    None => Fate::Later("its record expired just now".to_owned()),
                },
            };
        }
        // Before the effects' own conditions: what another transaction is changing right now may
        // hold when it is done.
        let busy = reasons.iter().find_map(|reason| match reason {
            Cancellation::Busy(code) => Some(code.clone()),
            _ => None,
        });
        if let Some(code) = busy {
            return Fate::Later(code);
        }
        let mut failed = reasons.iter().enumerate();
        match failed.find(|(_, reason)| ***reason != Cancellation::None) {
            None if is_planted(Bug::CanceledIsDone) => Fate::Settled(self.done()),
            None => Fate::Again,
            Some((place, reason)) => self.failed(place, reason),
        }
    }

    fn failed(&self, place: usize, reason: &Cancellation) -> Fate {
        let effect = place.checked_sub(1).and_then(|index| self.effects.get(index));
        let what = match effect {
            Some(effect) => format!("effect {place}, on table `{}`", effect.table),
            None if place > self.effects.len() => "what it emits (is its parcel full?)".to_owned(),
            None => "the dedupe record".to_owned(),
        };
        match reason {
            Cancellation::None => Fate::Again,
            Cancellation::Busy(code) => Fate::Later(code.clone()),
            Cancellation::ConditionFailed(_) => {
                let error = effect.and_then(|effect| effect.guard().error.clone());
                Fate::Settled(Verdict::Failed(match error {
                    Some(error) if error.is_permanent() => Failure::permanent(Reason::ConditionFailed, error),
                    Some(error) => error.into(),
                    None => Failure::permanent(
                        Reason::ConditionFailed,
                        format!("the condition of {what}, does not hold"),
                    ),
                }))
            }
            // A write that was merged of several may be one's fault and all the others' misfortune.
            Cancellation::Invalid(code) if effect.is_some() => Fate::Suspect(
                Failure::permanent(Reason::InvalidEffects, format!("DynamoDB refused {what}: {code}")).into(),
            ),
            Cancellation::Invalid(code) | Cancellation::Other(code) => {
                Fate::Suspect(Failure::retryable(format!("DynamoDB refused {what}: {code}")).into())
            }
        }
    }
}

impl Record {
    fn write(&self, table: &str) -> Write {
        match self {
            Self::Event(claim) => claim.write(table),
            Self::Key(stamp) => stamp.write(table),
        }
    }
}

fn invalid(text: String) -> Failure {
    Failure::permanent(Reason::InvalidEffects, text)
}

#[cfg(test)]
pub(crate) mod tests;
