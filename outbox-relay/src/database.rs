//! How to reach the database.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The text is no connection URL of Postgres.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no Postgres URL; write postgres://user:password@host:port/database")]
pub struct NotAPostgresUrl;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Database {
    options: PgConnectOptions,
}

impl Database {
    /// Reads a connection URL: `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// The URL is none of Postgres; the error shows nothing of it.
    pub fn new(url: &SecretString) -> Result<Self, NotAPostgresUrl> {
        // sqlx takes any scheme; somebody else's URL must not be taken for ours.
        let parsed = url::Url::parse(url.expose_secret()).map_err(|_| NotAPostgresUrl)?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") || parsed.cannot_be_a_base() {
            return Err(NotAPostgresUrl);
        }
        let options: PgConnectOptions = url.expose_secret().parse().map_err(|_| NotAPostgresUrl)?;
        Ok(Self {
            options: options.application_name("outbox-relay").disable_statement_logging(),
        })
    }

    /// Host, port and database, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        let name = self.options.get_database().unwrap_or("(default)");
        format!(
            "database `{name}` at {}:{}",
            self.options.get_host(),
            self.options.get_port()
        )
    }

    /// Opens a connection, within 5 s.
    ///
    /// # Errors
    /// Whatever the database or the network says.
    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        match timeout(CONNECT_TIMEOUT, self.options.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "no answer within 5 s",
            ))),
        }
    }
}
