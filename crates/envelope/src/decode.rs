//! JSON → envelope: one pass that only reads, then one check per attribute.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

use crate::{
    DataRef, EnvelopeError, ExtensionName, ExtensionValue, RawEnvelope,
    attribute::{AttributeError, shape},
};

impl RawEnvelope {
    /// Decodes one envelope from structured JSON.
    ///
    /// Accepts what `CloudEvents` 1.0 allows and Oncebox can carry: `datacontenttype` absent or a
    /// JSON media type, `tenant` and `kind` absent (their defaults), unknown attributes as
    /// extensions. An optional attribute that is `null` counts as absent (`CloudEvents` JSON format
    /// §2.2).
    ///
    /// # Errors
    /// The first fault found, by attribute; see [`EnvelopeError`].
    pub fn from_json(json: &[u8]) -> Result<Self, EnvelopeError> {
        let members: Members = serde_json::from_slice(json).map_err(|e| EnvelopeError::not_json(&e))?;
        members.into_envelope()
    }

    /// Sets the optional attributes from the `headers` of an outbox row: `correlationid`,
    /// `causationid`, `replyto`, `traceparent`, `tracestate`, `expirytime`, and extensions under
    /// any other name.
    ///
    /// # Errors
    /// The first attribute that breaks its rule; the envelope may have got the ones before it.
    pub fn set_headers(&mut self, headers: impl IntoIterator<Item = (String, Value)>) -> Result<(), EnvelopeError> {
        let mut members = Members {
            attributes: headers.into_iter().collect(),
            data: None,
            duplicate: None,
        };
        self.correlation_id = members.optional("correlationid")?;
        self.causation_id = members.optional("causationid")?;
        self.reply_to = members.optional("replyto")?;
        self.trace_parent = members.optional("traceparent")?;
        self.trace_state = members.optional("tracestate")?;
        self.expiry_time = members.time("expirytime")?;
        self.extensions = extensions(members.attributes)?;
        Ok(())
    }
}

/// The members of the JSON object, unchecked but for duplicates.
struct Members {
    attributes: BTreeMap<String, Value>,
    data: Option<Box<RawValue>>,
    duplicate: Option<String>,
}

impl Members {
    fn into_envelope(mut self) -> Result<RawEnvelope, EnvelopeError> {
        if let Some(attribute) = self.duplicate {
            return Err(EnvelopeError::Duplicate { attribute });
        }
        match self.text("specversion")?.as_deref() {
            Some("1.0") => {}
            Some(_) => return Err(invalid("specversion", "`1.0`")),
            None => return Err(missing("specversion", "write `1.0`")),
        }
        if let Some(media_type) = self.text("datacontenttype")?
            && !is_json(&media_type)
        {
            return Err(invalid(
                "datacontenttype",
                "`application/json` or another JSON media type",
            ));
        }
        if self.attributes.contains_key("data_base64") {
            return Err(invalid(
                "data_base64",
                "JSON in `data` instead; binary data is not carried",
            ));
        }
        let data_ref = self.data_ref()?;
        match (&self.data, &data_ref) {
            (None, None) => return Err(missing("data", "write the payload, or `null` if there is none")),
            (Some(_), Some(_)) => return Err(invalid("data", "no data beside `dataref`, which holds it")),
            (Some(_), None) | (None, Some(_)) => {}
        }
        Ok(RawEnvelope {
            id: self.required("id", "write a UUID")?,
            source: self.required("source", "name the producer as a URI reference")?,
            event_type: self.required("type", "write dotted lower-case words and a version")?,
            time: self.time("time")?.ok_or(missing("time", "write an RFC 3339 time"))?,
            partition_key: self.optional("partitionkey")?,
            sequence: self.optional("sequence")?,
            tenant: self.optional("tenant")?.unwrap_or_default(),
            kind: self.optional("kind")?.unwrap_or_default(),
            correlation_id: self.optional("correlationid")?,
            causation_id: self.optional("causationid")?,
            reply_to: self.optional("replyto")?,
            trace_parent: self.optional("traceparent")?,
            trace_state: self.optional("tracestate")?,
            expiry_time: self.time("expirytime")?,
            data_ref,
            data: self.data,
            extensions: extensions(self.attributes)?,
        })
    }

