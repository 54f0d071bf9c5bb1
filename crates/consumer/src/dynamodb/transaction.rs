//! Effects and dedupe record → the actions of one transaction. Pure.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        AttributeValue, ConditionCheck, Delete as DeleteAction, Put as PutAction, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update as UpdateAction,
    },
};

use super::{
    attribute::{Key, size_bytes},
    condition::Expression,
    effects::{Action, Effect, Update},
};
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
    record: PutAction,
    effects: &[Effect],
    tables: &HashMap<String, String>,
) -> Result<Vec<TransactWriteItem>, Failure> {
    if effects.len() >= MAX_ACTIONS {
        return Err(invalid(format!(
            "{} effects; a transaction takes {} beside the dedupe record",
            effects.len(),
            MAX_ACTIONS - 1
        )));
    }
    let mut written = HashSet::new();
    let mut bytes = 0;
    let mut items = vec![TransactWriteItem::builder().put(record).build()];
    for (effect, position) in effects.iter().zip(1..) {
        let table = tables.get(&effect.table).unwrap_or(&effect.table);
        if !written.insert((table, identity(&effect.key))) {
            return Err(invalid(format!(
                "effect {position} is the second on one item of table `{}`; a transaction takes each item once",
                effect.table
            )));
        }
        let (item, item_bytes) =
            action(effect, table).map_err(|_| invalid(format!("effect {position} is incomplete")))?;
        bytes += item_bytes;
        items.push(item);
    }
    if bytes > MAX_BYTES {
        return Err(invalid(format!(
            "effects of {bytes} bytes; a transaction takes {MAX_BYTES}"
        )));
    }
    Ok(items)
}

fn invalid(text: String) -> Failure {
    Failure::permanent(Reason::InvalidEffects, text)
}

/// Keys that are equal for DynamoDB have equal identities (attribute names first, so that the
/// order in which a key was put together does not matter).
fn identity(key: &Key) -> String {
    let mut parts: Vec<String> = key
        .parts
        .iter()
        .map(|(name, value)| format!("{name:?}={:?}", value.0))
        .collect();
    parts.sort();
    parts.join(",")
}

fn action(effect: &Effect, table: &str) -> Result<(TransactWriteItem, usize), BuildError> {
    let mut expression = Expression::default();
    let condition = effect
        .guard()
        .condition
        .as_ref()
        .map(|condition| condition.write(&mut expression));
    let key: HashMap<String, AttributeValue> = effect
        .key
        .parts
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect();
    let mut bytes = item_bytes(&key);
    let item = TransactWriteItem::builder();
    let item = match &effect.action {
        Action::Put(put) => {
            let mut whole: HashMap<String, AttributeValue> = put
                .attributes
                .iter()
                .map(|(name, value)| (name.clone(), value.0.clone()))
                .collect();
            // The key last: an attribute of the same name must not move the item elsewhere.
            whole.extend(key);
            bytes = item_bytes(&whole) + expression.size_bytes();
            let (names, values) = expression.into_maps();
            let put = PutAction::builder()
                .table_name(table)
                .set_item(Some(whole))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values);
            item.put(put.build()?)
        }
        Action::Update(update) => {
            let changes = changes(update, &mut expression);
            bytes += expression.size_bytes();
            let (names, values) = expression.into_maps();
            let update = UpdateAction::builder()
                .table_name(table)
                .set_key(Some(key))
                .update_expression(changes)
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values);
            item.update(update.build()?)
        }
        Action::Delete(_) => {
            bytes += expression.size_bytes();
            let (names, values) = expression.into_maps();
            let delete = DeleteAction::builder()
                .table_name(table)
                .set_key(Some(key))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values);
            item.delete(delete.build()?)
        }
        Action::Check(_) => {
            bytes += expression.size_bytes();
            let (names, values) = expression.into_maps();
            let check = ConditionCheck::builder()
                .table_name(table)
                .set_key(Some(key))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values);
            item.condition_check(check.build()?)
        }
    };
    Ok((item.build(), bytes))
}

fn changes(update: &Update, expression: &mut Expression) -> String {
    let mut set: Vec<String> = Vec::new();
    for (name, value) in &update.set {
        set.push(format!("{} = {}", expression.name(name), expression.value(value)));
    }
    for (name, value) in &update.set_if_absent {
        let name = expression.name(name);
        set.push(format!("{name} = if_not_exists({name}, {})", expression.value(value)));
    }
    let add = update
        .add
        .iter()
        .map(|(name, value)| format!("{} {}", expression.name(name), expression.value(value)));
    let add: Vec<String> = add.collect();
    let remove: Vec<String> = update.remove.iter().map(|name| expression.name(name)).collect();
    let clauses = [("SET", set), ("ADD", add), ("REMOVE", remove)];
    let clauses = clauses.into_iter().filter(|(_, parts)| !parts.is_empty());
    let clauses: Vec<String> = clauses
        .map(|(word, parts)| format!("{word} {}", parts.join(", ")))
        .collect();
    clauses.join(" ")
}

fn item_bytes(item: &HashMap<String, AttributeValue>) -> usize {
    item.iter().map(|(name, value)| name.len() + size_bytes(value)).sum()
}

/// The record of a consumed event, to be put only where there is none that still counts.
pub(crate) fn record_put(
    table: &str,
    item: HashMap<String, AttributeValue>,
    now_secs: i64,
) -> Result<PutAction, BuildError> {
    PutAction::builder()
        .table_name(table)
        .set_item(Some(item))
        // DynamoDB deletes expired items hours late, so the time is tested too.
        .condition_expression("attribute_not_exists(#pk) OR #ttl <= :now")
        .expression_attribute_names("#pk", "pk")
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":now", AttributeValue::N(now_secs.to_string()))
        // Tells a duplicate from a second use of the id without another read.
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Condition, Effects};

    fn compiled(effects: &Effects) -> Result<Vec<TransactWriteItem>, Failure> {
        let item = HashMap::from([("pk".to_owned(), AttributeValue::S("c#1".to_owned()))]);
        let tables = HashMap::from([("alias".to_owned(), "real".to_owned())]);
        compile(record_put("dedupe", item, 1).unwrap(), &effects.list, &tables)
    }

    fn refusal(effects: &Effects) -> String {
        match compiled(effects) {
            Err(Failure::Permanent(Reason::InvalidEffects, text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ninety_nine_effects_fit_beside_the_dedupe_record_and_a_hundred_do_not() {
        let mut effects = Effects::default();
        for n in 0..99 {
            effects.put("t", Key::new("pk", n));
        }
        assert_eq!(compiled(&effects).unwrap().len(), MAX_ACTIONS);
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

    #[test]
    fn a_put_cannot_move_its_item_to_another_key() {
        let mut effects = Effects::default();
        effects.put("t", Key::new("pk", "mine")).set("pk", "elsewhere");
        let items = compiled(&effects).unwrap();
        assert_eq!(
            items[1].put().unwrap().item()["pk"],
            AttributeValue::S("mine".to_owned())
        );
    }
}
