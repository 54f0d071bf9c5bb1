//! The database that everything is measured on.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

/// A database of the benchmark's own in the server at `DATABASE_URL`.
#[derive(Debug)]
pub(crate) struct Database {
    server: Url,
    /// Where it is.
    pub(crate) url: Url,
}

const NAME: &str = "oncebox_bench";

impl Database {
    /// Makes it anew, with schema `oncebox`, and keeps autovacuum out of what is measured.
    pub(crate) async fn create(server: &str) -> Result<Self> {
        let server: Url = server.parse().context("DATABASE_URL is no URL")?;
        let mut url = server.clone();
        url.set_path(NAME);
        let database = Self { server, url };
        let mut admin = connect(&database.server).await?;
        execute(&mut admin, &format!("drop database if exists {NAME} with (force)")).await?;
        execute(&mut admin, &format!("create database {NAME}")).await?;
        execute(&mut admin, "alter system set autovacuum = off").await?;
        execute(&mut admin, "select pg_reload_conf()").await?;
        oncebox_outbox::migrate(&mut database.connect().await?).await?;
        Ok(database)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        connect(&self.url).await
    }

    /// Sets a parameter of the server that a reload changes; `None` for what it was.
    pub(crate) async fn set(&self, name: &str, value: Option<&str>) -> Result<()> {
        let mut connection = self.connect().await?;
        let statement = match value {
            Some(value) => format!("alter system set {name} = {value}"),
            None => format!("alter system reset {name}"),
        };
        execute(&mut connection, &statement).await?;
        execute(&mut connection, "select pg_reload_conf()").await?;
        // The postmaster tells its children by signal; the next session begins with the new value.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    /// Removes it and what was changed of the server.
    pub(crate) async fn drop(self) -> Result<()> {
        let mut admin = connect(&self.server).await?;
        execute(&mut admin, &format!("drop database if exists {NAME} with (force)")).await?;
        execute(&mut admin, "alter system reset autovacuum").await?;
        execute(&mut admin, "select pg_reload_conf()").await
    }
}

async fn connect(url: &Url) -> Result<PgConnection> {
    let connected = PgConnection::connect(url.as_str()).await;
    connected.context("cannot reach Postgres; run with: make bench")
}

/// Executes a statement without parameters.
pub(crate) async fn execute(connection: &mut PgConnection, statement: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .with_context(|| format!("in: {}", statement.lines().next().unwrap_or_default()))?;
    Ok(())
}
