//! A Postgres database of a test's own.

use anyhow::{Context, Result};
use oncebox_envelope::Source;
use oncebox_outbox::Outbox;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use url::Url;

use crate::{PATIENCE, Server, Stack, cleanup, unique};

const MAX_CONNECTIONS: u32 = 10;
const APPLICATION: &str = "system-tests";

/// A database on the stack's server, with schema `oncebox`; dropped with this value.
#[derive(Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its URL from this machine.
    pub url: Url,
    /// Its URL from a deployed function.
    pub function_url: Url,
    /// At most ten connections.
    pub pool: PgPool,
    server: Url,
    kept: bool,
}

impl Database {
    /// Creates a database and migrates it.
    ///
    /// # Errors
    /// Postgres does not answer, or refuses.
    pub async fn create(stack: &Stack) -> Result<Self> {
        let database = Self::create_empty(stack).await?;
        let mut connection = database.connect().await?;
        oncebox_outbox::migrate(&mut connection).await.context("migrating")?;
        Ok(database)
    }

    /// Creates a database without schema `oncebox`.
    ///
    /// # Errors
    /// As [`Database::create`].
    pub async fn create_empty(stack: &Stack) -> Result<Self> {
        Self::create_at(&stack.database_url, &stack.function_database_url).await
    }

    /// Creates a database on a server of the test's own, and migrates it.
    ///
    /// # Errors
    /// As [`Database::create`].
    pub async fn create_on(server: &Server) -> Result<Self> {
        let url = server.url("postgres");
        let mut database = Self::create_at(&url, &url).await?;
        // It goes with its server.
        database.keep();
        let mut connection = database.connect().await?;
        oncebox_outbox::migrate(&mut connection).await.context("migrating")?;
        Ok(database)
    }

    async fn create_at(url: &Url, function_url: &Url) -> Result<Self> {
        let name = unique("t").replace('-', "_");
        let mut connection = PgConnection::connect(url.as_str()).await.context("connecting")?;
        sqlx::query(AssertSqlSafe(format!("create database {name}")))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        let (server, function_url) = (url.clone(), with_path(function_url, &name));
        let url = with_path(url, &name);
        Ok(Self {
            pool: PgPoolOptions::new()
                .max_connections(MAX_CONNECTIONS)
                .connect_lazy_with(options(&url)?),
            function_url,
            url,
            name,
            server,
            kept: false,
        })
    }

    /// A connection of its own, outside the pool.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn connect(&self) -> Result<PgConnection> {
        PgConnection::connect_with(&options(&self.url)?)
            .await
            .context("connecting")
    }

    /// A pool of its own, for tests that need many connections.
    ///
    /// # Errors
    /// Never for a database that was created.
    pub fn pool_of(&self, max_connections: u32) -> Result<PgPool> {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(PATIENCE);
        Ok(pool.connect_lazy_with(options(&self.url)?))
    }

    /// Cuts every connection to this database that is not the test's own; returns how many.
    ///
    /// # Errors
    /// The query fails.
    pub async fn cut_connections_of_others(&self) -> Result<i64> {
        let cut = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
              where datname = current_database() and application_name <> $1",
        );
        Ok(cut.bind(APPLICATION).fetch_one(&self.pool).await?)
    }

    /// How many events a sink's cursors say are not published yet. Events of a shard without a
    /// cursor count.
    ///
    /// # Errors
    /// The query fails.
    pub async fn unpublished(&self, sink: &str) -> Result<i64> {
        let ahead = sqlx::query_scalar(
            "select count(*) from oncebox.event e
               left join oncebox.cursor c on c.sink = $1 and c.shard = e.bucket / 16
              where c.sink is null
                 or not (pg_visible_in_snapshot(e.xid::text::xid8, c.base)
                         or (c.target is not null and e.seq <= c.position
                             and pg_visible_in_snapshot(e.xid::text::xid8, c.target)))",
        );
        Ok(ahead.bind(sink).fetch_one(&self.pool).await?)
    }

    /// An outbox whose events say that they come from `/tests`.
    ///
    /// # Panics
    /// Never: the source is valid.
    #[must_use]
    pub fn outbox() -> Outbox {
        #[expect(clippy::expect_used, reason = "see above")]
        Outbox::new(Source::new("/tests").expect("a valid source"))
    }

    /// How many connections to this database wait for a lock.
    ///
    /// # Errors
    /// The query fails.
    pub async fn waiting_for_locks(&self) -> Result<i64> {
        let waiting = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        Ok(waiting.fetch_one(&self.pool).await?)
    }

    /// Leaves the database there when this value goes.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let drop = format!("drop database if exists {} with (force)", self.name);
        let server = self.server.clone();
        cleanup::run(async move || {
            if let Ok(mut server) = PgConnection::connect(server.as_str()).await {
                let _ = sqlx::query(AssertSqlSafe(drop)).execute(&mut server).await;
            }
        });
    }
}

fn options(url: &Url) -> Result<PgConnectOptions> {
    Ok(url.as_str().parse::<PgConnectOptions>()?.application_name(APPLICATION))
}

fn with_path(server: &Url, database: &str) -> Url {
    let mut url = server.clone();
    url.set_path(database);
    url
}
