//! `outbox-relay migrate`: the schema, applied or printed.

use std::io::Write as _;

use secrecy::SecretString;
use sqlx::Connection as _;

use super::{Failure, FailureKind};
use crate::database::{Database, DatabaseFault, tls::TlsConfig};

/// Prints the migrations as SQL.
///
/// # Errors
/// Standard output is closed.
pub fn print() -> Result<(), Failure> {
    let written = std::io::stdout().write_all(oncebox_outbox::migration_sql().as_bytes());
    written.map_err(|error| Failure::new(FailureKind::Runtime, error))
}

/// Applies the migrations.
///
/// # Errors
/// The URL, the connection, or what the database says.
pub async fn apply(url: Option<SecretString>, tls: &TlsConfig) -> Result<(), Failure> {
    let url = url.ok_or_else(|| {
        let error = anyhow::anyhow!(
            "no database: pass --database-url or set DATABASE_URL (postgres://user:password@host:port/database)"
        );
        Failure::new(FailureKind::Usage, error)
    })?;
    let database = Database::new(&url, tls)
        .map_err(|fault| match fault {
            DatabaseFault::NotAPostgresUrl => anyhow::anyhow!("--database-url: {fault}"),
            // The flags go by the same names as the keys of the file.
            DatabaseFault::Tls(fault) => anyhow::anyhow!(
                "--{}: {}",
                match fault.key {
                    "url" => "database-url",
                    "ca_file" => "ca-file",
                    key => key,
                },
                fault.problem
            ),
        })
        .map_err(|error| Failure::new(FailureKind::Usage, error))?;
    let mut connection = super::run::connect(&database).await?;
    oncebox_outbox::migrate(&mut connection).await.map_err(|error| {
        Failure::new(
            FailureKind::Database,
            anyhow::Error::from(error).context("the schema could not be brought up to date"),
        )
    })?;
    let _ = connection.close().await;
    let _ = writeln!(std::io::stderr(), "schema oncebox is up to date");
    Ok(())
}
