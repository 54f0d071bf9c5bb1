//! Making a plan that breaks a promise smaller, as long as it still does.

use std::time::{Duration, Instant};

use super::{
    plan::{Content, Plan},
    run,
    world::Weather,
};

/// Most simulations that are run to make one smaller.
const TRIES: usize = 600;
/// Longest that is looked.
const LONGEST: Duration = Duration::from_secs(60);

/// The smallest plan that was found which still breaks a promise.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    let mut smallest = plan.clone();
    let mut tries = 0;
    let began = Instant::now();
    let mut has_shrunk = true;
    while has_shrunk {
        has_shrunk = false;
        for candidate in candidates(&smallest) {
            tries += 1;
            if tries > TRIES || began.elapsed() > LONGEST {
                return smallest;
            }
            if !run(&candidate, false).violations.is_empty() {
                smallest = candidate;
                has_shrunk = true;
                break;
            }
        }
    }
    smallest
}

fn candidates(plan: &Plan) -> Vec<Plan> {
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        changed
    };
    let mut found = Vec::new();
    if plan.environments > 1 {
        found.push(with(&|plan| plan.environments -= 1));
    }
    if plan.lives_twice {
        found.push(with(&|plan| plan.lives_twice = false));
    }
    if plan.batch > 1 {
        found.push(with(&|plan| plan.batch /= 2));
    }
    // From the last event on, so that no number of a key is left out.
    for count in [plan.events.len() / 2, 1] {
        if count > 0 && plan.events.len() > count {
            found.push(with(&|plan| without_last(plan, count)));
        }
    }
    for index in (0..plan.publications.len()).rev() {
        let is_copy = plan
            .publications
            .get(index)
            .is_some_and(|one| is_covered(plan, index, &one.content));
        if is_copy {
            found.push(with(&|plan| drop(plan.publications.remove(index))));
        }
    }
    let clears: [fn(&mut Weather); 10] = [
        |weather| weather.table = 0.0,
        |weather| weather.send = 0.0,
        |weather| weather.killed = 0.0,
        |weather| weather.frozen = 0.0,
        |weather| weather.cut_off = 0.0,
        |weather| weather.answer_lost = 0.0,
        |weather| weather.answer_late = 0.0,
        |weather| weather.copied = 0.0,
        |weather| weather.handler = 0.0,
        |weather| weather.clocks_differ = false,
    ];
    for clear in clears {
        let cleared = with(&|plan| clear(&mut plan.weather));
        if cleared.weather != plan.weather {
            found.push(cleared);
        }
    }
    found
}

/// Whether every event of a message is in another one too.
fn is_covered(plan: &Plan, index: usize, content: &Content) -> bool {
    let others = || {
        plan.publications
            .iter()
            .enumerate()
            // On FIFO a later one does not stand for it: its key would be published out of order.
            .filter(move |(other, _)| *other < index || (*other > index && !plan.queue.is_fifo))
    };
    let is_there = |event: &usize| {
        let mut others = others();
        others.any(|(_, publication)| match &publication.content {
            Content::Event(other) => other == event,
            Content::Bundle(several) => several.contains(event),
            Content::Garbage(_) => false,
        })
    };
    match content {
        Content::Event(event) => is_there(event),
        Content::Bundle(several) => several.iter().all(is_there),
        Content::Garbage(_) => true,
    }
}

fn without_last(plan: &mut Plan, count: usize) {
    plan.events.truncate(plan.events.len() - count);
    let events = plan.events.len();
    plan.publications
        .retain_mut(|publication| match &mut publication.content {
            Content::Event(event) => *event < events,
            Content::Bundle(several) => {
                several.retain(|event| *event < events);
                !several.is_empty()
            }
            Content::Garbage(_) => true,
        });
}
