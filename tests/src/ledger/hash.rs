//! What is kept of a payload: enough to see that it was altered.

use std::{fmt, str::FromStr};

use anyhow::{Context, Error, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a payload. Its text is 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadHash([u8; 32]);

impl PayloadHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of a JSON value, whatever the order of its members was in its text. Numbers count as they are
    /// written: a payload with fractions may come out of a database in another form.
    #[must_use]
    pub fn of_json(value: &Value) -> Self {
        let mut text = String::new();
        write_sorted(value, &mut text);
        Self::of(text.as_bytes())
    }
}

impl fmt::Display for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for PayloadHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        ensure!(
            text.len() == 64 && text.is_ascii(),
            "a payload's hash has 64 hex digits"
        );
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).context("64 digits")?;
            *byte = u8::from_str_radix(digits, 16).context("a payload's hash has hex digits")?;
        }
        Ok(Self(hash))
    }
}

fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (name, member) in sorted {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_sorted(member, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(entries) => {
            text.push('[');
            for entry in entries {
                write_sorted(entry, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}
