//! What a Postgres error means, without what it quotes.

use sqlx::Error;

use crate::failure::HandlerError;

/// Retryable: a lost connection, a deadlock and a missing right all pass, and what never does ends
/// in the dead-letter queue by the queue's redrive policy. A handler that knows better says
/// [`HandlerError::permanent`].
impl From<Error> for HandlerError {
    fn from(error: Error) -> Self {
        Self::retryable(describe(&error))
    }
}

/// The SQLSTATE and the names of what it is about. The message itself may quote a row.
pub(crate) fn describe(error: &Error) -> String {
    match error {
        Error::Database(refused) => {
            let code = refused.code().unwrap_or_default();
            let constraint = refused.constraint().map(|name| format!(" on constraint `{name}`"));
            format!(
                "postgres error {code}{}{}",
                meaning(&code)
                    .map(|meaning| format!(" ({meaning})"))
                    .unwrap_or_default(),
                constraint.unwrap_or_default()
            )
        }
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => {
            "the connection to postgres broke".to_owned()
        }
        Error::PoolTimedOut | Error::PoolClosed => "no connection to postgres was free".to_owned(),
        Error::RowNotFound => "a row that the query asks for is not there".to_owned(),
        _ => "the query and what it returns do not fit together".to_owned(),
    }
}

/// The codes that people meet (PostgreSQL documentation, appendix A).
fn meaning(code: &str) -> Option<&'static str> {
    Some(match code {
        "23503" => "foreign key violation",
        "23505" => "unique violation",
        "23514" => "check violation",
        "25P02" => "an earlier statement of the transaction failed",
        "25P03" => "the transaction stood idle for too long",
        "40001" => "serialization failure",
        "40P01" => "deadlock",
        "42501" => "insufficient privilege",
        "42703" => "no such column; have the migrations run?",
        "42P01" => "no such table; have the migrations run?",
        "55P03" => "waited too long for a lock",
        "57014" => "the statement took too long",
        "57P01" => "the server shuts down",
        _ => return None,
    })
}
