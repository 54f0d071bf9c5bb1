//! A handler behind one face, whatever its mode and its event type.

use std::panic::AssertUnwindSafe;

use futures::{FutureExt, future::BoxFuture};
use oncebox_envelope::{Envelope, RawEnvelope};

use crate::failure::Failure;
pub(crate) use crate::reading::Read;

/// A handler with its effect mode, for events whose data is `D`.
///
/// Made by `transactional(f)`, `postgres(f)` or `leased(f)` with its policy; not meant to be implemented elsewhere.
pub trait Handler<D>: sealed::Sealed + Send + 'static {
    #[doc(hidden)]
    fn into_route(self, read: Read<D>) -> Route;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// What is done with one event type.
#[doc(hidden)]
pub enum Route {
    /// Describes effects in DynamoDB.
    #[cfg(feature = "dynamodb")]
    Transactional(Box<dyn Attempt<crate::dynamodb::Effects>>),
    /// Works in a Postgres transaction.
    #[cfg(feature = "postgres")]
    Postgres(Box<dyn Attempt<sqlx::PgTransaction<'static>>>),
    /// Has its effect elsewhere, under a lease.
    #[cfg(feature = "dynamodb")]
    #[expect(private_interfaces, reason = "hidden, and nobody outside gets hold of one")]
    Leased(crate::leased::LeasedRoute),
}

/// One attempt at one event, with `C` to write its effects to.
#[doc(hidden)]
pub trait Attempt<C>: Send + Sync {
    /// Never panics, whatever the handler does.
    #[expect(private_interfaces, reason = "hidden, and nobody outside gets hold of one")]
    fn attempt<'a>(&'a self, event: RawEnvelope, context: &'a mut C) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Reads the data, runs the handler and turns whatever comes into a [`Failure`].
pub(crate) async fn guard<D, F, T>(
    event: RawEnvelope,
    read: &Read<D>,
    run: impl FnOnce(Envelope<D>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, crate::HandlerError>>,
{
    // Unwind safety: what the handler may have left half done is thrown away, never committed. The
    // reading runs an event type's own code too.
    let attempt = async {
        let event = read.read(event)?;
        run(event).await.map_err(Failure::from)
    };
    match AssertUnwindSafe(attempt).catch_unwind().await {
        Ok(result) => result,
        // The panic's own message went to stderr by the panic hook; it may hold a value.
        Err(_) => Err(Failure::Unknown("the handler panicked; stderr says where".to_owned())),
    }
}
