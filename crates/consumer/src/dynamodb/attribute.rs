//! Values and keys of items.

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

/// The value of an attribute, from a string, an integer, a boolean, a UUID (as a string), bytes,
/// or the SDK's own type.
#[derive(Clone, PartialEq)]
pub struct Attribute(pub(crate) AttributeValue);

impl From<AttributeValue> for Attribute {
    fn from(value: AttributeValue) -> Self {
        Self(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self(AttributeValue::S(value.to_owned()))
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self(AttributeValue::S(value))
    }
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Self(AttributeValue::Bool(value))
    }
}

impl From<Uuid> for Attribute {
    fn from(value: Uuid) -> Self {
        Self(AttributeValue::S(value.as_hyphenated().to_string()))
    }
}

impl From<Vec<u8>> for Attribute {
    fn from(value: Vec<u8>) -> Self {
        Self(AttributeValue::B(value.into()))
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Attribute {
            fn from(value: $integer) -> Self {
                Self(AttributeValue::N(value.to_string()))
            }
        }
    )*};
}
from_integers!(i32, i64, u32, u64);

/// The primary key of an item: a partition key and, where the table has one, a sort key.
#[derive(Clone, PartialEq)]
pub struct Key {
    pub(crate) parts: Vec<(String, Attribute)>,
}

impl Key {
    /// A key of one attribute, or the first part of one.
    pub fn new(name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        Self {
            parts: vec![(name.into(), value.into())],
        }
    }

    /// The same with a sort key.
    #[must_use]
    pub fn sort(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.parts.truncate(1);
        self.parts.push((name.into(), value.into()));
        self
    }
}

/// Bytes that DynamoDB counts for a value (Developer Guide, "DynamoDB item sizes and formats").
pub(crate) fn size_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        // About one byte for two digits, one for the sign and the exponent: counted as written.
        AttributeValue::N(digits) => digits.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        AttributeValue::Ss(texts) | AttributeValue::Ns(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::Bs(blobs) => blobs.iter().map(|bytes| bytes.as_ref().len()).sum(),
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + size_bytes(value)).sum::<usize>(),
        AttributeValue::M(values) => {
            let members = values.iter().map(|(name, value)| 1 + name.len() + size_bytes(value));
            3 + members.sum::<usize>()
        }
        _ => 0,
    }
}
