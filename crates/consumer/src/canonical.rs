//! A hash of what an event says, whatever way its JSON is written.
//!
//! The same event may come by SQS, SNS or `EventBridge`, and each may write its JSON anew. So
//! white space, the order of keys, escapes in strings and the notation of numbers do not count;
//! every digit of a number does.

use std::fmt::Write as _;

use oncebox_envelope::RawEnvelope;
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Deeper than this, JSON is compared as it is written: recursion must end somewhere.
const MAX_DEPTH: u32 = 64;

/// SHA-256 over the type, a line feed and the canonical payload.
///
/// The type belongs to it: `{"invoice_id": …}` cancelled is not the same as confirmed. Before the
/// data of a claim check has been fetched, its length and hash stand in for it, wherever it lies:
/// enough to tell copies in one batch. Dedupe records have the hash of the data itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PayloadHash([u8; 32]);

impl PayloadHash {
    pub(crate) fn of(envelope: &RawEnvelope) -> Self {
        let mut text = format!("{}\n", envelope.event_type);
        match (&envelope.data, &envelope.data_ref) {
            (Some(data), _) => write_value(data.get(), MAX_DEPTH, &mut text),
            (None, Some(data_ref)) => {
                let _ = write!(text, "dataref:{}:{}", data_ref.length(), data_ref.sha256_hex());
            }
            (None, None) => {}
        }
        Self(Sha256::digest(text).into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn write_value(raw: &str, depth: u32, out: &mut String) {
    let raw = raw.trim();
    let written = match raw.as_bytes().first() {
        _ if depth == 0 => None,
        Some(b'{') => write_object(raw, depth - 1, out),
        Some(b'[') => write_array(raw, depth - 1, out),
        Some(b'"') => serde_json::from_str::<String>(raw)
            .ok()
            .map(|text| write_string(&text, out)),
        Some(b'-' | b'0'..=b'9') => {
            write_number(raw, out);
            Some(())
        }
        _ => None,
    };
    // Literals, and what cannot be taken apart (a lone surrogate, too deep): as it is written.
    if written.is_none() {
        out.push_str(raw);
    }
}

fn write_object(raw: &str, depth: u32, out: &mut String) -> Option<()> {
    let mut members = serde_json::Deserializer::from_str(raw).deserialize_map(Members).ok()?;
    members.sort_by(|a, b| a.0.cmp(&b.0));
    out.push('{');
    for (name, value) in members {
        write_string(&name, out);
        out.push(':');
        write_value(value.get(), depth, out);
        out.push(',');
    }
    out.push('}');
    Some(())
}

fn write_array(raw: &str, depth: u32, out: &mut String) -> Option<()> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    out.push('[');
    for element in elements {
        write_value(element.get(), depth, out);
        out.push(',');
    }
    out.push(']');
    Some(())
}

/// By length, so that no escaping is needed and no text can look like structure.
fn write_string(text: &str, out: &mut String) {
    let _ = write!(out, "\"{}:{text}", text.len());
}

/// Sign, digits without zeros at either end, power of ten: `1.50`, `15e-1` and `0.15E1` are one.
fn write_number(raw: &str, out: &mut String) {
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (sign, magnitude) = match mantissa.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", mantissa),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        out.push('0');
        return;
    }
    let trailing_zeros = digits.len() - digits.trim_end_matches('0').len();
    let shift = i64::try_from(trailing_zeros)
        .ok()
        .zip(i64::try_from(fraction.len()).ok());
    let power = exponent
        .parse::<i64>()
        .ok()
        .zip(shift)
        .and_then(|(e, (zeros, fraction))| e.checked_add(zeros)?.checked_sub(fraction));
    let _ = match power {
        Some(power) => write!(out, "{sign}{significant}e{power}"),
        None => write!(out, "{raw}"),
    };
}

/// The members of an object, repeated names included.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(json: &str) -> String {
        let mut out = String::new();
        write_value(json, MAX_DEPTH, &mut out);
        out
    }

    #[test]
    fn white_space_key_order_escapes_and_notation_do_not_count() {
        for (a, b) in [
            (
                r#"{"a":1,"b":[true,null]}"#,
                " {\n\"b\" : [ true , null ], \"a\" : 1 } ",
            ),
            (r#""caf\u00e9""#, r#""café""#),
            ("1.50", "15e-1"),
            ("0.15E1", "1.5"),
            ("100", "1E+2"),
            ("-0.0", "0"),
            (r#"{"a":{"y":1,"x":2}}"#, r#"{"a":{"x":2,"y":1}}"#),
        ] {
            assert_eq!(canonical(a), canonical(b), "{a} {b}");
        }
    }

    #[test]
    fn every_digit_every_type_and_every_position_counts() {
        for (a, b) in [
            ("9007199254740993", "9007199254740992"),
            ("0.1000000000000000055", "0.1"),
            ("1", "-1"),
            ("1", "10"),
            ("1", "\"1\""),
            ("null", "\"null\""),
            ("[1,2]", "[2,1]"),
            ("[1,[2]]", "[1,2]"),
            (r#"["a","b"]"#, r#"["a\",\"b"]"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("{}", "[]"),
            ("1e99999999999999999999", "1e99999999999999999998"),
        ] {
            assert_ne!(canonical(a), canonical(b), "{a} {b}");
        }
    }

    #[test]
    fn depth_and_lone_surrogates_neither_panic_nor_vanish() {
        let deep = |leaf: &str| format!("{}{leaf}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_ne!(canonical(&deep("1")), canonical(&deep("2")));
        assert_ne!(canonical(r#"["\ud800"]"#), canonical(r#"["\ud801"]"#));
    }

    proptest! {
        #[test]
        fn any_json_written_anew_has_the_same_hash(value in json()) {
            let compact = serde_json::to_string(&value).unwrap();
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(canonical(&compact), canonical(&pretty));
        }

        #[test]
        fn two_different_values_never_share_a_form(a in json(), b in json()) {
            let same = canonical(&a.to_string()) == canonical(&b.to_string());
            prop_assert_eq!(same, a == b);
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-c:\",]{0,3}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::btree_map("[a-c]{0,2}", inner, 0..3)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }
}
