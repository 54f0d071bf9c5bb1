//! The handlers, and a receiver that is not part of any transaction.

use std::{future::Future, pin::Pin};

use oncebox_consumer::{
    Effects, HandlerError, Key, LeaseContext, LeasedHandler, Previous, ReconcileHandler, Reconciled,
    TransactionalHandler, test_kit::sleep,
};
use oncebox_envelope::{Envelope, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    EFFECTS,
    check::CONSUMER,
    plan::{Plan, Policy},
    world::Shared,
};
use crate::ledger::{Effect, PayloadHash};

/// What an event says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Deed {
    pub(super) number: usize,
    pub(super) payload: String,
}

impl Event for Deed {
    const TYPE: &'static str = "simulation.deed.v1";
}

/// What is refused is refused soon, in a tenth of the time. In a bundle it is refused again with each delivery, and one whose refusals do
/// not fit into one invocation goes round until its deliveries are used up.
const REFUSED_IN: u64 = 10;

type Handled<'a, T> = Pin<Box<dyn Future<Output = Result<T, HandlerError>> + Send + 'a>>;

/// Writes an item of its own for each attempt.
#[derive(Clone)]
pub(super) struct Transactional {
    pub(super) shared: Shared,
    pub(super) attempt_millis: u64,
    /// The events that it refuses for good.
    pub(super) rejected: Vec<usize>,
}

impl<'a> TransactionalHandler<'a, Deed> for Transactional {
    type Future = Handled<'a, ()>;

    fn handle(&self, event: Envelope<Deed>, effects: &'a mut Effects) -> Self::Future {
        let (shared, most) = (self.shared.clone(), self.attempt_millis);
        let is_rejected = self.rejected.contains(&event.data.number);
        Box::pin(async move {
            let (attempt, takes, fails) = {
                let mut world = shared.world();
                world.attempts += 1;
                let (attempt, chance) = (world.attempts, world.weather.handler);
                world.note(|| format!("attempt {attempt} of {}", event.data.number));
                (
                    attempt,
                    world.millis(if is_rejected { most / REFUSED_IN } else { most }),
                    world.happens(chance),
                )
            };
            let item = effects.put(EFFECTS, Key::new("attempt", attempt.to_string()));
            item.set("event", event.id.to_string())
                .set("payload", event.data.payload);
            if let Some(key) = event.partition_key {
                item.set("key", key.as_str());
            }
            if let Some(sequence) = event.sequence {
                item.set("sequence", sequence.get());
            }
            sleep(takes).await;
            match (is_rejected, fails) {
                (true, _) => Err(HandlerError::permanent("told to refuse")),
                (false, true) => Err(HandlerError::retryable("told to fail")),
                (false, false) => Ok(()),
            }
        })
    }
}

/// What a receiver has been asked for one event.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// How many effects it had.
    effects: usize,
    /// The highest fence that it has seen.
    fence: u64,
    /// The fence of the last attempt that began.
    last_attempt: u64,
    at_work: usize,
}

/// Asks somebody else's system.
#[derive(Clone)]
pub(super) struct Leased {
    pub(super) shared: Shared,
    pub(super) policy: Policy,
    pub(super) attempt_millis: u64,
    /// The events that it refuses for good.
    pub(super) rejected: Vec<usize>,
}

impl Leased {
    pub(super) fn new(shared: Shared, plan: &Plan, policy: Policy, rejected: Vec<usize>) -> Self {
        Self {
            shared,
            policy,
            attempt_millis: plan.attempt_millis,
            rejected,
        }
    }

    fn begin(&self, event: &Envelope<Deed>, lease: &LeaseContext) -> AtWork {
        let (mut world, number, fence) = (self.shared.world(), event.data.number, lease.fence());
        world.note(|| format!("attempt of {number} with fence {fence}"));
        let was_frozen = world.was_frozen;
        let mut broken = Vec::new();
        if self.policy == Policy::Park && lease.previous() == Previous::Unknown {
            broken.push(format!("event {number} is tried again though a person was to decide"));
        }
        let asked = world.asked.entry(number).or_default();
        if !was_frozen && asked.at_work > 0 {
            broken.push(format!("two are at work on event {number}"));
        }
        if !was_frozen && fence <= asked.last_attempt {
            broken.push(format!(
                "an attempt on event {number} has fence {fence} after {}",
                asked.last_attempt
            ));
        }
        asked.at_work += 1;
        asked.last_attempt = asked.last_attempt.max(fence);
        world.violations.extend(broken);
        AtWork(self.shared.clone(), number)
    }

