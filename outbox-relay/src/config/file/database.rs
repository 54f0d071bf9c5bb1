//! The `[database]` table, and how long the log is kept there.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    config::{Fault, Retention},
    database::{Database, DatabaseFault, tls::TlsConfig},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { url = \"postgres://…\" }")]
pub(super) struct DatabaseTable {
    url: String,
    tls: Option<String>,
    ca_file: Option<PathBuf>,
}

/// Reads the table.
pub(super) fn read(table: DatabaseTable) -> Result<Database, Fault> {
    let tls = table.tls.map(|word| word.parse()).transpose().map_err(|()| {
        let problem = "write \"verify-full\", \"verify-ca\", \"require\" or \"disable\"";
        ("database.tls".to_owned(), problem.to_owned())
    })?;
    if let Some(file) = &table.ca_file
        && let Err(error) = std::fs::File::open(file)
    {
        // Not the path: a secret may stand at the wrong key.
        let problem = format!(
            "cannot be read ({}); write the path of the authorities' certificates (PEM)",
            error.kind()
        );
        return Err(("database.ca_file".to_owned(), problem));
    }
    let ca_file = table.ca_file;
    Database::new(&SecretString::from(table.url), &TlsConfig { tls, ca_file }).map_err(|fault| match fault {
        DatabaseFault::NotAPostgresUrl => ("database.url".to_owned(), fault.to_string()),
        DatabaseFault::Tls(fault) => (format!("database.{}", fault.key), fault.problem),
    })
}

/// Reads `retention_days`.
pub(super) fn retention(days: Option<i64>) -> Result<Retention, Fault> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let Some(days) = days else {
        return Ok(Retention::default());
    };
    match u32::try_from(days) {
        Ok(0) => Ok(Retention::ForEver),
        Ok(days @ 1..=3650) => Ok(Retention::For(DAY * days)),
        _ => Err((
            "retention_days".to_owned(),
            "write a number of days from 1 to 3650, or 0 to keep events for ever".to_owned(),
        )),
    }
}
