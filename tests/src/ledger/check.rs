//! The checker.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::ledger::{Attempt, Effects, History, Order, Outcome, Place, SetAside, Violation};

/// Every promise that was broken: first the faults of the history itself, then those of the effects in their order,
/// then what is missing.
///
/// To be called when all faults are over and everything that was on its way has arrived; else what is still on its
/// way is told as lost.
#[must_use]
pub fn check(history: &History, effects: &Effects, set_aside: &SetAside) -> Vec<Violation> {
    let mut found = Vec::new();
    check_history(history, &mut found);
    let places = check_effects(history, effects, &mut found);
    check_set_aside(history, set_aside, &mut found);
    check_order(history, effects, set_aside, &places, &mut found);
    for (event, consumer) in history.wanted() {
        let had = places.get(&(consumer, event)).map(Vec::as_slice).unwrap_or_default();
        match had {
            [] if set_aside.place(consumer, event).is_none() => {
                found.extend(history.get(event).map(|attempt| Violation::Lost {
                    consumer: consumer.to_owned(),
                    event,
                    key: attempt.key.clone(),
                    sequence: sequence(attempt),
                    transaction: attempt.transaction,
                }))
            }
            [] | [_] => {}
            several => found.push(Violation::Doubled {
                consumer: consumer.to_owned(),
                event,
                places: several.to_vec(),
            }),
        }
    }
    found
}

type Places<'a> = BTreeMap<(&'a str, Uuid), Vec<usize>>;

fn sequence(attempt: &Attempt) -> Option<u64> {
    match attempt.outcome {
        Outcome::Committed { sequence } => sequence,
        Outcome::RolledBack | Outcome::Unknown => None,
    }
}

fn check_history(history: &History, found: &mut Vec<Violation>) {
    found.extend(
        history
            .repeated
            .iter()
            .map(|event| Violation::AttemptedTwice { event: *event }),
    );
    let mut keys: BTreeMap<&str, Vec<(u64, Uuid)>> = BTreeMap::new();
    for (event, attempt) in history.attempts() {
        for consumer in attempt
            .wanted_by
            .iter()
            .filter(|name| !history.consumers.contains_key(*name))
        {
            found.push(Violation::Undeclared {
                consumer: consumer.clone(),
                event,
            });
        }
        match (&attempt.outcome, &attempt.key) {
            (Outcome::Unknown, _) => {
                found.push(Violation::Unresolved {
                    event,
                    transaction: attempt.transaction,
                });
            }
            (
                Outcome::Committed {
                    sequence: Some(sequence),
                },
                Some(key),
            ) => {
                keys.entry(key).or_default().push((*sequence, event));
            }
            (Outcome::Committed { sequence: None }, None) | (Outcome::RolledBack, _) => {}
            (Outcome::Committed { sequence }, key) => {
                found.push(Violation::NotNumbered {
                    event,
                    key: key.clone(),
                    sequence: *sequence,
                });
            }
        }
    }
    for (key, mut numbers) in keys {
        numbers.sort_unstable();
        let pairs = numbers.iter().zip(numbers.iter().skip(1));
        found.extend(
            pairs
                .filter(|(one, next)| next.0 != one.0 + 1)
                .map(|(one, next)| Violation::Numbering {
                    key: key.to_owned(),
                    sequence: one.0,
                    next: next.0,
                    event: next.1,
                }),
        );
    }
}

/// What is wrong with each effect by itself; and where the effects of each event are.
fn check_effects<'a>(history: &History, effects: &'a Effects, found: &mut Vec<Violation>) -> Places<'a> {
    let mut places = Places::new();
    for (place, effect) in effects.0.iter().enumerate() {
        let (consumer, event) = (effect.consumer.clone(), effect.event);
        places.entry((&effect.consumer, event)).or_default().push(place);
        if let Some(violation) = not_due(history, &consumer, event, Some(place)) {
            found.push(violation);
            continue;
        }
        let Some(attempt) = history.get(event) else { continue };
        if attempt.payload != effect.payload {
            found.push(Violation::PayloadAltered {
                consumer: consumer.clone(),
                event,
                place,
                committed: attempt.payload,
                came: effect.payload,
            });
        }
        let committed = (attempt.key.clone(), sequence(attempt));
        let came = (effect.key.clone(), effect.sequence);
        if committed != came {
            found.push(Violation::SequenceMismatch {
                consumer,
                event,
                place,
                committed,
                came,
            });
        }
    }
    places
}

fn check_set_aside(history: &History, set_aside: &SetAside, found: &mut Vec<Violation>) {
    found.extend(
        set_aside
            .0
            .keys()
            .filter_map(|(to, event)| not_due(history, to, *event, None)),
    );
}

/// Why this event should not have come to this consumer; unresolved ones are told elsewhere.
fn not_due(history: &History, consumer: &str, event: Uuid, place: Option<usize>) -> Option<Violation> {
    let consumer = consumer.to_owned();
    let Some(attempt) = history.get(event) else {
        return Some(Violation::NeverAttempted { consumer, event, place });
    };
    let transaction = attempt.transaction;
    if attempt.outcome == Outcome::RolledBack {
        return Some(Violation::FromRolledBack {
            consumer,
            event,
            transaction,
            place,
        });
    }
    let is_wanted = attempt.wanted_by.contains(&consumer);
    (!is_wanted).then_some(Violation::NotWanted { consumer, event, place })
}

/// By the numbers of the log, whatever came along with the event. What was set aside may have its effect late.
fn check_order(
    history: &History,
    effects: &Effects,
    set_aside: &SetAside,
    places: &Places<'_>,
    found: &mut Vec<Violation>,
) {
    let ordered = |consumer: &str| history.consumers.get(consumer) == Some(&Order::PerKey);
    let numbered = |event: Uuid| {
        let attempt = history.get(event)?;
        Some((attempt.key.as_deref()?, sequence(attempt)?))
    };
    // The highest number that had its effect, and where.
    let mut highest: BTreeMap<(&str, &str), (u64, usize)> = BTreeMap::new();
    for (place, effect) in effects.0.iter().enumerate() {
        let consumer = effect.consumer.as_str();
        let first = places.get(&(consumer, effect.event)).and_then(|all| all.first());
        let Some((key, sequence)) = numbered(effect.event) else {
            continue;
        };
        // Of a double the first effect counts; the others are told as such.
        if !ordered(consumer) || first != Some(&place) {
            continue;
        }
        let before = highest.entry((consumer, key)).or_insert((sequence, place));
        if sequence >= before.0 {
            *before = (sequence, place);
        } else if set_aside.place(consumer, effect.event).is_none() {
            found.push(Violation::OutOfOrder {
                consumer: consumer.to_owned(),
                key: key.to_owned(),
                event: effect.event,
                sequence,
                place,
                after: before.0,
            });
        }
    }
    for ((consumer, parked), place) in &set_aside.0 {
        let is_left = *place == Place::Parked && !places.contains_key(&(consumer.as_str(), *parked));
        let Some((key, sequence)) = numbered(*parked) else {
            continue;
        };
        if let Some((passed_by, place)) = highest.get(&(consumer.as_str(), key))
            && is_left
            && *passed_by > sequence
        {
            found.push(Violation::PassedParked {
                consumer: consumer.clone(),
                key: key.to_owned(),
                parked: *parked,
                sequence,
                passed_by: *passed_by,
                place: *place,
            });
        }
    }
}
