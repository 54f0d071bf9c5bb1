//! Effects and dedupe record → the actions of one transaction. Pure.

use std::collections::{HashMap, HashSet};

use super::{effects::Effect, store::Write};
use crate::failure::{Failure, Reason};

/// DynamoDB API Reference, `TransactWriteItems`: 100 actions, 4 MB, no item twice.
pub(crate) const MAX_ACTIONS: usize = 100;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Puts the dedupe record first and the effects behind it, in their order.
///
/// # Errors
/// A permanent failure when the transaction breaks one of DynamoDB's rules, naming the effect by its
/// position from 1.
pub(crate) fn compile(
    record: Write,
    effects: &[Effect],
    tables: &HashMap<String, String>,
) -> Result<Vec<Write>, Failure> {
    if effects.len() >= MAX_ACTIONS {
        return Err(invalid(format!(
            "{} effects; a transaction takes {} beside the dedupe record",
            effects.len(),
            MAX_ACTIONS - 1
        )));
    }
    let mut written = HashSet::new();
    let mut bytes = 0;
    let mut writes = vec![record];
    for (effect, position) in effects.iter().zip(1..) {
        let write = effect.write(tables);
        if !written.insert(write.item().identity()) {
            return Err(invalid(format!(
                "effect {position} is the second on one item of table `{}`; a transaction takes each item once",
                effect.table
            )));
        }
        bytes += write.size_bytes();
        writes.push(write);
    }
    if bytes > MAX_BYTES {
        return Err(invalid(format!(
            "effects of {bytes} bytes; a transaction takes {MAX_BYTES}"
        )));
    }
    Ok(writes)
}

fn invalid(text: String) -> Failure {
    Failure::permanent(Reason::InvalidEffects, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Condition, Effects, Key, dynamodb::store::Change};

    fn compiled(effects: &Effects) -> Result<Vec<Write>, Failure> {
        let record = Write {
            table: "dedupe".to_owned(),
            key: Key::new("pk", "c#1"),
            change: Change::Put(Vec::new()),
            condition: None,
            wants_old: true,
        };
        let tables = HashMap::from([("alias".to_owned(), "real".to_owned())]);
        compile(record, &effects.list, &tables)
    }

    fn refusal(effects: &Effects) -> String {
        match compiled(effects) {
            Err(Failure::Permanent(Reason::InvalidEffects, text)) => text,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was taken"),
        }
    }

    #[test]
    fn ninety_nine_effects_fit_beside_the_dedupe_record_and_a_hundred_do_not() {
        let mut effects = Effects::default();
        for n in 0..99 {
            effects.put("t", Key::new("pk", n));
        }
        assert_eq!(compiled(&effects).map_or(0, |writes| writes.len()), MAX_ACTIONS);
        effects.put("t", Key::new("pk", 99));
        assert_eq!(
            refusal(&effects),
            "100 effects; a transaction takes 99 beside the dedupe record"
        );
    }

    #[test]
    fn an_item_twice_is_found_by_table_and_key_whatever_is_done_with_it() {
        let key = || Key::new("pk", "a").sort("sk", 1);
        let mut effects = Effects::default();
        effects.put("alias", key());
        effects.put("alias", Key::new("pk", "a").sort("sk", 2));
        effects.put("other", key());
        assert!(compiled(&effects).is_ok());
        // The same table by its own name.
        effects.check("real", key(), Condition::exists("pk"));
        assert!(refusal(&effects).starts_with("effect 4 is the second on one item of table `real`"));
    }

    #[test]
    fn four_megabytes_are_too_much() {
        let mut effects = Effects::default();
        for n in 0..11 {
            effects.put("t", Key::new("pk", n)).set("text", "x".repeat(380_000));
        }
        assert!(compiled(&effects).is_ok());
        effects.update("t", Key::new("pk", 11)).set("text", "x".repeat(20_000));
        assert!(refusal(&effects).contains("bytes; a transaction takes 4194304"));
    }
}
