//! The `transactional` mode: effects and dedupe record in one `TransactWriteItems`.

mod attribute;
mod aws;
mod batch;
mod committer;
mod condition;
mod dedupe;
mod described;
mod effects;
pub(crate) mod group;
mod merge;
pub(crate) mod store;
pub(crate) mod watermark;

pub(crate) use attribute::size_bytes;
pub use attribute::{Attribute, Key};
pub(crate) use batch::{Task, TransactionalBatch};
pub use condition::Condition;
#[cfg(feature = "test-kit")]
pub(crate) use condition::Test;
pub use dedupe::DynamoDbDedupe;
pub use effects::{Check, Delete, Effects, Put, Update};

use futures::future::BoxFuture;
use oncebox_envelope::{Envelope, RawEnvelope};

use crate::{
    failure::{Failure, HandlerError},
    handler::{Attempt, Handler, Read, Route, guard, sealed::Sealed},
};

/// DynamoDB through a client.
#[cfg(feature = "operator")]
pub(crate) fn store_of(client: aws_sdk_dynamodb::Client) -> std::sync::Arc<dyn store::Store> {
    std::sync::Arc::new(aws::AwsStore(client))
}

/// A function that describes the effects of an event with data `D`.
///
/// Implemented by every `async fn(Envelope<D>, &mut Effects) -> Result<(), HandlerError>`;
/// implement it for a type of yours where the handler needs state.
///
/// The handler may be called several times for one event (each delivery is an attempt); only
/// one attempt's effects are committed. Nothing is written before it returns `Ok`.
pub trait TransactionalHandler<'a, D>: Send + Sync + 'static {
    /// What [`handle`](Self::handle) returns.
    type Future: Future<Output = Result<(), HandlerError>> + Send + 'a;

    /// Describes the effects of `event`.
    fn handle(&self, event: Envelope<D>, effects: &'a mut Effects) -> Self::Future;
}

impl<'a, D, F, R> TransactionalHandler<'a, D> for F
where
    F: Fn(Envelope<D>, &'a mut Effects) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'a,
{
    type Future = R;

    fn handle(&self, event: Envelope<D>, effects: &'a mut Effects) -> R {
        self(event, effects)
    }
}

/// A handler whose effects are committed together with the dedupe record, in DynamoDB.
///
/// `handler` is an `async fn(Envelope<D>, &mut Effects) -> Result<(), HandlerError>`.
pub fn transactional<F>(handler: F) -> Transactional<F> {
    Transactional(handler)
}

/// From [`transactional`].
pub struct Transactional<F>(F);

impl<F> Sealed for Transactional<F> {}

impl<D, F> Handler<D> for Transactional<F>
where
    D: Send + 'static,
    F: for<'a> TransactionalHandler<'a, D>,
{
    fn into_route(self, read: Read<D>) -> Route {
        Route::Transactional(Box::new(Reading { handler: self.0, read }))
    }
}

struct Reading<D, F> {
    handler: F,
    read: Read<D>,
}

impl<D, F> Attempt<Effects> for Reading<D, F>
where
    D: Send + 'static,
    F: for<'a> TransactionalHandler<'a, D>,
{
    fn attempt<'a>(&'a self, event: RawEnvelope, effects: &'a mut Effects) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(guard(event, &self.read, move |event| {
            self.handler.handle(event, effects)
        }))
    }
}
