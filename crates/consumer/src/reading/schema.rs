//! Data against the JSON Schema of its event type.

use std::collections::{BTreeSet, HashMap};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind, paths::LocationSegment};
use oncebox_envelope::{Event, RawEnvelope, schema_of};
use serde_json::Value;

use crate::{
    failure::{Failure, Reason},
    start_error::StartError,
};

/// The schemas by event type, compiled once. Empty: nothing is checked.
#[derive(Default)]
pub(crate) struct Schemas(HashMap<&'static str, Compiled>);

struct Compiled {
    validator: Validator,
    /// Names that stand in the schema and may be shown; any other name is the sender's and may be a
    /// value (`{"balances": {"alice@example.org": 1}}`).
    names: BTreeSet<String>,
}

/// An event type, and how its schema is made.
pub(crate) type Document = (&'static str, fn() -> Value);

/// The schema of an event type, as JSON.
pub(crate) fn document<E: Event>() -> Value {
    schema_of::<E>().to_value()
}

impl Schemas {
    /// # Errors
    /// [`StartError::Schema`] when a schema cannot be compiled.
    pub(crate) fn compile(documents: impl IntoIterator<Item = Document>) -> Result<Self, StartError> {
        let compile = |(event_type, document): Document| {
            let document = document();
            let validator = jsonschema::draft202012::new(&document).map_err(|_| StartError::Schema {
                event_type: event_type.to_owned(),
            })?;
            let mut names = BTreeSet::new();
            collect_names(&document, &mut names);
            Ok((event_type, Compiled { validator, names }))
        };
        documents.into_iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Data that is not there has nothing to check; whoever reads it finds that out.
    pub(crate) fn check(&self, event: &RawEnvelope) -> Result<(), Failure> {
        let (Some(compiled), Some(data)) = (self.0.get(event.event_type.as_str()), &event.data) else {
            return Ok(());
        };
        let wrong = |what: String| {
            let text = format!("data does not match the schema of `{}` at {what}", event.event_type);
            Err(Failure::permanent(Reason::WrongSchema, text))
        };
        let Ok(data) = serde_json::from_str::<Value>(data.get()) else {
            return wrong("`$`: it nests too deep".to_owned());
        };
        match compiled.validator.validate(&data) {
            Ok(()) => Ok(()),
            Err(error) => wrong(compiled.describe(&error)),
        }
    }
}

impl Compiled {
    /// Path, rule and where the rule stands; what the crate itself says would quote the value.
    fn describe(&self, error: &ValidationError<'_>) -> String {
        let mut path = "$".to_owned();
        for segment in error.instance_path() {
            match segment {
                LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
                LocationSegment::Property(name) if self.names.contains(name.as_ref()) => {
                    path.push('.');
                    path.push_str(&name);
                }
                LocationSegment::Property(_) => path.push_str(".*"),
            }
        }
        let kind = error.kind();
        let rule = match kind {
            ValidationErrorKind::Required { property } => format!("missing field {property}"),
            other => format!("breaks `{}`", other.keyword()),
        };
        format!("`{path}`: {rule} (schema `{}`)", error.schema_path())
    }
}

/// The names of all `properties` anywhere in a schema.
fn collect_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                names.extend(properties.keys().cloned());
            }
            members.values().for_each(|value| collect_names(value, names));
        }
        Value::Array(elements) => elements.iter().for_each(|value| collect_names(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
