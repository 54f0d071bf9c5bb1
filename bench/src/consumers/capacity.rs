//! What a request to DynamoDB writes, in write capacity units. Pure.
//!
//! DynamoDB Developer Guide, "DynamoDB read and write operations" and "DynamoDB item sizes and
//! formats": a unit is a write of up to 1 KB, a transactional write takes twice as many, and a write
//! whose condition does not hold takes as many as one whose condition does.

use serde_json::{Map, Value};

const UNIT_BYTES: usize = 1_024;
/// A transaction writes each item to prepare and again to commit.
const TRANSACTIONAL: usize = 2;
/// What a list or a map takes, whatever is in it, and what each of its elements takes.
const NESTED_BYTES: usize = 3;
const ELEMENT_BYTES: usize = 1;

/// The units of a request of `operation` (such as `PutItem`); 0 for what writes nothing.
///
/// An update does not say how large its item is. It counts as its key, and the values that it names:
/// exact to the unit where an item is well below 1 KB, as here.
pub(crate) fn write_units(operation: &str, request: &Value) -> usize {
    match operation {
        "PutItem" => units(item_bytes(&request["Item"])),
        "UpdateItem" => units(update_bytes(request)),
        "DeleteItem" => 1,
        "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flat_map(Map::values);
            let writes = tables.filter_map(Value::as_array).flatten();
            writes
                .map(|write| units(item_bytes(&write["PutRequest"]["Item"])))
                .sum()
        }
        "TransactWriteItems" => {
            let actions = request["TransactItems"].as_array().into_iter().flatten();
            actions.map(|action| TRANSACTIONAL * action_units(action)).sum()
        }
        _ => 0,
    }
}

fn action_units(action: &Value) -> usize {
    if let Some(put) = action.get("Put") {
        units(item_bytes(&put["Item"]))
    } else if let Some(update) = action.get("Update") {
        units(update_bytes(update))
    } else {
        usize::from(action.get("Delete").is_some())
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).max(1)
}

fn update_bytes(update: &Value) -> usize {
    let names = update["ExpressionAttributeNames"].as_object().into_iter().flatten();
    let names: usize = names.filter_map(|(_, name)| name.as_str()).map(str::len).sum();
    let values = update["ExpressionAttributeValues"].as_object().into_iter().flatten();
    let values: usize = values.map(|(_, value)| value_bytes(value)).sum();
    item_bytes(&update["Key"]) + names + values
}

/// The size of an item in DynamoDB's JSON.
fn item_bytes(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// The size of a value such as `{"S": "text"}`.
fn value_bytes(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    let text = value.as_str().unwrap_or_default();
    let each = |bytes: fn(&str) -> usize| {
        let elements = value.as_array().into_iter().flatten();
        elements.filter_map(Value::as_str).map(bytes).sum()
    };
    match kind.as_str() {
        "S" => text.len(),
        "N" => number_bytes(text),
        "B" => binary_bytes(text),
        "SS" => each(str::len),
        "NS" => each(number_bytes),
        "BS" => each(binary_bytes),
        "L" => {
            let elements = value.as_array().into_iter().flatten();
            let elements = elements.map(|element| value_bytes(element) + ELEMENT_BYTES);
            NESTED_BYTES + elements.sum::<usize>()
        }
        "M" => {
            let elements = value.as_object().map_or(0, Map::len) * ELEMENT_BYTES;
            NESTED_BYTES + item_bytes(value) + elements
        }
        // BOOL and NULL.
        _ => 1,
    }
}

/// A byte for two significant digits, and one.
fn number_bytes(number: &str) -> usize {
    let (digits, _) = number.split_once(['e', 'E']).unwrap_or((number, ""));
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0').trim_end_matches('0');
    digits.len().div_ceil(2) + 1
}

/// Of the bytes themselves, which are written in base64.
fn binary_bytes(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_items_size_is_its_names_and_its_values() {
        let cases = [
            (json!({ "pk": { "S": "äbc" } }), 2 + 4),
            (json!({ "n": { "N": "-1200.50" } }), 1 + 3 + 1),
            (json!({ "n": { "N": "0" } }), 1 + 1),
            (json!({ "b": { "B": "AAECAwQ=" } }), 1 + 5),
            (json!({ "t": { "BOOL": true }, "u": { "NULL": true } }), 1 + 1 + 1 + 1),
            (json!({ "s": { "SS": ["ab", "c"] } }), 1 + 3),
            (
                json!({ "l": { "L": [{ "S": "ab" }, { "S": "c" }] } }),
                1 + 3 + 2 + 1 + 2,
            ),
            (json!({ "m": { "M": { "k": { "S": "ab" } } } }), 1 + 3 + 1 + 2 + 1),
        ];
        for (item, bytes) in cases {
            assert_eq!(item_bytes(&item), bytes, "{item}");
        }
    }

    #[test]
    fn a_unit_is_a_kilobyte_begun_and_a_transaction_takes_two() {
        let put = |bytes: usize| json!({ "Item": { "a": { "S": "x".repeat(bytes - 1) } } });
        assert_eq!(write_units("PutItem", &put(1_024)), 1);
        assert_eq!(write_units("PutItem", &put(1_025)), 2);
        let update = json!({
            "Key": { "pk": { "S": "x" } },
            "ExpressionAttributeNames": { "#a": "name" },
            "ExpressionAttributeValues": { ":a": { "S": "x".repeat(1_018) } },
        });
        assert_eq!(write_units("UpdateItem", &update), 2);
        assert_eq!(write_units("DeleteItem", &json!({ "Key": {} })), 1);
        let check = json!({ "ConditionCheck": { "Key": {} } });
        let actions = json!({ "TransactItems": [{ "Put": put(10) }, { "Update": update }, check, { "Delete": {} }] });
        assert_eq!(write_units("TransactWriteItems", &actions), 2 + 4 + 2);
        let batch = json!({ "RequestItems": { "t": [{ "PutRequest": put(10) }, { "PutRequest": put(2_000) }] } });
        assert_eq!(write_units("BatchWriteItem", &batch), 3);
        assert_eq!(write_units("GetItem", &json!({ "Key": {} })), 0);
    }
}
