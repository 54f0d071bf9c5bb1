//! The value that stands at a key, for a message that says that it is wrong.

use toml::{Table, Value};

/// Longest value that a message repeats, in characters.
const LONGEST: usize = 100;

/// The value at `key` of the file as it is written, if it may be shown: a number, a boolean, or a short
/// text. Never one that came from the environment, the database's URL, or what looks like a URL: a secret
/// may stand at the wrong key.
pub(super) fn found(file: &Table, key: &str) -> Option<String> {
    if key.starts_with("database") && key != "database.tls" {
        return None;
    }
    let mut steps = key.split('.');
    let mut value = step(file, steps.next()?)?;
    for name in steps {
        value = step(value.as_table()?, name)?;
    }
    match value {
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        Value::String(text) => is_harmless(text).then(|| format!("`{text}`")),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// What stands at `name`, or at `name[3]`.
fn step<'a>(table: &'a Table, name: &str) -> Option<&'a Value> {
    let Some((name, index)) = name.split_once('[') else {
        return table.get(name);
    };
    let index: usize = index.strip_suffix(']')?.parse().ok()?;
    table.get(name)?.as_array()?.get(index)
}

fn is_harmless(text: &str) -> bool {
    text.len() <= LONGEST
        && !text.starts_with("env:")
        && !text.contains("://")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " ._*?!:/-[]".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_no_secret() {
        let file: Table = toml::from_str(
            "lease_secs = 301\n[database]\nurl = \"word\"\ntls = \"sure\"\n[[sink]]\nname = \"env:X\"\n[[sink]]\nname = \"Tap!\"\n\
             match = { type = [\"a\", \"B\"] }\nsqs = { queue = \"https://h/q\" }\nmax_window = true\nstart = \"a@b\"",
        )
        .unwrap();
        for (key, expected) in [
            ("lease_secs", Some("301")),
            ("database.url", None),
            ("database", None),
            ("database.tls", Some("`sure`")),
            ("sink[0].name", None),
            ("sink[1].name", Some("`Tap!`")),
            ("sink[1].match.type[1]", Some("`B`")),
            ("sink[1].match.type", None),
            ("sink[1].sqs.queue", None),
            ("sink[1].max_window", Some("true")),
            ("sink[1].start", None),
            ("sink[2].name", None),
            ("sink[x].name", None),
            ("", None),
        ] {
            assert_eq!(found(&file, key).as_deref(), expected, "{key}");
        }
    }
}