    /// A request arrives.
    fn request(&self, event: &Envelope<Deed>, fence: u64) {
        let mut world = self.shared.world();
        let asked = world.asked.entry(event.data.number).or_default();
        let is_taken = match self.policy {
            // It recognises the key.
            Policy::RetrySameKey => asked.effects == 0,
            // It does not, but refuses whom another one has superseded.
            Policy::Reconcile => fence >= asked.fence,
            Policy::Park => true,
        };
        asked.fence = asked.fence.max(fence);
        if !is_taken {
            return;
        }
        asked.effects += 1;
        world.note(|| format!("effect of {} with fence {fence}", event.data.number));
        world.effects.push(Effect {
            consumer: CONSUMER.to_owned(),
            event: *event.id.as_uuid(),
            key: event.partition_key.as_ref().map(|key| key.as_str().to_owned()),
            sequence: event.sequence.map(|sequence| sequence.get().unsigned_abs()),
            payload: PayloadHash::of(event.data.payload.as_bytes()),
        });
    }
}

struct AtWork(Shared, usize);

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(asked) = self.0.world().asked.get_mut(&self.1) {
            asked.at_work = asked.at_work.saturating_sub(1);
        }
    }
}

/// How an attempt ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Well,
    /// Surely without an effect.
    Failed,
    /// The reply is lost; the request may have been too.
    Unknown,
    Rejected,
}

impl<'a> LeasedHandler<'a, Deed> for Leased {
    type Response = String;
    type Future = Handled<'a, String>;

    fn handle(&self, event: Envelope<Deed>, lease: &'a LeaseContext) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let _at_work = handler.begin(&event, lease);
            let (before, after, end, arrives) = {
                let mut world = handler.shared.world();
                let (fails, forgets) = (world.weather.handler, world.weather.handler);
                let end = match (handler.rejected.contains(&event.data.number), world.happens(fails)) {
                    (true, _) => End::Rejected,
                    (false, true) => End::Failed,
                    (false, false) if world.happens(forgets) => End::Unknown,
                    (false, false) => End::Well,
                };
                let half = match end {
                    End::Rejected => handler.attempt_millis / 2 / REFUSED_IN,
                    _ => handler.attempt_millis / 2,
                };
                (world.millis(half), world.millis(half), end, world.happens(0.5))
            };
            sleep(before).await;
            if end == End::Well || (end == End::Unknown && arrives) {
                handler.request(&event, lease.fence());
            }
            sleep(after).await;
            match end {
                End::Well => Ok("receipt".to_owned()),
                End::Failed => Err(HandlerError::retryable("told to fail")),
                End::Unknown => Err(HandlerError::outcome_unknown("told to forget")),
                End::Rejected => Err(HandlerError::permanent("told to refuse")),
            }
        })
    }
}

/// Asks whether the effect has happened.
pub(super) struct Ask(pub(super) Leased);

impl<'a> ReconcileHandler<'a, Deed> for Ask {
    type Response = String;
    type Future = Handled<'a, Reconciled<String>>;

    fn reconcile(&self, event: Envelope<Deed>, lease: &'a LeaseContext) -> Self::Future {
        let handler = self.0.clone();
        Box::pin(async move {
            let takes = handler.shared.world().millis(handler.attempt_millis / 2);
            sleep(takes).await;
            let mut world = handler.shared.world();
            let asked = world.asked.entry(event.data.number).or_default();
            asked.fence = asked.fence.max(lease.fence());
            Ok(match asked.effects {
                0 => Reconciled::NotDone,
                _ => Reconciled::Done("receipt".to_owned()),
            })
        })
    }
}
