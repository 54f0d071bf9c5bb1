//! The subcommands, and what their exit codes mean.

pub mod health;
pub mod migrate;
pub mod run;

use std::{fmt, process::ExitCode};

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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The chain on one line: a log line can be read alone.
        write!(f, "{:#}", self.error)
    }
}
