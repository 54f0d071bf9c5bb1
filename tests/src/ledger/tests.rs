//! One test per kind of violation, each from a run in which all is well but one thing.

use uuid::Uuid;

use super::{
    Attempt, Effect, Effects, History, Order, Outcome, PayloadHash, Place, SetAside, Summary, Violation, check,
};

/// Three events of key `k`, one without a key, one rolled back; wanted by one consumer with order and one without.
struct Run {
    history: History,
    effects: Effects,
    set_aside: SetAside,
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn hash(number: u128) -> PayloadHash {
    PayloadHash::of(&number.to_be_bytes())
}

fn attempt(number: u128, key: Option<&str>, outcome: Outcome) -> Attempt {
    Attempt {
        key: key.map(ToOwned::to_owned),
        wanted_by: vec!["ordered".to_owned(), "any".to_owned()],
        payload: hash(number),
        transaction: 7,
        outcome,
    }
}

fn effect(consumer: &str, number: u128, key: Option<&str>, sequence: Option<u64>) -> Effect {
    Effect {
        consumer: consumer.to_owned(),
        event: id(number),
        key: key.map(ToOwned::to_owned),
        sequence,
        payload: hash(number),
    }
}

fn good() -> Run {
    let mut history = History::default();
    history.consumer("ordered", Order::PerKey);
    history.consumer("any", Order::None);
    let mut effects = Effects::default();
    for (number, sequence) in [(1, 1), (2, 2), (3, 3)] {
        let outcome = Outcome::Committed {
            sequence: Some(sequence),
        };
        history.attempt(id(number), attempt(number, Some("k"), outcome));
    }
    history.attempt(id(4), attempt(4, None, Outcome::Committed { sequence: None }));
    history.attempt(id(5), attempt(5, Some("k"), Outcome::RolledBack));
    for number in [1, 2, 3] {
        effects.record(effect("ordered", number.into(), Some("k"), Some(number)));
    }
    for number in [3, 1, 2] {
        effects.record(effect("any", number.into(), Some("k"), Some(number)));
    }
    effects.record(effect("ordered", 4, None, None));
    effects.record(effect("any", 4, None, None));
    Run {
        history,
        effects,
        set_aside: SetAside::default(),
    }
}

impl Run {
    fn found(&self) -> Vec<Violation> {
        check(&self.history, &self.effects, &self.set_aside)
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.found().iter().map(Violation::kind).collect()
    }

