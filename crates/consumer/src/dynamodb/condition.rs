//! Conditions, and how they are written as expressions.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attribute::{Attribute, size_bytes};

/// What must hold for an effect to be written. Attributes are top-level ones, by name.
#[derive(Clone, PartialEq)]
pub struct Condition(pub(crate) Test);

/// A condition as a tree.
#[derive(Clone, PartialEq)]
pub(crate) enum Test {
    Exists(String),
    Absent(String),
    Compare(String, &'static str, Attribute),
    Both(Box<Test>, Box<Test>),
    Either(Box<Test>, Box<Test>),
}

impl Condition {
    /// The attribute is there. With the name of the key: the item is there.
    pub fn exists(name: impl Into<String>) -> Self {
        Self(Test::Exists(name.into()))
    }

    /// The attribute is not there. With the name of the key: the item is not there.
    pub fn absent(name: impl Into<String>) -> Self {
        Self(Test::Absent(name.into()))
    }

    /// The attribute is there and equal.
    pub fn equals(name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        Self(Test::Compare(name.into(), "=", value.into()))
    }

    /// The attribute is absent or different.
    pub fn differs(name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        Self(Test::Compare(name.into(), "<>", value.into()))
    }

    /// The attribute is there, of the same type and not less.
    pub fn at_least(name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        Self(Test::Compare(name.into(), ">=", value.into()))
    }

    /// The attribute is there, of the same type and less.
    pub fn less_than(name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        Self(Test::Compare(name.into(), "<", value.into()))
    }

    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(Test::Both(Box::new(self.0), Box::new(other.0)))
    }

    /// One of them holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(Test::Either(Box::new(self.0), Box::new(other.0)))
    }

    pub(crate) fn write(&self, expression: &mut Expression) -> String {
        self.0.write(expression)
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

impl Test {
    fn write(&self, expression: &mut Expression) -> String {
        match self {
            Self::Exists(name) => format!("attribute_exists({})", expression.name(name)),
            Self::Absent(name) => format!("attribute_not_exists({})", expression.name(name)),
            Self::Compare(name, operator, value) => {
                let name = expression.name(name);
                format!("{name} {operator} {}", expression.value(value))
            }
            Self::Both(a, b) => format!("({}) AND ({})", a.write(expression), b.write(expression)),
            Self::Either(a, b) => format!("({}) OR ({})", a.write(expression), b.write(expression)),
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Exists(name) | Self::Absent(name) => name.len(),
            Self::Compare(name, _, value) => name.len() + size_bytes(&value.0),
            Self::Both(a, b) | Self::Either(a, b) => a.size_bytes() + b.size_bytes(),
        }
    }
}

/// The names and values of an expression.
///
/// Always by placeholder: half of the natural names (`status`, `name`, `ttl`) are reserved words,
/// and no value can be taken for syntax.
#[derive(Default)]
pub(crate) struct Expression {
    names: Names,
    values: Values,
}

/// Placeholder → the name of an attribute.
type Names = HashMap<String, String>;
/// Placeholder → a value.
type Values = HashMap<String, AttributeValue>;

impl Expression {
    pub(crate) fn name(&mut self, name: &str) -> String {
        let known = self.names.iter().find(|(_, known)| *known == name);
        if let Some((placeholder, _)) = known {
            return placeholder.clone();
        }
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    pub(crate) fn value(&mut self, value: &Attribute) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.0.clone());
        placeholder
    }

    /// DynamoDB refuses maps that are empty.
    pub(crate) fn into_maps(self) -> (Option<Names>, Option<Values>) {
        let names = Some(self.names).filter(|names| !names.is_empty());
        let values = Some(self.values).filter(|values| !values.is_empty());
        (names, values)
    }
}
