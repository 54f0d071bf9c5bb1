//! Who an event is and where it stands: its id and its place within its key.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::AttributeError;

/// `id`: the only identity that anything deduplicates on.
///
/// Made at enqueue as a `UUIDv7`; a caller may bring its own UUID of any version. Written in the
/// hyphenated lower-case form, the only one accepted, so that equal ids are equal strings too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// A new `UUIDv7` from the system's clock and random source.
    #[must_use]
    pub fn now_v7() -> Self {
        Self(Uuid::now_v7())
    }

    /// The UUID.
    #[must_use]
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<EventId> for Uuid {
    fn from(id: EventId) -> Self {
        id.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for EventId {
    type Err = AttributeError;

    fn from_str(value: &str) -> Result<Self, AttributeError> {
        let fault = AttributeError::Format {
            expected: "a UUID in lower-case hyphenated form",
        };
        match Uuid::try_parse(value) {
            Ok(id) if id.as_hyphenated().to_string() == value => Ok(Self(id)),
            _ => Err(fault),
        }
    }
}

/// `sequence`: position within the key, from 1, gapless; on the wire 20 digits with leading zeros.
///
/// `CloudEvents`' `sequence` extension compares as a string, hence the padding. At most
/// `i64::MAX`, since Postgres keeps it in a `bigint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(i64);

impl Sequence {
    /// The first position of every key.
    pub const FIRST: Self = Self(1);
    const DIGITS: usize = 20;

    /// Wraps a position.
    ///
    /// # Errors
    /// The position is below 1.
    pub fn new(position: i64) -> Result<Self, AttributeError> {
        if position >= 1 {
            Ok(Self(position))
        } else {
            Err(AttributeError::Format {
                expected: "a position of at least 1",
            })
        }
    }

    /// The position as a number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    /// The position after this one; `None` past `i64::MAX`.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$}", self.0, width = Self::DIGITS)
    }
}

impl FromStr for Sequence {
    type Err = AttributeError;

    fn from_str(value: &str) -> Result<Self, AttributeError> {
        let digits = value.len() == Self::DIGITS && value.bytes().all(|b| b.is_ascii_digit());
        match value.parse::<i64>() {
            Ok(position) if digits && position >= 1 => Ok(Self(position)),
            _ => Err(AttributeError::Format {
                expected: "a position from 1 to 9223372036854775807, zero-padded to 20 digits",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_written_with_twenty_digits_and_read_only_so() {
        assert_eq!(Sequence::FIRST.to_string(), "00000000000000000001");
        let last = "09223372036854775807".parse::<Sequence>().unwrap();
        assert_eq!((last.get(), last.next()), (i64::MAX, None));
        for bad in [
            "1",
            "00000000000000000000",
            "09223372036854775808",
            "+0000000000000000001",
            "",
        ] {
            assert!(bad.parse::<Sequence>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        assert_eq!(id.parse::<EventId>().unwrap().to_string(), id);
        let no_hyphens = id.replace('-', "");
        for bad in [
            id.to_uppercase().as_str(),
            no_hyphens.as_str(),
            &format!("{{{id}}}"),
            "x",
        ] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