    fn summary(&self) -> Summary {
        Summary::of(&self.history, &self.effects, &self.set_aside)
    }
}

#[test]
fn a_run_in_which_all_promises_hold_has_no_violation_and_its_sum_is_even() {
    let run = good();
    assert_eq!(run.found(), []);
    let sum = run.summary();
    assert_eq!((sum.events, sum.rolled_back, sum.committed, sum.effected), (4, 1, 8, 8));
    assert!(sum.is_even(), "{sum}");
}

#[test]
fn an_event_without_effect_is_lost_and_the_sum_is_not_even() {
    let mut run = good();
    run.effects.0.remove(2);
    let lost = Violation::Lost {
        consumer: "ordered".to_owned(),
        event: id(3),
        key: Some("k".to_owned()),
        sequence: Some(3),
        transaction: 7,
    };
    assert_eq!(run.found(), [lost]);
    assert!(!run.summary().is_even());
}

#[test]
fn a_second_effect_is_told_with_the_places_of_both_and_is_no_matter_of_order() {
    let mut run = good();
    run.effects.record(effect("ordered", 1, Some("k"), Some(1)));
    let doubled = Violation::Doubled {
        consumer: "ordered".to_owned(),
        event: id(1),
        places: vec![0, 8],
    };
    assert_eq!(run.found(), [doubled]);
    assert_eq!(run.summary().doubled, 1);
}

#[test]
fn an_effect_of_what_was_rolled_back_is_told_also_when_it_was_only_set_aside() {
    let mut run = good();
    run.effects.record(effect("any", 5, Some("k"), Some(4)));
    assert_eq!(run.kinds(), ["from_rolled_back"]);
    let mut run = good();
    run.set_aside.record("any", id(5), Place::Parked);
    assert_eq!(run.kinds(), ["from_rolled_back"]);
}

#[test]
fn an_effect_of_an_event_that_nobody_attempted_is_told() {
    let mut run = good();
    run.effects.record(effect("any", 99, None, None));
    assert_eq!(run.kinds(), ["never_attempted"]);
}

#[test]
fn an_effect_at_a_consumer_that_does_not_want_the_event_is_told() {
    let mut run = good();
    run.effects.record(effect("third", 1, Some("k"), Some(1)));
    assert_eq!(run.kinds(), ["not_wanted"]);
}

#[test]
fn another_payload_is_told() {
    let mut run = good();
    run.effects.0[1].payload = hash(77);
    let altered = Violation::PayloadAltered {
        consumer: "ordered".to_owned(),
        event: id(2),
        place: 1,
        committed: hash(2),
        came: hash(77),
    };
    assert_eq!(run.found(), [altered]);
}

#[test]
fn another_sequence_or_key_is_told() {
    let mut run = good();
    run.effects.0[0].sequence = Some(2);
    run.effects.0[1].key = None;
    assert_eq!(run.kinds(), ["sequence_mismatch", "sequence_mismatch"]);
}

#[test]
fn a_later_event_first_is_told_where_order_is_promised_and_only_there() {
    let mut run = good();
    run.effects.0.swap(0, 1);
    let found = run.found();
    let out_of_order = Violation::OutOfOrder {
        consumer: "ordered".to_owned(),
        key: "k".to_owned(),
        event: id(1),
        sequence: 1,
        place: 1,
        after: 2,
    };
    assert_eq!(found, [out_of_order]);
}

#[test]
fn what_is_set_aside_counts_for_the_sum_and_may_have_its_effect_late() {
    let mut run = good();
    let late = run.effects.0.remove(0);
    run.set_aside.record("ordered", id(1), Place::DeadLettered);
    assert_eq!(run.found(), []);
    assert_eq!((run.summary().set_aside, run.summary().copies), (1, 0));
    run.effects.record(late);
    assert_eq!(run.found(), []);
    assert_eq!((run.summary().set_aside, run.summary().copies), (0, 1));
    assert!(run.summary().is_even());
}

#[test]
fn a_key_that_goes_on_past_a_parked_event_is_told() {
    let mut run = good();
    run.effects.0.remove(1);
    run.set_aside.record("ordered", id(2), Place::Parked);
    assert_eq!(run.kinds(), ["passed_parked"]);
    run.effects.0.remove(1);
    run.set_aside.record("ordered", id(3), Place::Parked);
    assert_eq!(run.found(), []);
}

#[test]
fn numbers_of_a_key_that_are_missing_or_come_twice_are_told() {
    let mut run = good();
    run.history.settle(id(2), Outcome::RolledBack);
    run.effects.0.retain(|effect| effect.event != id(2));
    assert_eq!(run.kinds(), ["numbering"]);
    let mut run = good();
    run.history
        .attempt(id(6), attempt(6, Some("k"), Outcome::Committed { sequence: Some(3) }));
    assert!(run.kinds().contains(&"numbering"));
}

#[test]
fn a_committed_event_of_a_key_without_a_number_is_told() {
    let mut run = good();
    run.history
        .attempt(id(6), attempt(6, Some("j"), Outcome::Committed { sequence: None }));
    run.effects.record(effect("ordered", 6, Some("j"), None));
    run.effects.record(effect("any", 6, Some("j"), None));
    assert_eq!(run.kinds(), ["not_numbered"]);
}

#[test]
fn faults_of_the_run_itself_are_told() {
    let mut run = good();
    run.history.attempt(id(6), attempt(6, None, Outcome::Unknown));
    assert_eq!(run.history.unknown(), [id(6)]);
    assert_eq!(run.kinds(), ["unresolved"]);
    run.history.attempt(id(6), attempt(6, None, Outcome::RolledBack));
    assert_eq!(run.kinds(), ["attempted_twice"]);
    let mut run = good();
    run.history.consumers.remove("any");
    assert_eq!(run.kinds(), ["undeclared"; 4 + 1]);
}

#[test]
fn a_hash_is_read_back_from_its_text_and_does_not_ask_for_the_order_of_members() {
    let one: serde_json::Value = serde_json::from_str(r#"{"a":[1,{"b":2,"c":3}],"d":null}"#).unwrap();
    let same: serde_json::Value = serde_json::from_str(r#"{"d":null,"a":[1,{"c":3,"b":2}]}"#).unwrap();
    let other: serde_json::Value = serde_json::from_str(r#"{"d":null,"a":[{"c":3,"b":2},1]}"#).unwrap();
    let hash = PayloadHash::of_json(&one);
    assert_eq!(hash, PayloadHash::of_json(&same));
    assert_ne!(hash, PayloadHash::of_json(&other));
    assert_eq!(hash.to_string().parse::<PayloadHash>().unwrap(), hash);
    assert!("xy".parse::<PayloadHash>().is_err());
}
