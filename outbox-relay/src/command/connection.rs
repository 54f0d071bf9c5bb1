//! Which database a command works on.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use sqlx::{Executor as _, PgConnection};

use super::{Failure, FailureKind, run};
use crate::{
    config::{Config, Retention},
    database::{
        Database,
        tls::{Tls, TlsConfig},
    },
};

/// Longest that a command waits for a lock; a relay holds its own for milliseconds.
const LOCK_TIMEOUT: &str = "set lock_timeout = '10s'";

/// Where the database is: from the relay's configuration or by URL.
#[derive(Debug, Args)]
pub struct DatabaseArguments {
    /// The relay's configuration, for its database and the names of its sinks.
    #[arg(long, short, env = "OUTBOX_RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the database is: postgres://user:password@host:port/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    #[command(flatten)]
    tls: TlsArguments,
}

/// How safe the connection to a database is that is told by URL.
#[derive(Debug, Clone, Args)]
pub struct TlsArguments {
    /// How safe the connection is: verify-full (the default, except on this machine), verify-ca,
    /// require or disable.
    #[arg(long, value_parser = tls, value_name = "MODE")]
    tls: Option<Tls>,
    /// Certificates of authorities to trust besides the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl From<TlsArguments> for TlsConfig {
    fn from(arguments: TlsArguments) -> Self {
        Self {
            tls: arguments.tls,
            ca_file: arguments.ca_file,
        }
    }
}

/// An open connection, and what the configuration says of sinks.
#[derive(Debug)]
pub(super) struct Opened {
    /// The connection; it waits for no lock longer than 10 s.
    pub(super) connection: PgConnection,
    /// Host, port and database, for messages.
    pub(super) place: String,
    /// The names of the configured sinks; `None` without a configuration.
    pub(super) configured: Option<Vec<String>>,
    /// How long events stay in the log; `None` without a configuration.
    pub(super) retention: Option<Retention>,
}

impl DatabaseArguments {
    /// Connects and makes sure that the schema is there.
    pub(super) async fn open(&self) -> Result<Opened, Failure> {
        let (database, config) = self.read()?;
        let mut connection = run::connect(&database).await?;
        check_schema(&mut connection).await?;
        connection.execute(LOCK_TIMEOUT).await.map_err(Failure::of_database)?;
        Ok(Opened {
            connection,
            place: database.place(),
            retention: config.as_ref().map(|config| config.retention),
            configured: config.map(|config| config.sinks.into_iter().map(|sink| sink.name).collect()),
        })
    }

    fn read(&self) -> Result<(Database, Option<Config>), Failure> {
        let usage = |error: anyhow::Error| Failure::new(FailureKind::Usage, error);
        let by_url = match &self.database_url {
            None => None,
            Some(url) => Some(
                Database::new(url, &self.tls.clone().into())
                    .map_err(|error| usage(anyhow::anyhow!("--database-url {error}")))?,
            ),
        };
        let Some(path) = &self.config else {
            let missing = "no database: pass --config relay.toml, --database-url, or set DATABASE_URL \
                           (postgres://user:password@host:port/database)";
            return by_url
                .map(|database| (database, None))
                .ok_or_else(|| usage(anyhow::anyhow!(missing)));
        };
        let config = Config::load(path, |name| std::env::var(name).ok()).map_err(|error| usage(error.into()))?;
        let configured = &config.database;
        match by_url {
            // The URL may name a role with more rights, but a command must not change the wrong database.
            Some(database) if database.place() != configured.place() => Err(usage(anyhow::anyhow!(
                "two databases: {} has {}, --database-url or DATABASE_URL has {}; leave one out",
                path.display(),
                configured.place(),
                database.place()
            ))),
            Some(database) => Ok((database, Some(config))),
            None => Ok((config.database.clone(), Some(config))),
        }
    }
}

async fn check_schema(connection: &mut PgConnection) -> Result<(), Failure> {
    let is_there: bool = sqlx::query_scalar(
        "select to_regclass('oncebox.cursor') is not null and to_regclass('oncebox.parked') is not null",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| Failure::new(FailureKind::Database, error))?;
    if is_there {
        return Ok(());
    }
    let error = anyhow::anyhow!(
        "the database has no schema oncebox, or an older one; run `outbox-relay migrate` with a role that may create it"
    );
    Err(Failure::new(FailureKind::Database, error))
}

fn tls(word: &str) -> Result<Tls, &'static str> {
    word.parse()
        .map_err(|()| "write verify-full, verify-ca, require or disable")
}
