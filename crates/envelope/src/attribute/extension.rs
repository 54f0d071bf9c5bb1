//! Attributes of somebody else's: carried along, not interpreted.

use std::{fmt, str::FromStr};

use super::{AttributeError, check_text};

/// Names that mean something here and so cannot be an extension.
pub(crate) const RESERVED: [&str; 21] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "datacontenttype",
    "data",
    "data_base64",
    "partitionkey",
    "sequence",
    "tenant",
    "kind",
    "correlationid",
    "causationid",
    "replyto",
    "traceparent",
    "tracestate",
    "expirytime",
    "dataref",
    "datalength",
    "datasha256",
];

/// The name of an extension attribute: 1 to 20 lower-case letters and digits (`CloudEvents` 1.0
/// §3.1), none of the names that the envelope itself uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtensionName(String);

impl ExtensionName {
    /// Validates and wraps a name.
    ///
    /// # Errors
    /// The name is not of the form, or is one of the envelope's own.
    pub fn new(name: impl Into<String>) -> Result<Self, AttributeError> {
        let name = name.into();
        let form = (1..=20).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if form && !RESERVED.contains(&name.as_str()) {
            Ok(Self(name))
        } else {
            Err(AttributeError::Format {
                expected: "a name of 1 to 20 lower-case letters and digits that the envelope does not use itself",
            })
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExtensionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ExtensionName {
    type Err = AttributeError;
    fn from_str(name: &str) -> Result<Self, AttributeError> {
        Self::new(name)
    }
}

/// The value of an extension attribute: the JSON forms that `CloudEvents` 1.0 §3.1.1 allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtensionValue {
    /// A boolean.
    Boolean(bool),
    /// A 32-bit integer.
    Integer(i32),
    /// A string of at most [`ExtensionValue::MAX_BYTES`].
    String(String),
}

impl ExtensionValue {
    /// Most bytes of UTF-8 that a string value may have.
    pub const MAX_BYTES: usize = 2_048;

    pub(crate) fn from_json(value: &serde_json::Value) -> Result<Self, AttributeError> {
        use serde_json::Value;
        match value {
            Value::Bool(value) => Ok(Self::Boolean(*value)),
            Value::String(value) => {
                check_text(value, Self::MAX_BYTES)?;
                Ok(Self::String(value.clone()))
            }
            Value::Number(number) => match number.as_i64().map(i32::try_from) {
                Some(Ok(value)) => Ok(Self::Integer(value)),
                _ => Err(AttributeError::Format {
                    expected: "a string, a boolean or a 32-bit integer",
                }),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => Err(AttributeError::Shape {
                expected: "a string, a boolean or a 32-bit integer",
                found: super::shape(value),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_cannot_take_a_name_of_the_envelope() {
        for bad in RESERVED
            .into_iter()
            .chain(["", "Upper", "has-dash", "a23456789012345678901"])
        {
            assert!(ExtensionName::new(bad).is_err(), "{bad}");
        }
        assert!(ExtensionName::new("a2345678901234567890").is_ok());
    }
}
