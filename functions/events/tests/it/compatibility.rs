//! Which changes of a schema break somebody.
//!
//! Events of the old schema are on queues and in logs, and readers of the old schema run beside new
//! producers for a while. So a new field must be optional, a required one must stay, and what a
//! field may hold must not change in either direction.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Words that tell people something and constrain nothing.
const ANNOTATIONS: [&str; 7] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
];

/// What breaks between a published schema and its successor; empty when nothing does.
pub(crate) fn breaking_changes(published: &Value, now: &Value) -> Vec<String> {
    let mut changes = Vec::new();
    compare("$", published, now, &mut changes);
    changes
}

fn compare(path: &str, published: &Value, now: &Value, changes: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (published, now) else {
        if published != now {
            changes.push(format!("`{path}` changed what it accepts"));
        }
        return;
    };
    let (old_required, new_required) = (required(old), required(new));
    for name in new_required.difference(&old_required) {
        changes.push(format!(
            "`{path}.{name}` became required: events without it are published"
        ));
    }
    for name in old_required.difference(&new_required) {
        changes.push(format!("`{path}.{name}` is not required any more: readers rely on it"));
    }
    for part in ["properties", "$defs"] {
        let (old, new) = (members(old, part), members(new, part));
        for (name, schema) in &old {
            match new.get(name) {
                Some(successor) => compare(&format!("{path}.{name}"), schema, successor, changes),
                None => changes.push(format!("`{path}.{name}` was removed")),
            }
        }
    }
    let rest = |schema: &Map<String, Value>| -> Map<String, Value> {
        let apart = |key: &str| ANNOTATIONS.contains(&key) || ["required", "properties", "$defs"].contains(&key);
        let kept = schema.iter().filter(|(key, _)| !apart(key));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (old, new) = (rest(old), rest(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
        changes.push(format!("`{path}` changed what it accepts: `{key}`"));
    }
}

fn required(schema: &Map<String, Value>) -> BTreeSet<String> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

fn members(schema: &Map<String, Value>, part: &str) -> Map<String, Value> {
    schema.get(part).and_then(Value::as_object).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn published() -> Value {
        json!({
            "title": "InvoiceCreated", "type": "object", "required": ["id", "cents"],
            "properties": {
                "id": { "type": "string", "format": "uuid" },
                "cents": { "type": "integer", "minimum": 1 },
                "note": { "$ref": "#/$defs/Note" },
            },
            "$defs": { "Note": { "type": "object", "required": ["text"], "properties": { "text": { "type": "string" } } } },
        })
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut now = published();
        change(&mut now);
        breaking_changes(&published(), &now)
    }

    #[test]
    fn a_new_optional_field_and_other_words_break_nothing() {
        assert_eq!(changed(|_| ()), [""; 0]);
        let compatible = changed(|now| {
            now["properties"]["tax"] = json!({ "type": "integer" });
            now["description"] = json!("said better");
            now["properties"]["cents"]["description"] = json!("hundredths");
        });
        assert_eq!(compatible, [""; 0]);
    }

    #[test]
    fn a_required_field_can_neither_come_nor_go() {
        let come = changed(|now| {
            now["properties"]["tax"] = json!({ "type": "integer" });
            now["required"] = json!(["id", "cents", "tax"]);
        });
        assert_eq!(come, ["`$.tax` became required: events without it are published"]);
        let gone = changed(|now| {
            now["properties"].as_object_mut().unwrap().remove("cents");
            now["required"] = json!(["id"]);
        });
        let expected = [
            "`$.cents` is not required any more: readers rely on it",
            "`$.cents` was removed",
        ];
        assert_eq!(gone, expected);
    }

    #[test]
    fn what_a_field_accepts_can_neither_widen_nor_narrow() {
        for (at, value) in [
            ("/properties/id/type", json!("integer")),
            ("/properties/id/format", json!("email")),
            ("/properties/cents/minimum", json!(0)),
            ("/properties/cents/minimum", json!(2)),
            ("/$defs/Note/properties/text/type", json!("integer")),
            ("/$defs/Note/required", json!([])),
            ("/properties/note", json!(true)),
        ] {
            let changes = changed(|now| *now.pointer_mut(at).unwrap() = value.clone());
            assert_eq!(changes.len(), 1, "{at} {value}: {changes:?}");
        }
        let closed = changed(|now| now["additionalProperties"] = json!(false));
        assert_eq!(closed, ["`$` changed what it accepts: `additionalProperties`"]);
    }
}
