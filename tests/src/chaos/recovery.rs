//! How long it takes after a fault until events arrive again.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use serde::Serialize;
use uuid::Uuid;

use crate::{
    chaos::{books::Injected, gather::Found},
    ledger::Effects,
};

/// The time from a fault's beginning until the first event whose transaction began after it has had all its
/// effects. The time that the fault itself lasts is part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recoveries {
    /// How many.
    pub count: usize,
    /// Half of them took no longer, in milliseconds.
    pub p50_ms: u64,
    /// Of a hundred, ninety-nine took no longer, in milliseconds.
    pub p99_ms: u64,
    /// The longest, in milliseconds.
    pub max_ms: u64,
    /// The longest of each kind, in milliseconds.
    pub max_ms_by_fault: BTreeMap<String, u64>,
}

impl Recoveries {
    pub(super) fn of(faults: &[Injected], found: &Found) -> Self {
        let last = last_effects(&found.effects, &found.at_ns);
        // Events that had their effects, by the beginning of their transactions.
        let mut events: Vec<(u64, u64)> = found
            .begun_ns
            .iter()
            .filter_map(|(id, begun)| Some((*begun, *last.get(id)?)))
            .collect();
        events.sort_unstable();
        let took = |fault: &Injected| {
            let place = events.partition_point(|(begun, _)| *begun < fault.at_ns);
            let (_, arrived) = events.get(place)?;
            Some((fault.name.clone(), millis(arrived.saturating_sub(fault.at_ns))))
        };
        Self::sum(&faults.iter().filter_map(took).collect::<Vec<_>>())
    }

    fn sum(times: &[(String, u64)]) -> Self {
        let mut sorted: Vec<u64> = times.iter().map(|(_, ms)| *ms).collect();
        sorted.sort_unstable();
        let mut max_ms_by_fault = BTreeMap::new();
        for (name, ms) in times {
            let longest: &mut u64 = max_ms_by_fault.entry(name.clone()).or_default();
            *longest = (*longest).max(*ms);
        }
        Self {
            count: sorted.len(),
            p50_ms: percentile(&sorted, 50),
            p99_ms: percentile(&sorted, 99),
            max_ms: sorted.last().copied().unwrap_or_default(),
            max_ms_by_fault,
        }
    }
}

fn last_effects(effects: &Effects, at_ns: &[u64]) -> HashMap<Uuid, u64> {
    let mut last: HashMap<Uuid, u64> = HashMap::new();
    for (effect, at) in effects.all().iter().zip(at_ns) {
        let of = last.entry(effect.event).or_default();
        *of = (*of).max(*at);
    }
    last
}

/// The smallest that so many of a hundred do not exceed; 0 for none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

fn millis(nanos: u64) -> u64 {
    u64::try_from(Duration::from_nanos(nanos).as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, p50 {} ms, p99 {} ms, longest {} ms",
            self.count, self.p50_ms, self.p99_ms, self.max_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Recoveries, percentile};

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!(
            (percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 99)),
            (7, 7, 0)
        );
        let times = [("a".to_owned(), 5), ("b".to_owned(), 1), ("a".to_owned(), 9)];
        let sum = Recoveries::sum(&times);
        assert_eq!((sum.count, sum.max_ms, sum.max_ms_by_fault["a"]), (3, 9, 9));
    }
}