    /// Takes the three attributes of a claim check, which stand together.
    fn data_ref(&mut self) -> Result<Option<DataRef>, EnvelopeError> {
        let uri = self.text("dataref")?;
        let length = self.attributes.remove("datalength").filter(|value| !value.is_null());
        let sha256 = self.text("datasha256")?;
        match (uri, length, sha256) {
            (None, None, None) => Ok(None),
            (Some(uri), Some(length), Some(sha256)) => DataRef::from_wire(uri, &length, &sha256).map(Some),
            (None, ..) => Err(missing(
                "dataref",
                "`datalength` and `datasha256` say nothing without it",
            )),
            (_, None, _) => Err(missing("datalength", "write how many bytes of data `dataref` holds")),
            (.., None) => Err(missing("datasha256", "write the hash of the data that `dataref` holds")),
        }
    }

    /// Takes a string attribute; `null` counts as absent.
    fn text(&mut self, name: &'static str) -> Result<Option<String>, EnvelopeError> {
        match self.attributes.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(EnvelopeError::invalid(
                name,
                AttributeError::Shape {
                    expected: "a string",
                    found: shape(&other),
                },
            )),
        }
    }

    fn optional<A: FromStr<Err = AttributeError>>(&mut self, name: &'static str) -> Result<Option<A>, EnvelopeError> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|reason| EnvelopeError::invalid(name, reason)))
            .transpose()
    }

    fn required<A: FromStr<Err = AttributeError>>(
        &mut self,
        name: &'static str,
        fix: &'static str,
    ) -> Result<A, EnvelopeError> {
        self.optional(name)?.ok_or(missing(name, fix))
    }

    fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, EnvelopeError> {
        let text = self.text(name)?;
        text.map(|text| parse_time(&text).ok_or(invalid(name, "an RFC 3339 time with an offset")))
            .transpose()
    }
}

fn extensions(attributes: BTreeMap<String, Value>) -> Result<BTreeMap<ExtensionName, ExtensionValue>, EnvelopeError> {
    attributes
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| {
            let wrong = |reason| EnvelopeError::invalid(shorten(&name), reason);
            let value = ExtensionValue::from_json(&value).map_err(wrong)?;
            let name = ExtensionName::new(name.as_str()).map_err(wrong)?;
            Ok((name, value))
        })
        .collect()
}

/// RFC 3339 is narrower than what jiff reads (ISO 8601, RFC 9557 annotations). Leap seconds and the
/// year 0, which Postgres does not have, are refused rather than changed; so are offsets of 16 hours
/// and more, which Postgres does not take.
fn parse_time(text: &str) -> Option<Timestamp> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
    let offset = match rest.strip_prefix('.') {
        Some(rest) => {
            let (fraction, offset) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
            if !(1..=9).contains(&fraction.len()) {
                return None;
            }
            offset
        }
        None => rest,
    };
    let is_date = date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]) && date.split('-').all(is_digits);
    let is_time = time.split(':').map(str::len).eq([2, 2, 2]) && time.split(':').all(is_digits);
    let is_offset = match offset.strip_prefix(['+', '-']) {
        Some(offset) => offset.split(':').map(str::len).eq([2, 2]) && offset.split(':').all(is_digits) && offset < "16",
        None => matches!(offset, "Z" | "z"),
    };
    let is_carried = !date.starts_with("0000") && !time.ends_with("60");
    if is_date && is_time && is_offset && is_carried {
        text.parse().ok()
    } else {
        None
    }
}

/// A media type without parameters is JSON when its subtype is `json` or ends in `+json`
/// (`CloudEvents` JSON format §3.1).
fn is_json(media_type: &str) -> bool {
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence
        .split_once('/')
        .is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

fn missing(attribute: &'static str, fix: &'static str) -> EnvelopeError {
    EnvelopeError::Missing { attribute, fix }
}

fn invalid(attribute: &'static str, expected: &'static str) -> EnvelopeError {
    EnvelopeError::invalid(attribute, AttributeError::Format { expected })
}

/// A name from the input, short enough for an error message.
fn shorten(name: &str) -> String {
    let printable = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    printable.take(40).collect()
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an envelope as a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Members {
                    attributes: BTreeMap::new(),
                    data: None,
                    duplicate: None,
                };
                let mut has_data = false;
                while let Some(name) = map.next_key::<String>()? {
                    let is_repeated = if name == "data" {
                        members.data = Some(map.next_value()?);
                        std::mem::replace(&mut has_data, true)
                    } else {
                        members.attributes.insert(name.clone(), map.next_value()?).is_some()
                    };
                    if is_repeated {
                        members.duplicate.get_or_insert(shorten(&name));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}
