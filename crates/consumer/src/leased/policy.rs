//! What follows an attempt whose end nobody knows.

use futures::future::BoxFuture;
use oncebox_envelope::{Envelope, RawEnvelope};
use serde::Serialize;

use super::{LeaseContext, Worked};
use crate::{
    failure::HandlerError,
    handler::{Read, guard},
    response::Response,
};

/// The handler runs again with the same idempotency key.
pub struct RetrySameKey;

/// A function asks the receiver first.
pub struct Reconcile<G>(pub(super) G);

/// The event is set aside for a person.
pub struct Park;

/// What a reconciliation has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled<R> {
    /// The effect happened; this would have been the handler's answer.
    Done(R),
    /// It did not happen, and no request is on its way any more that could make it happen.
    NotDone,
}

/// A function that finds out whether the effect of an event has happened.
///
/// Implemented by every
/// `async fn(Envelope<D>, &LeaseContext) -> Result<Reconciled<R>, HandlerError>`. An error leaves the outcome unknown: a
/// retryable one is asked again with the next delivery, a permanent one sets the event aside.
pub trait ReconcileHandler<'a, D>: Send + Sync + 'static {
    /// What the handler would have answered.
    type Response: Serialize;
    /// What [`reconcile`](Self::reconcile) returns.
    type Future: Future<Output = Result<Reconciled<Self::Response>, HandlerError>> + Send + 'a;

    /// Finds out whether the effect of `event` has happened.
    fn reconcile(&self, event: Envelope<D>, lease: &'a LeaseContext) -> Self::Future;
}

impl<'a, D, F, R, T> ReconcileHandler<'a, D> for F
where
    F: Fn(Envelope<D>, &'a LeaseContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reconciled<T>, HandlerError>> + Send + 'a,
    T: Serialize,
{
    type Response = T;
    type Future = R;

    fn reconcile(&self, event: Envelope<D>, lease: &'a LeaseContext) -> R {
        self(event, lease)
    }
}

/// A policy without its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    RetrySameKey,
    Reconcile,
    Park,
}

/// A declared policy, for events with data `D`.
pub trait OnUnknown<D>: Send + Sync + 'static {
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "hidden, and not to be implemented elsewhere")]
    const POLICY: Policy;

    #[doc(hidden)]
    #[expect(private_interfaces, reason = "hidden, and not to be implemented elsewhere")]
    fn reconcile<'a>(
        &'a self,
        _event: RawEnvelope,
        _read: &'a Read<D>,
        _lease: &'a LeaseContext,
    ) -> Worked<'a, Reconciled<Option<Response>>> {
        Box::pin(async { Ok(Reconciled::NotDone) })
    }
}

impl<D> OnUnknown<D> for RetrySameKey {
    #[expect(private_interfaces, reason = "hidden, and not to be implemented elsewhere")]
    const POLICY: Policy = Policy::RetrySameKey;
}

impl<D> OnUnknown<D> for Park {
    #[expect(private_interfaces, reason = "hidden, and not to be implemented elsewhere")]
    const POLICY: Policy = Policy::Park;
}

impl<D, G> OnUnknown<D> for Reconcile<G>
where
    D: Send + 'static,
    G: for<'a> ReconcileHandler<'a, D>,
{
    #[expect(private_interfaces, reason = "hidden, and not to be implemented elsewhere")]
    const POLICY: Policy = Policy::Reconcile;

    #[expect(private_interfaces, reason = "hidden, and not to be implemented elsewhere")]
    fn reconcile<'a>(
        &'a self,
        event: RawEnvelope,
        read: &'a Read<D>,
        lease: &'a LeaseContext,
    ) -> Worked<'a, Reconciled<Option<Response>>> {
        let reconciling: BoxFuture<'a, _> = Box::pin(guard(event, read, move |event| {
            let reconciling = self.0.reconcile(event, lease);
            async move {
                Ok(match reconciling.await? {
                    Reconciled::Done(value) => Reconciled::Done(Response::of(&value)),
                    Reconciled::NotDone => Reconciled::NotDone,
                })
            }
        }));
        reconciling
    }
}
