//! The `postgres` mode: effects and inbox row in one transaction.

mod in_turn;
mod inbox;
mod sql_error;
pub(crate) mod watermark;

pub(crate) use in_turn::{InTurn, Task};
pub(crate) use inbox::Inbox;
#[cfg(feature = "operator")]
pub(crate) use sql_error::describe;

use futures::future::BoxFuture;
use oncebox_envelope::{Envelope, RawEnvelope};
use sqlx::{
    PgPool, PgTransaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    failure::{Failure, HandlerError},
    handler::{Attempt, Handler, Read, Route, guard, sealed::Sealed},
    start_error::{StartError, required_env},
};

/// A function that works on an event with data `D` within a transaction.
///
/// Implemented by every
/// `async fn(Envelope<D>, &mut PgTransaction<'_>) -> Result<(), HandlerError>`; implement it for a
/// type of yours where the handler needs state. A `sqlx::Error` becomes a retryable
/// [`HandlerError`] by `?`.
///
/// The transaction is the library's to commit or roll back. Whatever the handler does in it is
/// undone when it returns an error, panics or runs out of time.
pub trait PostgresHandler<'a, D>: Send + Sync + 'static {
    /// What [`handle`](Self::handle) returns.
    type Future: Future<Output = Result<(), HandlerError>> + Send + 'a;

    /// Works on `event` within `tx`.
    fn handle(&self, event: Envelope<D>, tx: &'a mut PgTransaction<'static>) -> Self::Future;
}

impl<'a, D, F, R> PostgresHandler<'a, D> for F
where
    F: Fn(Envelope<D>, &'a mut PgTransaction<'static>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'a,
{
    type Future = R;

    fn handle(&self, event: Envelope<D>, tx: &'a mut PgTransaction<'static>) -> R {
        self(event, tx)
    }
}

/// A handler that works in the Postgres transaction that records the event as consumed.
///
/// `handler` is an `async fn(Envelope<D>, &mut PgTransaction<'_>) -> Result<(), HandlerError>`.
pub fn postgres<F>(handler: F) -> InTransaction<F> {
    InTransaction(handler)
}

/// From [`postgres`].
pub struct InTransaction<F>(F);

impl<F> Sealed for InTransaction<F> {}

impl<D, F> Handler<D> for InTransaction<F>
where
    D: Send + 'static,
    F: for<'a> PostgresHandler<'a, D>,
{
    fn into_route(self, read: Read<D>) -> Route {
        Route::Postgres(Box::new(Reading { handler: self.0, read }))
    }
}

struct Reading<D, F> {
    handler: F,
    read: Read<D>,
}

impl<D, F> Attempt<PgTransaction<'static>> for Reading<D, F>
where
    D: Send + 'static,
    F: for<'a> PostgresHandler<'a, D>,
{
    fn attempt<'a>(
        &'a self,
        event: RawEnvelope,
        tx: &'a mut PgTransaction<'static>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(guard(event, &self.read, move |event| self.handler.handle(event, tx)))
    }
}

/// A pool for the database that `DATABASE_URL` names, of at most four connections.
///
/// Every instance of a function has a pool of its own, and Lambda runs many instances: more
/// connections each cost the server more than they win here. Connections are opened when they are
/// needed, so that a database that is down fails messages, which come again, and not the function.
///
/// # Errors
/// [`StartError::MissingEnv`], or [`StartError::InvalidEnv`] when the value is no Postgres URL.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn pool_from_env() -> Result<PgPool, StartError> {
    Ok(PgPoolOptions::new()
        .max_connections(4)
        .connect_lazy_with(options_from_env()?.application_name("oncebox-consumer")))
}

pub(crate) fn options_from_env() -> Result<PgConnectOptions, StartError> {
    let name = "DATABASE_URL";
    let url = required_env(name, "the URL of the Postgres database")?;
    url.parse().map_err(|_| StartError::InvalidEnv {
        name: name.to_owned(),
        expected: "a Postgres URL like `postgres://user:password@host:5432/database`",
    })
}
