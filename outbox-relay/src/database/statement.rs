//! One statement of the relay, in one message to the server.
//!
//! A connection pooler in transaction mode gives each transaction whatever server connection is
//! free. So nothing may be left in a server session: no prepared statement (sqlx prepares in one
//! round trip and executes in another, which may be two servers), no `SET`. A statement here goes
//! as one simple query with its values written into it, which is one transaction and one round
//! trip: `set local` for the timeouts, the check of the server's life, the statement.
//!
//! Measured on Postgres 16 over a log of 113 partitions, without a network: an empty page takes
//! 0.14 to 0.24 ms as a cached prepared statement and 0.19 to 0.35 ms this way; a page of 1,000
//! events of 1 KB takes 7 ms both ways.

use sqlx::{AssertSqlSafe, Decode, Error, FromRow, PgConnection, Postgres, Row as _, Type, postgres::PgRow};

use super::{literal::Literal, session::Session};

/// Longest that a statement may run at the server; below [`super::STATEMENT_TIMEOUT`], so that the
/// server ends it first. With it, nothing of a lost client goes on for long.
const LIMITS: &str = "set local statement_timeout = '25s'; set local lock_timeout = '10s'; \
                      set local idle_in_transaction_session_timeout = '25s'; ";

/// A statement and its values.
#[derive(Debug)]
#[must_use = "a statement does nothing until it is sent"]
pub struct Statement {
    sql: &'static str,
    values: Vec<String>,
}

/// A statement with `$1`, `$2` … for values. Every `$` followed by a digit is taken for one, in
/// strings and comments too. Columns are decoded as with sqlx.
pub fn statement(sql: &'static str) -> Statement {
    Statement {
        sql,
        values: Vec::new(),
    }
}

impl Statement {
    /// Gives the next value.
    pub fn bind<T: Literal>(mut self, value: T) -> Self {
        let mut literal = String::from("(");
        value.write(&mut literal);
        literal.push_str(")::");
        literal.push_str(T::TYPE);
        self.values.push(literal);
        self
    }

    /// Sends it and returns its rows.
    ///
    /// # Errors
    /// Whatever the database says; SQLSTATE 57P02 when it is not the one that the session began on.
    ///
    /// # Cancel safety
    /// A cancelled call may have been applied; the session is then not to be used again.
    pub async fn fetch_all(self, session: &mut Session) -> Result<Vec<PgRow>, Error> {
        let sql = self.written(session.guard())?;
        sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(session.connection()).await
    }

    /// Sends it and returns its rows as tuples.
    ///
    /// # Errors
    /// As [`Statement::fetch_all`].
    ///
    /// # Cancel safety
    /// As [`Statement::fetch_all`].
    pub async fn fetch_as<T>(self, session: &mut Session) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        self.fetch_all(session).await?.iter().map(T::from_row).collect()
    }

    /// Sends it and returns its only column, row by row.
    ///
    /// # Errors
    /// As [`Statement::fetch_all`].
    ///
    /// # Cancel safety
    /// As [`Statement::fetch_all`].
    pub async fn fetch_values<T>(self, session: &mut Session) -> Result<Vec<T>, Error>
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let rows = self.fetch_all(session).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    /// Sends it and returns its only row's only column.
    ///
    /// # Errors
    /// As [`Statement::fetch_all`]; [`Error::RowNotFound`] without a row.
    ///
    /// # Cancel safety
    /// As [`Statement::fetch_all`].
    pub async fn fetch_value<T>(self, session: &mut Session) -> Result<T, Error>
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        self.fetch_one(session).await?.try_get(0)
    }

    /// Sends it and returns its first row.
    ///
    /// # Errors
    /// As [`Statement::fetch_value`].
    ///
    /// # Cancel safety
    /// As [`Statement::fetch_all`].
    pub async fn fetch_one(self, session: &mut Session) -> Result<PgRow, Error> {
        let rows = self.fetch_all(session).await?;
        rows.into_iter().next().ok_or(Error::RowNotFound)
    }

    /// Sends it and returns how many rows it changed.
    ///
    /// # Errors
    /// As [`Statement::fetch_all`].
    ///
    /// # Cancel safety
    /// As [`Statement::fetch_all`].
    pub async fn execute(self, session: &mut Session) -> Result<u64, Error> {
        let sql = self.written(session.guard())?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(session.connection()).await?;
        Ok(done.rows_affected())
    }

    /// As [`Statement::fetch_one`], on a connection without a session: before there is a schema.
    ///
    /// # Errors
    /// As [`Statement::fetch_one`].
    ///
    /// # Cancel safety
    /// As [`Statement::fetch_all`].
    pub async fn fetch_on(self, connection: &mut PgConnection) -> Result<PgRow, Error> {
        let sql = self.written("")?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        rows.into_iter().next().ok_or(Error::RowNotFound)
    }

    fn written(&self, guard: &str) -> Result<String, Error> {
        let mut written = String::with_capacity(LIMITS.len() + guard.len() + 2 * self.sql.len());
        written.push_str(LIMITS);
        written.push_str(guard);
        let mut rest = self.sql;
        while let Some((before, after)) = rest.split_once('$') {
            written.push_str(before);
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = after.split_at(digits);
            match number.parse::<usize>() {
                Err(_) => written.push('$'),
                Ok(number) => {
                    let value = number.checked_sub(1).and_then(|index| self.values.get(index));
                    written.push_str(value.ok_or_else(|| Error::Encode("a value is not bound".into()))?);
                }
            }
            rest = after;
        }
        written.push_str(rest);
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_places_and_are_not_looked_into() {
        let all = statement("select $2, $1, $10, '$', $1")
            .bind("$2")
            .bind(-7_i64)
            .bind(0_i16)
            .bind(0_i16)
            .bind(0_i16)
            .bind(0_i16)
            .bind(0_i16)
            .bind(0_i16)
            .bind(0_i16)
            .bind(None::<Vec<String>>);
        let written = all.written("call guard; ").unwrap();
        assert_eq!(
            written.strip_prefix(LIMITS).unwrap(),
            "call guard; select ('-7')::bigint, (E'$2')::text, (null)::text[], '$', (E'$2')::text"
        );
    }

    #[test]
    fn a_value_that_is_not_bound_is_an_error() {
        assert!(statement("select $1").written("").is_err());
        assert!(statement("select $0").bind(1_i16).written("").is_err());
    }
}
