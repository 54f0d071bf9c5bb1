//! Typed events and their schemas.

use std::collections::HashSet;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use serde_path_to_error::{Path, Segment};

use crate::{EnvelopeError, Kind};

/// A type that can be the data of an envelope.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct InvoiceCreated {
///     invoice_id: String,
/// }
/// impl oncebox_envelope::Event for InvoiceCreated {
///     const TYPE: &'static str = "invoice.created.v1";
/// }
/// ```
pub trait Event: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The envelope's `type`: dotted lower-case words and the major version.
    const TYPE: &'static str;
    /// The envelope's `kind`.
    const KIND: Kind = Kind::Event;
}

/// The JSON Schema (draft 2020-12) of an event's data, as deserialization accepts it.
///
/// Keep it as a snapshot beside the type: a published schema only ever gains optional fields; any
/// other change is a new major version, that is a new `TYPE`.
#[must_use]
pub fn schema_of<E: Event>() -> Schema {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<E>();
    schema.insert("$id".to_owned(), format!("urn:oncebox:event:{}", E::TYPE).into());
    schema
}

pub(crate) fn read_data<E: Event>(raw: &RawValue) -> Result<E, EnvelopeError> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| EnvelopeError::Data {
        event_type: E::TYPE.to_owned(),
        path: path_of::<E>(error.path()),
        problem: describe(error.inner()),
    })
}

/// Where in the data; a name that the type does not have, such as a map's key, may be what somebody sent: it is `*`.
fn path_of<E: Event>(path: &Path) -> String {
    let schema = schema_of::<E>();
    let mut names = HashSet::new();
    collect_names(schema.as_value(), &mut names);
    let mut told = "$".to_owned();
    for segment in path {
        match segment {
            Segment::Seq { index } => told.push_str(&format!("[{index}]")),
            Segment::Map { key: name } | Segment::Enum { variant: name } if names.contains(name.as_str()) => {
                told.push('.');
                told.push_str(name);
            }
            Segment::Map { .. } | Segment::Enum { .. } => told.push_str(".*"),
            Segment::Unknown => told.push_str(".?"),
        }
    }
    told
}

/// The names of all properties in a schema, which are those of fields and of variants with data.
fn collect_names<'a>(schema: &'a Value, names: &mut HashSet<&'a str>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                names.extend(properties.keys().map(String::as_str));
            }
            object.values().for_each(|value| collect_names(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_names(value, names)),
        _ => {}
    }
}

/// What serde says of a fault may quote the value, so only the part that cannot is passed on.
fn describe(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let said = error.to_string();
    let names_a_field = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find(|prefix| said.starts_with(**prefix) && !said.starts_with("unknown field"));
    match (error.classify(), names_a_field) {
        (Category::Data, Some(prefix)) => {
            let rest = &said[prefix.len()..];
            let name = rest.split('`').next().unwrap_or_default();
            format!("{prefix}{name}`")
        }
        (Category::Data, None) => {
            // What was found is quoted before it, and may say anything.
            let expected = said
                .rsplit_once(", expected ")
                .map(|(_, expected)| expected.split(" at line ").next().unwrap_or(expected));
            match expected {
                Some(expected) => format!("expected {expected}"),
                None => "the value is not allowed here".to_owned(),
            }
        }
        (Category::Eof | Category::Syntax | Category::Io, _) => "the JSON ends early or nests too deep".to_owned(),
    }
}
