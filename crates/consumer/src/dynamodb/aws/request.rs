//! A write → DynamoDB's action. Pure.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};

use crate::dynamodb::{
    attribute::Attribute,
    condition::Expression,
    store::{Change, Changes, Write},
};

pub(super) fn action(write: &Write) -> Result<TransactWriteItem, BuildError> {
    let mut expression = Expression::default();
    let condition = write.condition.as_ref();
    let condition = condition.map(|condition| condition.write(&mut expression));
    let key = write.key.parts.iter();
    let key: HashMap<String, AttributeValue> = key.map(|(name, value)| (name.clone(), value.0.clone())).collect();
    let returned = write.wants_old.then_some(ReturnValuesOnConditionCheckFailure::AllOld);
    let action = TransactWriteItem::builder();
    let action = match &write.change {
        Change::Put(attributes) => {
            let attributes = attributes.iter();
            let mut whole: HashMap<_, _> = attributes
                .map(|(name, value)| (name.clone(), value.0.clone()))
                .collect();
            // The key last: an attribute of the same name must not move the item elsewhere.
            whole.extend(key);
            let (names, values) = expression.into_maps();
            let put = Put::builder()
                .table_name(&write.table)
                .set_item(Some(whole))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .set_return_values_on_condition_check_failure(returned);
            action.put(put.build()?)
        }
        Change::Update(changes) => {
            let changes = update_expression(changes, &mut expression);
            let (names, values) = expression.into_maps();
            let update = Update::builder()
                .table_name(&write.table)
                .set_key(Some(key))
                .update_expression(changes)
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .set_return_values_on_condition_check_failure(returned);
            action.update(update.build()?)
        }
        Change::Delete => {
            let (names, values) = expression.into_maps();
            let delete = Delete::builder()
                .table_name(&write.table)
                .set_key(Some(key))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .set_return_values_on_condition_check_failure(returned);
            action.delete(delete.build()?)
        }
        Change::Check => {
            let (names, values) = expression.into_maps();
            let check = ConditionCheck::builder()
                .table_name(&write.table)
                .set_key(Some(key))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .set_return_values_on_condition_check_failure(returned);
            action.condition_check(check.build()?)
        }
    };
    Ok(action.build())
}

fn update_expression(changes: &Changes, expression: &mut Expression) -> String {
    let mut set: Vec<String> = Vec::new();
    for (name, value) in &changes.set {
        set.push(format!("{} = {}", expression.name(name), expression.value(value)));
    }
    for (name, value) in &changes.set_if_absent {
        let name = expression.name(name);
        set.push(format!("{name} = if_not_exists({name}, {})", expression.value(value)));
    }
    for (name, value) in &changes.append {
        let name = expression.name(name);
        let none = expression.value(&Attribute(AttributeValue::L(Vec::new())));
        let value = expression.value(value);
        set.push(format!("{name} = list_append(if_not_exists({name}, {none}), {value})"));
    }
    let add = changes.add.iter();
    let add: Vec<String> = add
        .map(|(name, value)| format!("{} {}", expression.name(name), expression.value(value)))
        .collect();
    let remove: Vec<String> = changes.remove.iter().map(|name| expression.name(name)).collect();
    let clauses = [("SET", set), ("ADD", add), ("REMOVE", remove)];
    let clauses = clauses.into_iter().filter(|(_, parts)| !parts.is_empty());
    let clauses: Vec<String> = clauses
        .map(|(word, parts)| format!("{word} {}", parts.join(", ")))
        .collect();
    clauses.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn a_put_cannot_move_its_item_to_another_key() {
        let write = Write {
            table: "t".to_owned(),
            key: Key::new("pk", "mine"),
            change: Change::Put(vec![("pk".to_owned(), "elsewhere".into())]),
            condition: None,
            wants_old: false,
        };
        let action = action(&write).unwrap();
        assert_eq!(action.put().unwrap().item()["pk"], AttributeValue::S("mine".to_owned()));
    }
}
