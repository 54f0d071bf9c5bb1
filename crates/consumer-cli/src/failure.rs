//! Why a command failed, with the exit code that says so to a script.

use std::{fmt, process::ExitCode};

use oncebox_command::Unconfirmed;
use oncebox_consumer::operator::OperatorError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    error: anyhow::Error,
}

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// 1: it could not be done, or was refused.
    Runtime,
    /// 2: wrong usage.
    Usage,
    /// 3: the table cannot be reached, read or written.
    Table,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, error: impl Into<anyhow::Error>) -> Self {
        Self {
            kind,
            error: error.into(),
        }
    }

    pub(crate) fn refused(problem: impl Into<String>) -> Self {
        Self::new(FailureKind::Runtime, anyhow::anyhow!(problem.into()))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            FailureKind::Runtime => 1,
            FailureKind::Usage => 2,
            FailureKind::Table => 3,
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

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        match &error {
            OperatorError::Table { why, .. } => {
                let hint = match why.as_str() {
                    "ResourceNotFoundException" => "; there is no such table in this account and region",
                    "AccessDeniedException" => "; docs/OPERATIONS.md lists the rights that this needs",
                    "ValidationException" => "; its key is not the one that docs/OPERATIONS.md tells",
                    "no connection" | "timeout" | "request not sent" => {
                        "; see AWS_REGION, AWS_ENDPOINT_URL and the network"
                    }
                    _ => "",
                };
                Self::new(FailureKind::Table, anyhow::anyhow!("{error}{hint}"))
            }
            OperatorError::Unknown { .. } => Self::new(FailureKind::Table, error),
            _ => Self::new(FailureKind::Runtime, error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The chain on one line: a log line can be read alone.
        write!(f, "{:#}", self.error)
    }
}
