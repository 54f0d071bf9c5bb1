//! What was attempted and what came of it, and what must hold of both.

use std::collections::{BTreeMap, BTreeSet};

use outbox_relay::{log::page::Row, sink::Guarantee};

use super::{
    plan::SinkPlan,
    postgres::{Postgres, reading_selects},
    target::TargetModel,
};

/// What became of an event's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log.
    Committed,
    /// It never was.
    RolledBack,
}

/// What was attempted, and what was seen to break a promise while it happened.
#[derive(Debug, Default)]
pub struct Record {
    /// Events by id.
    pub attempted: BTreeMap<String, Outcome>,
    /// Transactions that have not ended.
    pub open: usize,
    /// Parked events that a person gave up: sink and id.
    pub skipped: BTreeSet<(String, String)>,
    /// What broke a promise.
    pub violations: Vec<String>,
}

/// The committed events that a sink wants and that are neither taken nor given up.
#[must_use]
pub fn missing(sink: &SinkPlan, postgres: &Postgres, target: &TargetModel, record: &Record) -> Vec<String> {
    let taken: BTreeSet<&str> = target.taken.iter().map(|taken| taken.id.as_str()).collect();
    let wanted = postgres.committed().filter(|row| reading_selects(&sink.selection, row));
    wanted
        .map(|row| row.id.to_string())
        .filter(|id| !taken.contains(id.as_str()) && !record.skipped.contains(&(sink.name.clone(), id.clone())))
        .collect()
}

/// What of a sink breaks a promise, once everything is over.
#[must_use]
pub fn violations(sink: &SinkPlan, postgres: &Postgres, target: &TargetModel, record: &Record) -> Vec<String> {
    let name = &sink.name;
    let rows: BTreeMap<String, &Row> = postgres.committed().map(|row| (row.id.to_string(), row)).collect();
    let mut found = Vec::new();
    if sink.guarantee == Guarantee::AtLeastOnce {
        for id in missing(sink, postgres, target, record) {
            found.push(format!("{name}: {id} is lost"));
        }
    }
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for taken in &target.taken {
        let id = &taken.id;
        match (rows.get(id), record.attempted.get(id)) {
            (None, Some(_)) => found.push(format!("{name}: {id} was taken and never committed")),
            (None, None) => found.push(format!("{name}: {id} was taken and never written")),
            (Some(row), _) => {
                let number = row.key_seq.map(i64::unsigned_abs);
                if row.data != taken.data || row.key != taken.key || number != taken.sequence {
                    found.push(format!("{name}: {id} is not what was written"));
                }
                if !reading_selects(&sink.selection, row) {
                    found.push(format!("{name}: {id} is not wanted"));
                }
            }
        }
        let is_first = seen.insert(id.as_str());
        if !is_first && sink.guarantee == Guarantee::AtMostOnce {
            found.push(format!("{name}: {id} came twice"));
        }
        let (Some(key), Some(sequence)) = (&taken.key, taken.sequence) else {
            continue;
        };
        // What was given up, so that its key went on, and arrives all the same: at most once has that price.
        let was_given_up = taken.is_late && sink.guarantee == Guarantee::AtMostOnce;
        if !sink.is_fifo || !is_first || was_given_up || record.skipped.contains(&(name.clone(), id.clone())) {
            continue;
        }
        let before = last.insert(key.as_str(), sequence).unwrap_or(0);
        if sequence <= before {
            found.push(format!("{name}: {key} {sequence} ({id}) came after {before}"));
        }
    }
    found
}
