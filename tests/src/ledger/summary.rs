//! The sum of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::ledger::{Effects, History, Outcome, SetAside};

/// What was committed and what became of it. An event counts once for each consumer that wants it, except
/// where something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Committed events, each once.
    pub events: u64,
    /// Rolled-back events, each once.
    pub rolled_back: u64,
    /// Committed.
    pub committed: u64,
    /// Had an effect.
    pub effected: u64,
    /// Set aside, without an effect.
    pub set_aside: u64,
    /// Had an effect, and a copy was set aside. Part of `effected`.
    pub copies: u64,
    /// Had further effects.
    pub doubled: u64,
}

impl Summary {
    /// Adds up.
    #[must_use]
    pub fn of(history: &History, effects: &Effects, set_aside: &SetAside) -> Self {
        let mut times: BTreeMap<_, u64> = BTreeMap::new();
        for effect in &effects.0 {
            *times.entry((effect.event, effect.consumer.as_str())).or_default() += 1;
        }
        let aside: BTreeSet<_> = set_aside.0.keys().map(|(to, event)| (*event, to.as_str())).collect();
        let count = |wanted: fn(&Outcome) -> bool| {
            let events = history.attempts.values().filter(|attempt| wanted(&attempt.outcome));
            u64::try_from(events.count()).unwrap_or(u64::MAX)
        };
        let mut sum = Self {
            events: count(|outcome| matches!(outcome, Outcome::Committed { .. })),
            rolled_back: count(|outcome| *outcome == Outcome::RolledBack),
            ..Self::default()
        };
        for wanted in history.wanted() {
            let times = times.get(&wanted).copied().unwrap_or_default();
            let aside = aside.contains(&wanted);
            sum.committed += 1;
            sum.effected += u64::from(times > 0);
            sum.set_aside += u64::from(times == 0 && aside);
            sum.copies += u64::from(times > 0 && aside);
            sum.doubled += u64::from(times > 1);
        }
        sum
    }

    /// Whether committed = effected + set aside.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.committed == self.effected + self.set_aside
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_even() { "=" } else { "is not" };
        write!(
            f,
            "{} events ({} rolled back); committed {} {sign} effected {} + set aside {} (copies set aside: {}, doubled: {})",
            self.events, self.rolled_back, self.committed, self.effected, self.set_aside, self.copies, self.doubled
        )
    }
}
