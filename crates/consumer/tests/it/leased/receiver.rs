//! The other side of a leased handler, and the handler.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use oncebox_consumer::{
    Consumer, ConsumerBuilder, HandlerError, Invocation, LeaseContext, LeasedHandler, Outcome, Previous, Reconciled,
    RetryDelay, Settlement, leased,
    test_kit::{MemoryTables, sleep},
};
use oncebox_envelope::Envelope;

use crate::{
    delivery::{Message, batch},
    ping::Ping,
};

/// Where a handler stops for ever, as one whose function is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hang {
    Never,
    BeforeItsEffect,
    AfterItsEffect,
}

/// What a handler answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    Ok,
    Retryable,
    Permanent,
    Unknown,
    Panic,
}

/// Something that is asked by HTTP. It counts its effects, and knows the keys that it has seen.
#[derive(Clone)]
pub(super) struct Receiver(Arc<Inner>);

struct Inner {
    is_idempotent: bool,
    state: Mutex<State>,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
}

struct State {
    effects: Vec<String>,
    seen: HashSet<String>,
    fences: Vec<u64>,
    previous: Vec<Previous>,
    told_to_stop: usize,
    /// How long a request takes, and how the next attempts go.
    takes: Duration,
    script: Vec<(Hang, Say)>,
}

impl Receiver {
    /// One that recognises an idempotency key.
    pub(super) fn idempotent() -> Self {
        Self::new(true)
    }

    /// One that has an effect for each request.
    pub(super) fn forgetful() -> Self {
        Self::new(false)
    }

    fn new(is_idempotent: bool) -> Self {
        let state = State {
            effects: Vec::new(),
            seen: HashSet::new(),
            fences: Vec::new(),
            previous: Vec::new(),
            told_to_stop: 0,
            takes: Duration::from_millis(100),
            script: Vec::new(),
        };
        Self(Arc::new(Inner {
            is_idempotent,
            state: Mutex::new(state),
            at_work: AtomicUsize::new(0),
            most_at_work: AtomicUsize::new(0),
        }))
    }

    pub(super) fn takes(self, takes: Duration) -> Self {
        self.state().takes = takes;
        self
    }

    /// How the next attempts go, in their order; later ones succeed.
    pub(super) fn script(&self, script: &[(Hang, Say)]) {
        self.state().script = script.iter().rev().copied().collect();
    }

    pub(super) fn effects(&self) -> usize {
        self.state().effects.len()
    }

    /// The fences of all attempts, in their order.
    pub(super) fn fences(&self) -> Vec<u64> {
        self.state().fences.clone()
    }

    pub(super) fn previous(&self) -> Vec<Previous> {
        self.state().previous.clone()
    }

    pub(super) fn told_to_stop(&self) -> usize {
        self.state().told_to_stop
    }

    /// How many handlers were at work at one moment, at most.
    pub(super) fn most_at_work(&self) -> usize {
        self.0.most_at_work.load(Ordering::SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn has_seen(&self, key: &str) -> bool {
        self.state().seen.contains(key)
    }

    fn request(&self, key: &str) {
        let mut state = self.state();
        let is_new = state.seen.insert(key.to_owned());
        if is_new || !self.0.is_idempotent {
            state.effects.push(key.to_owned());
        }
    }
}

/// One that works; it ends when it is dropped.
struct AtWork(Receiver);

impl AtWork {
    fn new(receiver: Receiver) -> Self {
        let now = receiver.0.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        receiver.0.most_at_work.fetch_max(now, Ordering::SeqCst);
        Self(receiver)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<'a> LeasedHandler<'a, Ping> for Receiver {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<String, HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Ping>, lease: &'a LeaseContext) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move {
            let (takes, (hang, say)) = {
                let mut state = receiver.state();
                state.fences.push(lease.fence());
                state.previous.push(lease.previous());
                (state.takes, state.script.pop().unwrap_or((Hang::Never, Say::Ok)))
            };
            assert_eq!(lease.idempotency_key(), event.id.to_string());
            let _at_work = AtWork::new(receiver.clone());
            let work = async {
                if hang == Hang::BeforeItsEffect {
                    std::future::pending::<()>().await;
                }
                sleep(takes / 2).await;
                receiver.request(lease.idempotency_key());
                if hang == Hang::AfterItsEffect {
                    std::future::pending::<()>().await;
                }
                sleep(takes / 2).await;
            };
            tokio::select! {
                () = work => {}
                () = lease.stopping() => {
                    receiver.state().told_to_stop += 1;
                    // It goes on all the same: what it does from here on must not count.
                    std::future::pending::<()>().await;
                }
            }
            match say {
                Say::Ok => Ok(format!("receipt of {}", event.id)),
                Say::Retryable => Err(HandlerError::retryable("told to retry")),
                Say::Permanent => Err(HandlerError::permanent("told to reject")),
                Say::Unknown => Err(HandlerError::outcome_unknown("told to forget")),
                Say::Panic => panic!("told to panic"),
            }
        })
    }
}

/// Asks the receiver.
struct Ask(Receiver);

impl<'a> oncebox_consumer::ReconcileHandler<'a, Ping> for Ask {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Reconciled<String>, HandlerError>> + Send + 'a>>;

