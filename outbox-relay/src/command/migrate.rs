//! `outbox-relay migrate`: the schema, applied or printed.

use std::io::Write as _;

use anyhow::Context as _;
use secrecy::SecretString;
use sqlx::Connection as _;

use super::{Failure, FailureKind};
use crate::database::Database;

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
pub async fn apply(url: Option<SecretString>) -> Result<(), Failure> {
    let url = url.ok_or_else(|| {
        let error = anyhow::anyhow!(
            "no database: pass --database-url or set DATABASE_URL (postgres://user:password@host:port/database)"
        );
        Failure::new(FailureKind::Usage, error)
    })?;
    let database = Database::new(&url)
        .context("--database-url")
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
