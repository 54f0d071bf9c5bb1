//! How to reach the database, and how to speak with it.
//!
//! # Reading order
//! [`Database`] (where it is), [`tls`] (how safely), [`session`] (a connection and its server's
//! life), [`statement`] (one message, one transaction), [`trouble`] (what its errors mean).

pub mod literal;
pub mod session;
pub mod statement;
pub mod tls;
pub mod trouble;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use self::{
    session::Session,
    tls::{Choice, Tls, TlsConfig, TlsFault},
};

/// Longest that one statement may take; the database is taken for lost after it.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a database cannot be reached this way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseFault {
    /// The text is no connection URL of Postgres.
    #[error("is no Postgres URL; write postgres://user:password@host:port/database")]
    NotAPostgresUrl,
    /// How safe the connection is to be.
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Database {
    options: PgConnectOptions,
    choice: Choice,
}

impl Database {
    /// Reads a connection URL: `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// The URL is none of Postgres, or contradicts `tls`; the error shows nothing of it.
    pub fn new(url: &SecretString, tls: &TlsConfig) -> Result<Self, DatabaseFault> {
        // sqlx takes any scheme; somebody else's URL must not be taken for ours.
        let parsed = url::Url::parse(url.expose_secret()).map_err(|_| DatabaseFault::NotAPostgresUrl)?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") || parsed.cannot_be_a_base() {
            return Err(DatabaseFault::NotAPostgresUrl);
        }
        let mode = parsed
            .query_pairs()
            .filter(|(key, _)| key == "sslmode" || key == "ssl-mode");
        let mode = mode.last().map(|(_, mode)| mode.to_ascii_lowercase());
        let options: PgConnectOptions = url
            .expose_secret()
            .parse()
            .map_err(|_| DatabaseFault::NotAPostgresUrl)?;
        let host = match options.get_socket() {
            Some(_) => "/",
            None => options.get_host(),
        };
        let choice = tls::decide(host, tls, mode.as_deref())?;
        let options = options.ssl_mode(choice.mode());
        let options = match &tls.ca_file {
            Some(file) => options.ssl_root_cert(file),
            None => options,
        };
        Ok(Self {
            // What a pooler does not know as a parameter of a session, it refuses.
            options: options
                .extra_float_digits(None)
                .application_name("outbox-relay")
                .disable_statement_logging(),
            choice,
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

    /// What is weak about the connection, if anything: another machine is reached without checking
    /// that it is the right one.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        let is_here = self.options.get_socket().is_some() || tls::is_this_machine(self.options.get_host());
        match self.choice {
            _ if is_here => None,
            Choice::Tls(Tls::VerifyFull) | Choice::IfOffered => None,
            Choice::Tls(Tls::VerifyCa) => Some("the server's name is not checked (database.tls = \"verify-ca\")"),
            Choice::Tls(Tls::Require) => Some("the server's certificate is not checked (database.tls = \"require\")"),
            Choice::Tls(Tls::Disable) => Some("the connection is not encrypted (database.tls = \"disable\")"),
        }
    }

    /// Opens a connection, within 5 s.
    ///
    /// # Errors
    /// Whatever the database or the network says.
    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        in_time(CONNECT_TIMEOUT, "no answer within 5 s", self.options.connect()).await
    }

    /// Opens a connection and begins a session in the server's present life, within 10 s.
    ///
    /// # Errors
    /// Whatever the database or the network says; schema `oncebox` is missing.
    pub async fn session(&self) -> Result<Session, sqlx::Error> {
        let connection = self.connect().await?;
        in_time(CONNECT_TIMEOUT, "no answer within 5 s", Session::begin(connection)).await
    }
}

async fn in_time<T>(
    limit: Duration,
    words: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, words));
    timeout(limit, work).await.map_err(late)?
}