    fn reconcile(&self, event: Envelope<Ping>, lease: &'a LeaseContext) -> Self::Future {
        let receiver = self.0.clone();
        Box::pin(async move {
            assert_eq!(lease.previous(), Previous::Unknown);
            Ok(match receiver.has_seen(lease.idempotency_key()) {
                true => Reconciled::Done(format!("receipt of {}", event.id)),
                false => Reconciled::NotDone,
            })
        })
    }
}

/// A policy and a receiver that it suits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    RetrySameKey,
    Reconcile,
    Park,
}

impl Policy {
    pub(super) const ALL: [Self; 3] = [Self::RetrySameKey, Self::Reconcile, Self::Park];

    pub(super) fn receiver(self) -> Receiver {
        match self {
            Self::RetrySameKey => Receiver::idempotent(),
            Self::Reconcile | Self::Park => Receiver::forgetful(),
        }
    }
}

pub(super) const LEASE: Duration = Duration::from_secs(3);

pub(super) fn builder(tables: &MemoryTables) -> ConsumerBuilder {
    Consumer::builder("test")
        .dedupe(tables.dedupe())
        .retry_delay(RetryDelay::QueueDefault)
}

/// A function that sends pings to `receiver`.
pub(super) fn consumer(tables: &MemoryTables, receiver: &Receiver, policy: Policy) -> Consumer {
    on_pings(builder(tables), receiver, policy, LEASE)
}

pub(super) fn on_pings(builder: ConsumerBuilder, receiver: &Receiver, policy: Policy, lease: Duration) -> Consumer {
    let handler = leased(receiver.clone()).lease(lease);
    match policy {
        Policy::RetrySameKey => builder.on::<Ping, _>(handler.retry_same_key()),
        Policy::Reconcile => builder.on::<Ping, _>(handler.reconcile(Ask(receiver.clone()))),
        Policy::Park => builder.on::<Ping, _>(handler.park()),
    }
    .build()
    .unwrap()
}

/// One invocation of 30 seconds.
pub(super) async fn invoke(consumer: &Consumer, message: &Message) -> Settlement {
    invoke_for(consumer, message, Duration::from_secs(30)).await
}

pub(super) async fn invoke_for(consumer: &Consumer, message: &Message, time: Duration) -> Settlement {
    let event = batch(std::slice::from_ref(message));
    consumer
        .settle_batch(event, &Invocation::new("request", time))
        .await
        .unwrap()
}

/// Kills an invocation after `time`, whatever it is about.
pub(super) async fn kill_after(time: Duration, invocation: impl Future<Output = Settlement>) -> Option<Settlement> {
    tokio::select! {
        settled = invocation => Some(settled),
        () = sleep(time) => None,
    }
}

/// Delivers `copies` of a message side by side, each by an instance of its own and again and again until it is settled.
pub(super) async fn deliver_until_settled(
    copies: usize,
    message: &Message,
    consumer: impl Fn() -> Consumer,
) -> Vec<Outcome> {
    let deliver = || async {
        let consumer = consumer();
        for _ in 0..20 {
            let settled = invoke(&consumer, message).await;
            let event = &settled.events[0];
            if !event.is_failed || event.outcome == Outcome::Permanent {
                return event.outcome;
            }
            sleep(event.retry_after.unwrap_or(Duration::from_secs(1))).await;
        }
        panic!("not settled after 20 deliveries");
    };
    join_all((0..copies).map(|_| deliver())).await
}
