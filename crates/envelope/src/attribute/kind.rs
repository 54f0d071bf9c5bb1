//! What an envelope asks of its reader.

use std::{fmt, str::FromStr};

use super::AttributeError;

/// `kind`: what an envelope asks of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Kind {
    /// Something happened.
    #[default]
    Event,
    /// Please do this.
    Command,
    /// Please tell me.
    Query,
    /// The answer to a command or query, sent to its `replyto`.
    Reply,
}

impl Kind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Event, Self::Command, Self::Query, Self::Reply];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Command => "command",
            Self::Query => "query",
            Self::Reply => "reply",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = AttributeError;

    fn from_str(value: &str) -> Result<Self, AttributeError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == value)
            .ok_or(AttributeError::Format {
                expected: "`event`, `command`, `query` or `reply`",
            })
    }
}
