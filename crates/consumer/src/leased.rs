//! The `leased` mode: effects elsewhere, one holder at a time, and a policy for what nobody can know.
//!
//! A receiver that is not part of our transaction may have done its work though we never heard of it.
//! So this mode does not promise one effect. It promises that no two deliveries of an event work on
//! it side by side as long as nobody is frozen, that a holder that was superseded cannot record or undo
//! anything, and that an attempt with an unknown end is followed by what the handler has declared.
//!
//! The record of an event has one holder, told by `own` (unique to a delivery) and `fence` (which rises with
//! each claim). The holder raises `beat` while it works. Whoever else wants the event watches `beat` on its
//! own clock: no clock is ever compared with another one's.

mod attempt;
mod context;
mod hold;
mod meeting;
mod policy;
mod record;
#[cfg(feature = "operator")]
pub(crate) mod repair;
mod table;
mod watch;

pub(crate) use attempt::consume;
pub use context::{LeaseContext, Previous};
pub(crate) use policy::Policy;
pub use policy::{Park, Reconcile, ReconcileHandler, Reconciled, RetrySameKey};

use std::time::Duration;

use futures::future::BoxFuture;
use oncebox_envelope::{Envelope, RawEnvelope};
use serde::Serialize;

use crate::{
    failure::{Failure, HandlerError},
    handler::{Handler, Read, Route, guard, sealed::Sealed},
    response::Response,
};
use policy::OnUnknown;

/// A function that has the effect of an event with data `D` somewhere else, by HTTP for instance.
///
/// Implemented by every `async fn(Envelope<D>, &LeaseContext) -> Result<R, HandlerError>` whose `R` can be
/// serialised; implement it for a type of yours where the handler needs state. What it returns (if
/// it is neither `()` nor `None`) is kept in the record and handed to duplicates.
///
/// Send [`LeaseContext::idempotency_key`] with every request. Return
/// [`HandlerError::outcome_unknown`] when a reply is lost; [`HandlerError::retryable`] says that the effect did
/// surely not happen.
pub trait LeasedHandler<'a, D>: Send + Sync + 'static {
    /// What the handler answers.
    type Response: Serialize;
    /// What [`handle`](Self::handle) returns.
    type Future: Future<Output = Result<Self::Response, HandlerError>> + Send + 'a;

    /// Has the effect of `event`.
    fn handle(&self, event: Envelope<D>, lease: &'a LeaseContext) -> Self::Future;
}

impl<'a, D, F, R, T> LeasedHandler<'a, D> for F
where
    F: Fn(Envelope<D>, &'a LeaseContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, HandlerError>> + Send + 'a,
    T: Serialize,
{
    type Response = T;
    type Future = R;

    fn handle(&self, event: Envelope<D>, lease: &'a LeaseContext) -> R {
        self(event, lease)
    }
}

/// A handler whose effect lives elsewhere. It can be used once it has declared what happens when the end of an
/// attempt is unknown, because its function was killed, its lease was lost or its reply never came:
///
/// - [`retry_same_key`](Leased::retry_same_key): the handler runs again, with the same idempotency key;
/// - [`reconcile`](Leased::reconcile): a second function asks the receiver whether the effect happened;
/// - [`park`](Leased::park): a person decides; the event is set aside with reason `unknown_outcome`.
///
/// `handler` is an `async fn(Envelope<D>, &LeaseContext) -> Result<R, HandlerError>`.
pub fn leased<F>(handler: F) -> Leased<F> {
    Leased {
        handler,
        policy: Undeclared,
        lease: DEFAULT_LEASE,
    }
}

const DEFAULT_LEASE: Duration = Duration::from_secs(15);
/// Shorter, and a slow reply of the table would end it; longer, and a crash would block an event for hours.
pub(crate) const LEASE_BOUNDS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_secs(15 * 60);

/// From [`leased`].
pub struct Leased<F, P = Undeclared> {
    handler: F,
    policy: P,
    lease: Duration,
}

/// No policy yet: such a handler cannot be given to a consumer.
pub struct Undeclared;

impl<F> Leased<F> {
    /// After an unknown outcome the handler runs again; the receiver recognises the idempotency key.
    ///
    /// Only for receivers that do: another one has two effects then.
    pub fn retry_same_key(self) -> Leased<F, RetrySameKey> {
        self.with(RetrySameKey)
    }

    /// After an unknown outcome `reconcile` finds out; the handler runs only if the effect did not happen.
    ///
    /// `reconcile` is an `async fn(Envelope<D>, &LeaseContext) -> Result<Reconciled<R>, HandlerError>`.
    pub fn reconcile<G>(self, reconcile: G) -> Leased<F, Reconcile<G>> {
        self.with(Reconcile(reconcile))
    }

    /// After an unknown outcome nothing is tried any more: the event goes to the dead-letter queue with reason
    /// `unknown_outcome`, and each further copy too, until somebody changes the record.
    pub fn park(self) -> Leased<F, Park> {
        self.with(Park)
    }

    fn with<P>(self, policy: P) -> Leased<F, P> {
        Leased {
            handler: self.handler,
            policy,
            lease: self.lease,
        }
    }
}

impl<F, P> Leased<F, P> {
    /// How long a holder may be silent before another one takes over; by default 15 s, from 500 ms to 15 min.
    ///
    /// It is renewed three times as often for as long as the handler runs, so it need not be as long as the
    /// work. An event whose function was killed waits for as long.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }
}

impl<F, P> Sealed for Leased<F, P> {}

impl<D, F, P> Handler<D> for Leased<F, P>
where
    D: Send + 'static,
    F: for<'a> LeasedHandler<'a, D>,
    P: OnUnknown<D>,
{
    fn into_route(self, read: Read<D>) -> Route {
        Route::Leased(LeasedRoute {
            policy: P::POLICY,
            lease: self.lease,
            work: Box::new(Reading {
                handler: self.handler,
                policy: self.policy,
                read,
            }),
        })
    }
}

/// What is done with one event type under a lease.
pub(crate) struct LeasedRoute {
    pub(crate) policy: Policy,
    pub(crate) lease: Duration,
    pub(crate) work: Box<dyn Work>,
}

/// A handler and its reconciliation behind one face. Neither panics.
pub(crate) trait Work: Send + Sync {
    /// Has the effect.
    fn run<'a>(&'a self, event: RawEnvelope, lease: &'a LeaseContext) -> Worked<'a, Option<Response>>;
    /// Finds out whether it has happened; `NotDone` where the policy asks nobody.
    fn reconcile<'a>(&'a self, event: RawEnvelope, lease: &'a LeaseContext)
    -> Worked<'a, Reconciled<Option<Response>>>;
}

pub(crate) type Worked<'a, T> = BoxFuture<'a, Result<T, Failure>>;

struct Reading<D, F, P> {
    handler: F,
    policy: P,
    read: Read<D>,
}

impl<D, F, P> Work for Reading<D, F, P>
where
    D: Send + 'static,
    F: for<'a> LeasedHandler<'a, D>,
    P: OnUnknown<D>,
{
    fn run<'a>(&'a self, event: RawEnvelope, lease: &'a LeaseContext) -> Worked<'a, Option<Response>> {
        Box::pin(guard(event, &self.read, move |event| {
            let handling = self.handler.handle(event, lease);
            async move { handling.await.map(|value| Response::of(&value)) }
        }))
    }

    fn reconcile<'a>(
        &'a self,
        event: RawEnvelope,
        lease: &'a LeaseContext,
    ) -> Worked<'a, Reconciled<Option<Response>>> {
        self.policy.reconcile(event, &self.read, lease)
    }
}
