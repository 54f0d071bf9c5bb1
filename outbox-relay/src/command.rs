//! The subcommands, and what their exit codes mean.

pub mod arguments;
pub mod check;
pub mod connection;
pub mod cursor;
pub mod health;
pub mod migrate;
mod newcomers;
pub mod output;
pub mod parked;
pub mod replay;
pub mod run;
mod sinks;
pub mod status;
mod table;

use std::{fmt, process::ExitCode};

use oncebox_command::Unconfirmed;

/// Why a command failed, with the exit code that says so to a script.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    error: anyhow::Error,
}

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// 1: it began and could not go on.
    Runtime,
    /// 2: wrong usage or configuration, a missing target included.
    Usage,
    /// 3: the database cannot be reached or lacks the schema.
    Database,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: FailureKind, error: impl Into<anyhow::Error>) -> Self {
        Self {
            kind,
            error: error.into(),
        }
    }

    /// A statement failed: what stands in the way and what to do, where that is known.
    pub(crate) fn of_database(error: sqlx::Error) -> Self {
        let (code, said) = match &error {
            sqlx::Error::Database(database) => (
                database.code().map(std::borrow::Cow::into_owned),
                database.message().to_owned(),
            ),
            other => (None, other.to_string()),
        };
        let hint = match code.as_deref() {
            Some("55P03") => "; somebody has held a lock for 10 s: see pg_locks, then try again",
            Some("40001" | "40P01") => "; somebody changed the same rows at the same time: try again",
            Some("42501") => "; run this with a role that has the rights listed in docs/OPERATIONS.md",
            Some("25006") => "; this database is read-only: use the primary",
            _ => "",
        };
        Self::new(FailureKind::Runtime, anyhow::anyhow!("the database says: {said}{hint}"))
    }

    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            FailureKind::Runtime => 1,
            FailureKind::Usage => 2,
            FailureKind::Database => 3,
        })
    }
}

impl From<Unconfirmed> for Failure {
    fn from(unconfirmed: Unconfirmed) -> Self {
        let kind = match unconfirmed {
            Unconfirmed::NobodyToAsk => FailureKind::Usage,
            Unconfirmed::Refused | Unconfirmed::Unread(_) => FailureKind::Runtime,
        };
        Self::new(kind, unconfirmed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The chain on one line: a log line can be read alone.
        write!(f, "{:#}", self.error)
    }
}
