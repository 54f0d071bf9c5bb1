//! `"env:NAME"` in any string of the file.

use toml::{Table, Value};

use super::Fault;

/// Replaces every string `env:NAME` by the value of that variable.
pub(super) fn resolve(table: &mut Table, environment: &impl Fn(&str) -> Option<String>) -> Result<(), Fault> {
    for (key, value) in table.iter_mut() {
        resolve_value(key.clone(), value, environment)?;
    }
    Ok(())
}

fn resolve_value(path: String, value: &mut Value, environment: &impl Fn(&str) -> Option<String>) -> Result<(), Fault> {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix("env:") {
                *text = match environment(name) {
                    Some(found) if !found.is_empty() => found,
                    Some(_) => return Err((path, format!("environment variable `{name}` is empty; set it"))),
                    None => return Err((path, format!("environment variable `{name}` is not set; set it"))),
                };
            }
            Ok(())
        }
        Value::Array(values) => {
            let mut values = values.iter_mut().enumerate();
            values.try_for_each(|(index, value)| resolve_value(format!("{path}[{index}]"), value, environment))
        }
        Value::Table(table) => {
            let mut entries = table.iter_mut();
            entries.try_for_each(|(key, value)| resolve_value(format!("{path}.{key}"), value, environment))
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => Ok(()),
    }
}
