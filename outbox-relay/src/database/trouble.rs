//! What an error of the database means, and what a person can do about it.

use sqlx::Error;

/// The error in one line, with the fix where there is a usual one. Never a value.
#[must_use]
pub fn explain(error: &Error) -> String {
    match (advice(error), error.as_database_error()) {
        (Some(advice), Some(said)) => format!("{advice} ({})", said.message()),
        (Some(advice), None) => format!("{advice} ({error})"),
        (None, _) => error.to_string(),
    }
}

fn advice(error: &Error) -> Option<&'static str> {
    if let Some(code) = error.as_database_error().and_then(|said| said.code()) {
        return of_sqlstate(&code);
    }
    match error {
        Error::Tls(_) | Error::Io(_) => of_tls(&error.to_string()),
        _ => None,
    }
}

/// By SQLSTATE (Postgres documentation, appendix A).
fn of_sqlstate(code: &str) -> Option<&'static str> {
    Some(match code {
        "25006" => {
            "the database takes no writes: it is a standby or set to read-only; point database.url at the primary, \
             or set default_transaction_read_only = off"
        }
        "53100" => "the database's disk is full; free some space there",
        "53200" => "the database is out of memory",
        "53300" => "the database has no connection left; raise max_connections or use fewer",
        "57P01" | "57P02" => "the database is shutting down or was restarted",
        "57P03" => "the database is starting up or recovering",
        "57014" => "a statement took longer than 25 s; look for locks and load at the database",
        "55P03" => "a lock was not free in time; look for a long transaction",
        "28000" | "28P01" => "the database refuses the role or its password; check database.url and pg_hba.conf",
        "3D000" => "there is no database of this name; check database.url",
        "42501" => "the role lacks a right; grant what docs/OPERATIONS.md lists",
        "3F000" | "42P01" | "42883" => "the schema is missing or old; run `outbox-relay migrate`",
        // The data directory or a file in it cannot be written or read.
        "58030" => "the database cannot read or write its files; look at its disk",
        _ => return None,
    })
}

/// By what rustls says: sqlx hands it on as text.
fn of_tls(said: &str) -> Option<&'static str> {
    let cases = [
        (
            "UnknownIssuer",
            "the server's certificate is signed by no authority that the relay trusts; set database.ca_file to the \
             authority's certificate (PEM)",
        ),
        (
            "not valid for name",
            "the server's certificate is for another name; connect by a name that stands in it, or accept that with \
             database.tls = \"verify-ca\" and database.ca_file",
        ),
        (
            "NotValidForName",
            "the server's certificate is for another name; connect by a name that stands in it, or accept that with \
             database.tls = \"verify-ca\" and database.ca_file",
        ),
        ("Expired", "the server's certificate has expired; renew it"),
        ("expired", "the server's certificate has expired; renew it"),
        (
            "server does not support TLS",
            "the server takes plain connections only; set ssl = on there, or accept plain ones with \
             database.tls = \"disable\"",
        ),
    ];
    cases
        .iter()
        .find(|(words, _)| said.contains(words))
        .map(|(_, advice)| *advice)
}
