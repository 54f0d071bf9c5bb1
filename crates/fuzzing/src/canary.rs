//! A secret in place of each value: no error may show it.

use serde_json::Value;

/// A text that no error of ours has by itself.
pub(crate) const CANARY: &str = "c4n4ry";

/// Deeper values are data's own, which nobody looks at.
const DEPTH: usize = 2;

/// Puts a canary in place of each value of a JSON text, one after the other, as every shape in turn, and asserts that no
/// error of `decode` shows it. Names are no secret: an error has to name what is wrong.
pub(crate) fn assert_no_error_shows_a_value(json: &[u8], decode: impl Fn(&[u8]) -> Option<String>) {
    let Ok(original) = serde_json::from_slice::<Value>(json) else {
        return;
    };
    if original.to_string().contains(CANARY) {
        return;
    }
    let mut places = Vec::new();
    collect(&original, String::new(), DEPTH, &mut places);
    for (index, place) in places.iter().enumerate() {
        let mut planted = original.clone();
        let Some(value) = planted.pointer_mut(place) else {
            continue;
        };
        *value = secret(json.len() + index);
        if let Some(error) = decode(planted.to_string().as_bytes()) {
            assert!(!error.contains(CANARY), "the value at {place} is shown: {error}");
        }
    }
}

fn secret(number: usize) -> Value {
    match number % 5 {
        0 => Value::from(CANARY),
        1 => Value::from(format!("{CANARY}\u{1}")),
        2 => Value::from(vec![CANARY]),
        3 => Value::from(CANARY.repeat(500)),
        _ => Value::from_iter([(CANARY, CANARY)]),
    }
}

/// JSON pointers (RFC 6901) to the values within.
fn collect(value: &Value, at: String, depth: usize, places: &mut Vec<String>) {
    const MOST: usize = 40;
    if depth > 0 {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    collect(member, format!("{at}/{name}"), depth - 1, places);
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    collect(element, format!("{at}/{index}"), depth - 1, places);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    if !at.is_empty() && places.len() < MOST {
        places.push(at);
    }
}
