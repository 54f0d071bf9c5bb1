//! Making a plan that breaks a promise smaller, as long as it still does.

use std::time::{Duration, Instant};

use super::{plan::Plan, run};
use crate::simulation::weather::Weather;

/// Most simulations that are run to make one smaller.
const TRIES: usize = 400;
/// Longest that is looked.
const LONGEST: Duration = Duration::from_secs(60);

/// The smallest plan that was found which still breaks a promise.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    let mut smallest = plan.clone();
    let mut tries = 0;
    let began = Instant::now();
    let mut has_shrunk = true;
    while has_shrunk && tries < TRIES && began.elapsed() < LONGEST {
        has_shrunk = false;
        for candidate in candidates(&smallest) {
            tries += 1;
            if !run(&candidate, false).violations.is_empty() {
                smallest = candidate;
                has_shrunk = true;
                break;
            }
            if tries >= TRIES || began.elapsed() >= LONGEST {
                break;
            }
        }
    }
    smallest
}

fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut found = Vec::new();
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        changed
    };
    for index in (0..plan.sinks.len()).filter(|_| plan.sinks.len() > 1) {
        found.push(with(&|plan| drop(plan.sinks.remove(index))));
    }
    if plan.relays > 1 {
        found.push(with(&|plan| plan.relays -= 1));
    }
    for size in [plan.transactions.len() / 2, plan.transactions.len() / 4, 1] {
        if size == 0 {
            continue;
        }
        for from in (0..plan.transactions.len()).step_by(size) {
            let to = (from + size).min(plan.transactions.len());
            found.push(with(&|plan| drop(plan.transactions.drain(from..to))));
        }
    }
    for index in 0..plan.faults.len() {
        found.push(with(&|plan| _ = plan.faults.remove(index)));
    }
    for index in 0..plan.refused.len() {
        found.push(with(&|plan| _ = plan.refused.remove(index)));
    }
    let clears: [fn(&mut Weather); 9] = [
        |weather| weather.statement_cut = 0.0,
        |weather| weather.statement_unanswered = 0.0,
        |weather| weather.statement_hangs = 0.0,
        |weather| weather.throttled = 0.0,
        |weather| weather.failed = 0.0,
        |weather| weather.unanswered = 0.0,
        |weather| weather.lost = 0.0,
        |weather| weather.late = 0.0,
        |weather| (weather.partial, weather.forgotten) = (0.0, 0.0),
    ];
    for clear in clears {
        let cleared = with(&|plan| clear(&mut plan.weather));
        if cleared.weather != plan.weather {
            found.push(cleared);
        }
    }
    for index in 0..plan.sinks.len() {
        if plan.sinks.get(index).is_some_and(|sink| sink.bundle.is_some()) {
            found.push(with(&|plan| {
                if let Some(sink) = plan.sinks.get_mut(index) {
                    sink.bundle = None;
                }
            }));
        }
    }
    found
}
