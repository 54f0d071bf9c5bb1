//! A connection, and the life of the server that it began in.

use sqlx::{AssertSqlSafe, Connection as _, Error, PgConnection, Row as _};

use super::statement::statement;

/// A connection whose every statement fails once the server has been restarted, has recovered from
/// a crash or is another one. A direct connection ends with its server; behind a pooler it does
/// not, and transaction ids may then be given out again that this session has seen.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    /// What comes before each statement.
    guard: String,
}

impl Session {
    /// Begins a session.
    ///
    /// # Errors
    /// Whatever the database says; schema `oncebox` is missing.
    pub async fn begin(mut connection: PgConnection) -> Result<Self, Error> {
        let life = statement("select oncebox.incarnation()")
            .fetch_on(&mut connection)
            .await?;
        let life: String = life.try_get(0)?;
        Ok(Self {
            connection,
            // Digits and a hyphen, of the database's own making.
            guard: format!("call oncebox.require_incarnation('{}'); ", life.replace('\'', "")),
        })
    }

    /// Begins a transaction. The statements up to [`Session::commit`] are one; a session that ends
    /// before rolls it back.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn begin_transaction(&mut self) -> Result<(), Error> {
        self.send("begin").await
    }

    /// Commits the transaction that [`Session::begin_transaction`] began.
    ///
    /// # Errors
    /// Whatever the database says. Whether it committed is not known then.
    ///
    /// # Cancel safety
    /// A cancelled call may have committed.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.send("commit").await
    }

    /// Rolls back the transaction that [`Session::begin_transaction`] began.
    ///
    /// # Errors
    /// Whatever the database says; the session is then not to be used again.
    pub async fn roll_back(&mut self) -> Result<(), Error> {
        self.send("rollback").await
    }

    /// Says goodbye to the server.
    ///
    /// # Errors
    /// The connection is gone already.
    pub async fn close(self) -> Result<(), Error> {
        self.connection.close().await
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    pub(super) fn guard(&self) -> &str {
        &self.guard
    }

    async fn send(&mut self, command: &'static str) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(command.to_owned()))
            .execute(&mut self.connection)
            .await
            .map(drop)
    }
}
