//! Typed events and their schemas.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

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
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => "$".to_owned(),
            path => format!("$.{path}"),
        };
        EnvelopeError::Data {
            event_type: E::TYPE.to_owned(),
            path,
            problem: describe(error.inner()),
        }
    })
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
            let expected = said
                .split_once(", expected ")
                .map(|(_, expected)| expected.split(" at line ").next().unwrap_or(expected));
            match expected {
                Some(expected) => format!("expected {expected}"),
                None => "the value is not allowed here".to_owned(),
            }
        }
        (Category::Eof | Category::Syntax | Category::Io, _) => "the JSON ends early or nests too deep".to_owned(),
    }
}
