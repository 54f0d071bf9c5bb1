//! The attributes that are strings.

use std::{fmt, str::FromStr};

use super::{AttributeError, check_text};

macro_rules! text_attribute {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Most bytes of UTF-8 that the attribute may have.
            pub const MAX_BYTES: usize = $max;

            /// Validates and wraps a value.
            ///
            /// # Errors
            /// The rule that the value breaks.
            pub fn new(value: impl Into<String>) -> Result<Self, AttributeError> {
                let value = value.into();
                check_text(&value, Self::MAX_BYTES)?;
                $check(&value)?;
                Ok(Self(value))
            }

            /// The value.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = AttributeError;
            fn from_str(value: &str) -> Result<Self, AttributeError> {
                Self::new(value)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_attribute!(
    /// `type`: dotted lower-case words and a major version, such as `invoice.created.v1`.
    ///
    /// At most 128 bytes, as `EventBridge`'s `DetailType`.
    EventType,
    128,
    check_event_type
);
text_attribute!(
    /// `source`: who says so, a URI reference; at most 256 bytes, as `EventBridge`'s `Source`.
    Source,
    256,
    check_uri
);
text_attribute!(
    /// `partitionkey`: the ordering key, usually an aggregate's id.
    PartitionKey,
    2_048,
    any
);
text_attribute!(
    /// `tenant`: the unit of isolation and fairness.
    Tenant,
    128,
    any
);
text_attribute!(
    /// Any other string attribute (`correlationid`, `causationid`, `replyto`, `tracestate`).
    Text,
    2_048,
    any
);
text_attribute!(
    /// `traceparent`: W3C Trace Context §3.2, `version-traceid-parentid-flags` in lower-case hex.
    TraceParent,
    55,
    check_trace_parent
);

impl EventType {
    /// The type without its version, and the version: `invoice.created.v1` → (`invoice.created`, 1).
    #[must_use]
    pub fn name_and_version(&self) -> (&str, u32) {
        self.0
            .rsplit_once(".v")
            .and_then(|(name, version)| Some((name, version.parse().ok()?)))
            .unwrap_or((&self.0, 0))
    }
}

impl Tenant {
    /// The tenant of whoever names none.
    pub const DEFAULT: &'static str = "default";
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that the macro asks of a check")]
fn any(_: &str) -> Result<(), AttributeError> {
    Ok(())
}

/// RFC 3986 §2: a URI reference is ASCII without white space; the rest is percent-encoded.
fn check_uri(value: &str) -> Result<(), AttributeError> {
    let fault = AttributeError::Format {
        expected: "a URI reference: ASCII characters without white space",
    };
    if value.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(fault)
    }
}

fn check_event_type(value: &str) -> Result<(), AttributeError> {
    let fault = AttributeError::Format {
        expected: "dotted lower-case words and a major version from 1 to 99999, like `invoice.created.v1`",
    };
    let Some((name, version)) = value.rsplit_once(".v") else {
        return Err(fault);
    };
    let version_is_right =
        (1..=5).contains(&version.len()) && !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
    let word = |w: &str| {
        w.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && w.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    if version_is_right && name.split('.').all(word) {
        Ok(())
    } else {
        Err(fault)
    }
}

fn check_trace_parent(value: &str) -> Result<(), AttributeError> {
    let fault = AttributeError::Format {
        expected: "W3C traceparent: 2-32-16-2 lower-case hex digits, no id all zero, version not ff",
    };
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let set = |s: &str| s.bytes().any(|b| b != b'0');
    let parts: Vec<&str> = value.split('-').collect();
    match parts.as_slice() {
        [version, trace, parent, flags]
            if version.len() == 2
                && *version != "ff"
                && trace.len() == 32
                && parent.len() == 16
                && flags.len() == 2
                && parts.iter().all(|p| hex(p))
                && set(trace)
                && set(parent) =>
        {
            Ok(())
        }
        _ => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_type_ends_in_its_major_version() {
        for good in ["invoice.created.v1", "a.v99999", "x-y_z.0.v12"] {
            assert!(EventType::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "invoice",
            "invoice.created",
            "invoice.v0",
            "invoice.v01",
            "Invoice.v1",
            ".v1",
            "a..b.v1",
            "a.b.v",
            "a b.v1",
            "a.v1 ",
            "a.v100000",
            "a.v-1",
            "-a.v1",
            "a.v1.x",
        ] {
            assert!(EventType::new(bad).is_err(), "{bad}");
        }
        assert_eq!(
            EventType::new("invoice.created.v12").unwrap().name_and_version(),
            ("invoice.created", 12)
        );
    }

    #[test]
    fn lengths_are_counted_in_bytes_and_the_limit_itself_is_allowed() {
        assert!(PartitionKey::new("é".repeat(1_024)).is_ok());
        assert_eq!(
            PartitionKey::new("é".repeat(1_024) + "x"),
            Err(AttributeError::TooLong {
                found: 2_049,
                max: 2_048
            })
        );
        assert_eq!(Tenant::new(""), Err(AttributeError::Empty));
    }

    #[test]
    fn control_characters_and_noncharacters_are_named_by_position() {
        assert_eq!(Tenant::new("a\u{0}"), Err(AttributeError::Character { at: 1 }));
        assert_eq!(Tenant::new("\u{fdd0}"), Err(AttributeError::Character { at: 0 }));
        assert_eq!(Tenant::new("ab\u{1fffe}"), Err(AttributeError::Character { at: 2 }));
        assert!(Tenant::new("naïve 名前 👍").is_ok());
    }

    #[test]
    fn a_trace_parent_is_checked_part_by_part() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(TraceParent::new(good).is_ok());
        for bad in [
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert!(TraceParent::new(bad).is_err(), "{bad}");
        }
    }
}
