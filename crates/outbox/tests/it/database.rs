//! A database of the test's own.

use std::str::FromStr as _;

use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

/// A database that is dropped with the test.
pub(crate) struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    /// An empty database.
    pub(crate) async fn empty() -> Self {
        let url =
            std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run `make test`, which brings a Postgres");
        let server = PgConnectOptions::from_str(&url).expect("DATABASE_URL is a Postgres URL");
        let database = Self {
            server,
            name: format!("outbox_{}", Uuid::new_v4().simple()),
        };
        let mut connection = PgConnection::connect_with(&database.server).await.unwrap();
        connection
            .execute(sqlx::AssertSqlSafe(format!("create database {}", database.name)))
            .await
            .unwrap();
        database
    }

    /// A database with schema `oncebox`.
    pub(crate) async fn migrated() -> Self {
        let database = Self::empty().await;
        oncebox_outbox::migrate(&mut database.connect().await).await.unwrap();
        database
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.server.clone().database(&self.name))
            .await
            .unwrap()
    }

    /// Drops the database; connections that are left are cut.
    pub(crate) async fn drop(self) {
        let mut connection = PgConnection::connect_with(&self.server).await.unwrap();
        let statement = format!("drop database {} with (force)", self.name);
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
}
