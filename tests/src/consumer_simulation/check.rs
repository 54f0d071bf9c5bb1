//! What must hold when the queue is empty.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use oncebox_consumer::test_kit::MemoryDeadLetter;
use serde_json::Value;
use uuid::Uuid;

use super::{
    plan::{Content, EventPlan, Mode, Plan, Policy},
    world::World,
};
use crate::ledger::{self, Attempt, Effect, Effects, History, Outcome, PayloadHash, Place, SetAside};

/// The consumer's name.
pub(super) const CONSUMER: &str = "function";

/// What broke a promise; and how many effects and events set aside there were.
pub(super) fn check(
    plan: &Plan,
    world: &World,
    written: &[HashMap<String, AttributeValue>],
    dead_letters: &[MemoryDeadLetter],
    redriven: &[String],
) -> (Vec<String>, [usize; 2]) {
    let mut found = world.violations.clone();
    let effects: Effects = match plan.mode {
        Mode::Transactional | Mode::GapGuarded => written.iter().filter_map(effect).collect(),
        Mode::Leased(_) => world.effects.iter().cloned().collect(),
    };
    if matches!(plan.mode, Mode::Transactional | Mode::GapGuarded) && effects.all().len() != written.len() {
        found.push("an effect is not what its handler wrote".to_owned());
    }
    let mut set_aside = SetAside::default();
    let mut garbage = BTreeSet::new();
    let mut put = |body: &str| -> Vec<usize> {
        if body.starts_with("garbage") {
            garbage.insert(body.to_owned());
        }
        let ids = ids(body);
        for id in &ids {
            set_aside.record(CONSUMER, *id, Place::DeadLettered);
        }
        ids.into_iter().filter_map(number).collect()
    };
    for letter in dead_letters {
        let reason = letter.attributes.get("oncebox-reason").map_or("none", String::as_str);
        for event in put(&letter.body) {
            if !is_due(plan, reason, event) {
                found.push(format!("event {event} is set aside as {reason}"));
            }
        }
    }
    for body in redriven {
        put(body);
    }
    for publication in &plan.publications {
        if let Content::Garbage(_) = publication.content
            && world.is_first_life
            && !garbage.contains(&plan.body(&publication.content))
        {
            found.push(format!("lost: {:?}", publication.content));
        }
    }
    for effect in effects.all() {
        let event = number(effect.event).and_then(|number| plan.events.get(number));
        if event.is_some_and(|event| event.is_rejected) {
            found.push(format!("{} had an effect that its handler refused", effect.event));
        }
        if let (Mode::GapGuarded, Some((key, sequence))) = (plan.mode, event.and_then(|event| event.place))
            && is_beyond_a_gap(plan, key, sequence)
        {
            found.push(format!(
                "gap: {} had its effect beyond one that never came",
                effect.event
            ));
        }
    }
    let violations = ledger::check(&history(plan), &effects, &set_aside);
    found.extend(violations.iter().map(ToString::to_string));
    (found, [effects.all().len(), set_aside.len()])
}

/// Whether an event may be set aside for this reason.
fn is_due(plan: &Plan, reason: &str, event: usize) -> bool {
    let Some(event) = plan.events.get(event) else {
        return false;
    };
    match reason {
        "rejected" => event.is_rejected,
        "attempts_exhausted" => plan.parks_exhausted,
        "unknown_outcome" => plan.mode == Mode::Leased(Policy::Park),
        // Whoever fails for as long as the guard waits lets those behind it be set aside too.
        "gap" => {
            let is_behind = event
                .place
                .is_some_and(|(key, sequence)| is_beyond_a_gap(plan, key, sequence));
            plan.mode == Mode::GapGuarded && (is_behind || !plan.weather.is_calm())
        }
        _ => false,
    }
}

fn is_beyond_a_gap(plan: &Plan, key: usize, sequence: u64) -> bool {
    let missing = plan.events.iter().filter(|event| event.is_missing);
    let mut places = missing.filter_map(|event| event.place);
    places.any(|(of, at)| of == key && at < sequence)
}

fn history(plan: &Plan) -> History {
    let mut history = History::default();
    history.consumer(CONSUMER, plan.order());
    for (index, event) in plan.events.iter().enumerate() {
        let attempt = Attempt {
            key: event.key(),
            wanted_by: match event.is_missing {
                true => Vec::new(),
                false => vec![CONSUMER.to_owned()],
            },
            payload: PayloadHash::of(event.payload.as_bytes()),
            transaction: index as u64,
            outcome: Outcome::Committed {
                sequence: event.place.map(|(_, sequence)| sequence),
            },
        };
        history.attempt(EventPlan::id(index), attempt);
    }
    history
}

fn effect(item: &HashMap<String, AttributeValue>) -> Option<Effect> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let sequence = item.get("sequence").and_then(|value| value.as_n().ok());
    Some(Effect {
        consumer: CONSUMER.to_owned(),
        event: text("event")?.parse().ok()?,
        key: text("key"),
        sequence: sequence.and_then(|sequence| sequence.parse().ok()),
        payload: PayloadHash::of(text("payload")?.as_bytes()),
    })
}

/// The ids in a body.
fn ids(body: &str) -> Vec<Uuid> {
    let id = |envelope: &Value| envelope.get("id")?.as_str()?.parse().ok();
    match serde_json::from_str(body) {
        Ok(Value::Array(envelopes)) => envelopes.iter().filter_map(id).collect(),
        Ok(envelope) => id(&envelope).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

/// Which event has this id.
fn number(id: Uuid) -> Option<usize> {
    let number = id.as_u128() & 0xffff_ffff;
    usize::try_from(number).ok()?.checked_sub(1)
}
