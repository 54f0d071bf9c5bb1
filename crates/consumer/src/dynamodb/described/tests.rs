use oncebox_envelope::RawEnvelope;
use serde_json::json;

use super::*;
use crate::{Condition, HandlerError, Key, Update, record::Content};

pub(crate) fn content(id: u64, data: i64) -> Content {
    let envelope = json!({
        "specversion": "1.0", "id": format!("00000000-0000-7000-8000-{id:012x}"), "source": "test",
        "type": "test.v1", "time": "2026-01-01T00:00:00Z", "data": data,
    });
    Content::new(RawEnvelope::from_json(envelope.to_string().as_bytes()).unwrap())
}

fn described(effects: Effects) -> Result<Described, Failure> {
    let claim = Claim::of("c", &content(1, 1), 1_000, 2_000);
    let tables = HashMap::from([("alias".to_owned(), "real".to_owned())]);
    Described::new(Record::Event(claim), "dedupe", effects, &tables, Vec::new())
}

fn refusal(effects: Effects) -> String {
    match described(effects) {
        Err(Failure::Permanent(Reason::InvalidEffects, text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn ninety_nine_effects_fit_beside_the_dedupe_record_and_a_hundred_do_not() {
    let with = |count: i32| {
        let mut effects = Effects::default();
        for n in 0..count {
            effects.put("t", Key::new("pk", n));
        }
        effects
    };
    assert_eq!(
        described(with(99)).map_or(0, |described| described.writes.len()),
        MAX_WRITES
    );
    assert_eq!(
        refusal(with(100)),
        "100 effects; a transaction takes 99 beside the dedupe record"
    );
}

#[test]
fn an_update_of_nothing_or_of_one_attribute_twice_is_refused_before_anything_is_sent() {
    let updating = |describe: fn(&mut Update)| {
        let mut effects = Effects::default();
        effects.put("other", Key::new("pk", "a"));
        describe(effects.update("t", Key::new("pk", "a")));
        effects
    };
    let nothing = "effect 2, on table `t`, is an update that changes nothing; call `set`, `add` or another of its \
                   methods, or `Effects::check` to hold the others to a condition";
    assert_eq!(refusal(updating(|_| {})), nothing);
    let guarded = updating(|update| {
        update.only_if(Condition::exists("pk"));
    });
    assert_eq!(refusal(guarded), nothing);
    let twice: [fn(&mut Update); 5] = [
        |update| {
            update.set("secret", 1).set("secret", 1);
        },
        |update| {
            update.set("secret", 1).set_if_absent("secret", 1);
        },
        |update| {
            update.set_if_absent("secret", 1).add("secret", 1);
        },
        |update| {
            update.add("n", 1).add("secret", 1).add("secret", 1);
        },
        |update| {
            update.add("secret", 1).remove("secret");
        },
    ];
    for describe in twice {
        assert_eq!(
            refusal(updating(describe)),
            "effect 2, on table `t`, is an update that names an attribute twice; DynamoDB takes each once"
        );
    }
    let each_once = updating(|update| {
        update.set("a", 1).set_if_absent("b", 1).add("c", 1).remove("d");
    });
    assert!(described(each_once).is_ok());
}

#[test]
fn an_item_twice_is_found_by_table_and_key_whatever_is_done_with_it() {
    let key = || Key::new("pk", "a").sort("sk", 1);
    let three = || {
        let mut effects = Effects::default();
        effects.put("alias", key());
        effects.put("alias", Key::new("pk", "a").sort("sk", 2));
        effects.put("other", key());
        effects
    };
    assert!(described(three()).is_ok());
    // The same table by its own name.
    let mut effects = three();
    effects.check("real", key(), Condition::exists("pk"));
    assert!(refusal(effects).starts_with("effect 4 is the second on one item of table `real`"));
    // The dedupe record itself.
    let mut effects = Effects::default();
    effects.put("dedupe", Key::new("pk", "c#00000000-0000-7000-8000-000000000001"));
    assert!(refusal(effects).starts_with("effect 1 is the second on one item of table `dedupe`"));
}

#[test]
fn four_megabytes_are_too_much() {
    let eleven = || {
        let mut effects = Effects::default();
        for n in 0..11 {
            effects.put("t", Key::new("pk", n)).set("text", "x".repeat(380_000));
        }
        effects
    };
    assert!(described(eleven()).is_ok());
    let mut effects = eleven();
    effects.update("t", Key::new("pk", 11)).set("text", "x".repeat(20_000));
    assert!(refusal(effects).contains("bytes; a transaction takes 4194304"));
}

fn two_effects() -> Described {
    let mut effects = Effects::default();
    effects.update("stock", Key::new("pk", "a")).add("n", 1);
    effects
        .check("orders", Key::new("pk", "b"), Condition::exists("pk"))
        .or_fail(HandlerError::retryable("the order is not there yet"));
    described(effects).unwrap_or_else(|failure| panic!("{failure:?}"))
}

const NONE: Cancellation = Cancellation::None;
const FAILED: Cancellation = Cancellation::ConditionFailed(None);

fn fate(reasons: [Cancellation; 3]) -> Fate {
    two_effects().fate(&reasons.iter().collect::<Vec<_>>())
}

#[test]
fn a_record_that_is_there_goes_before_everything_else() {
    let busy = Cancellation::Busy("TransactionConflict".to_owned());
    assert_eq!(fate([FAILED, busy.clone(), FAILED]), Fate::Read);
    let mine = two_effects();
    let record = |described: &Described| -> Item {
        let crate::dynamodb::store::Change::Put(attributes) = &described.writes[0].change else {
            panic!("no put")
        };
        attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.0.clone()))
            .collect()
    };
    let verdict = |item: Item| {
        let reasons = [Cancellation::ConditionFailed(Some(item)), busy.clone(), FAILED];
        mine.fate(&reasons.iter().collect::<Vec<_>>())
    };
    assert_eq!(verdict(record(&mine)), Fate::Settled(Verdict::Done));
    assert_eq!(verdict(record(&two_effects())), Fate::Settled(Verdict::Duplicate));
    let mut other = record(&two_effects());
    other.insert(
        "ph".to_owned(),
        aws_sdk_dynamodb::types::AttributeValue::B(vec![1].into()),
    );
    assert_eq!(verdict(other), Fate::Settled(Failure::payload_mismatch().into()));
    let mut expired = record(&two_effects());
    expired.insert(
        "ttl".to_owned(),
        aws_sdk_dynamodb::types::AttributeValue::N("1".to_owned()),
    );
    assert!(matches!(verdict(expired), Fate::Later(_)));
}

#[test]
fn a_conflict_or_a_throttle_is_tried_again_even_beside_a_condition() {
    let busy = Cancellation::Busy("TransactionConflict".to_owned());
    assert_eq!(
        fate([NONE, FAILED, busy]),
        Fate::Later("TransactionConflict".to_owned())
    );
}

#[test]
fn a_condition_that_does_not_hold_means_what_the_handler_said() {
    let declared = Failure::retryable("the order is not there yet");
    assert_eq!(fate([NONE, NONE, FAILED]), Fate::Settled(declared.into()));
    let by_default = fate([NONE, FAILED, NONE]);
    assert!(
        matches!(&by_default, Fate::Settled(Verdict::Failed(Failure::Permanent(Reason::ConditionFailed, text))) if text.contains("effect 1")),
        "{by_default:?}"
    );
}

#[test]
fn an_invalid_effect_is_permanent_an_unknown_word_is_not_and_both_are_only_suspected() {
    let invalid = || Cancellation::Invalid("ValidationError".to_owned());
    let permanent = fate([NONE, invalid(), NONE]);
    assert!(matches!(
        permanent,
        Fate::Suspect(Verdict::Failed(Failure::Permanent(Reason::InvalidEffects, _)))
    ));
    let other = Cancellation::Other("AccessDenied".to_owned());
    for reasons in [[NONE, other, NONE], [invalid(), NONE, NONE]] {
        assert!(matches!(
            fate(reasons),
            Fate::Suspect(Verdict::Failed(Failure::Retryable(_)))
        ));
    }
}

#[test]
fn who_had_no_part_in_it_goes_again_at_once() {
    assert_eq!(fate([NONE, NONE, NONE]), Fate::Again);
}
