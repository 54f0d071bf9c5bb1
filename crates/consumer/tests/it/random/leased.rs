//! The leased mode: one owner completes, and what nobody can know is followed by what was declared.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::join_all;
use oncebox_consumer::{
    Consumer, EventReport, HandlerError, Invocation, LeaseContext, LeasedHandler, Outcome, Previous, Reason,
    ReconcileHandler, Reconciled, RetryDelay, leased,
    test_kit::{MemoryTables, sleep},
};
use oncebox_envelope::Envelope;

use super::{
    cases::{Chance, WallClock, run_cases, until_killed},
    deed::{Deed, message},
};
use crate::delivery::batch;

const LEASE: Duration = Duration::from_secs(3);
/// Longer than any record is kept.
const LATER: Duration = Duration::from_secs(36 * 24 * 60 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    RetrySameKey,
    Reconcile,
    Park,
}

#[derive(Debug)]
struct Delivery {
    after: Duration,
    deed: (usize, usize),
    lasts: Duration,
    killed_after: Option<Duration>,
    /// Nobody polls it from when on and for how long, as a process that is frozen.
    frozen: Option<(Duration, Duration)>,
    clock: WallClock,
}

#[derive(Debug)]
struct Schedule {
    policy: Policy,
    deliveries: Vec<Delivery>,
    /// One in so many requests meets with a fault; `None`: nothing goes wrong at all.
    faults: Option<u32>,
    comes_later: bool,
}

fn draw(chance: &mut Chance) -> Schedule {
    let events = chance.up_to(1);
    let others = usize::from(chance.one_in(4));
    let faults = chance.of(&[None, Some(2), Some(4), Some(10)]);
    let goes_wrong = faults.is_some();
    let deliveries = 1 + chance.up_to(4);
    Schedule {
        policy: chance.of(&[Policy::RetrySameKey, Policy::Reconcile, Policy::Park]),
        deliveries: (0..deliveries)
            .map(|_| Delivery {
                after: chance.millis(8_000),
                deed: (chance.up_to(events), chance.up_to(others)),
                lasts: if goes_wrong {
                    Duration::from_secs(2) + chance.millis(28_000)
                } else {
                    Duration::from_secs(60)
                },
                killed_after: (goes_wrong && chance.one_in(3)).then(|| chance.millis(6_000)),
                frozen: (goes_wrong && chance.one_in(4)).then(|| (chance.millis(6_000), chance.millis(20_000))),
                clock: chance.wall_clock(),
            })
            .collect(),
        faults,
        comes_later: chance.one_in(4),
    }
}

/// What a receiver has been asked for one event.
#[derive(Debug, Default)]
struct Asked {
    /// The payload of each effect.
    effects: Vec<usize>,
    /// The highest fence that has been seen.
    fence: u64,
    /// The fences of all attempts, in the order in which they began.
    attempts: Vec<u64>,
    at_work: usize,
}

/// Somebody else's system, and the handler that asks it.
#[derive(Clone)]
struct Receiver(Arc<Mutex<World>>);

struct World {
    policy: Policy,
    chance: Chance,
    goes_wrong: bool,
    is_frozen_ever: bool,
    asked: HashMap<String, Asked>,
}

/// How an attempt ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Well,
    /// Surely without an effect.
    Failed,
    /// The reply is lost; the request may have been too.
    Unknown,
}

impl Receiver {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn begin(&self, key: &str, lease: &LeaseContext) -> AtWork {
        let mut world = self.world();
        let (policy, is_frozen_ever) = (world.policy, world.is_frozen_ever);
        let asked = world.asked.entry(key.to_owned()).or_default();
        if policy == Policy::Park {
            assert_ne!(lease.previous(), Previous::Unknown, "a person was to decide");
        }
        let last = asked.attempts.last();
        let is_newest = last.is_none_or(|last| *last < lease.fence());
        assert!(is_newest || is_frozen_ever, "{asked:?} {}", lease.fence());
        asked.attempts.push(lease.fence());
        assert!(
            asked.at_work == 0 || is_frozen_ever,
            "two owners are at work: {asked:?}"
        );
        asked.at_work += 1;
        AtWork(self.clone(), key.to_owned())
    }

    /// The request arrives.
    fn request(&self, key: &str, fence: u64, payload: usize) {
        let mut world = self.world();
        let policy = world.policy;
        let asked = world.asked.entry(key.to_owned()).or_default();
        let is_taken = match policy {
            // It recognises the key.
            Policy::RetrySameKey => asked.effects.is_empty(),
            // It does not, but refuses whom another one has superseded.
            Policy::Reconcile => fence >= asked.fence,
            Policy::Park => true,
        };
        asked.fence = asked.fence.max(fence);
        if is_taken {
            asked.effects.push(payload);
        }
    }
}

struct AtWork(Receiver, String);

impl Drop for AtWork {
    fn drop(&mut self) {
        // Poisoned where a check has failed, which is told already.
        if let Ok(mut world) = self.0.0.lock()
            && let Some(asked) = world.asked.get_mut(&self.1)
        {
            asked.at_work -= 1;
        }
    }
}

impl<'a> LeasedHandler<'a, Deed> for Receiver {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<String, HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Deed>, lease: &'a LeaseContext) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move {
            let key = lease.idempotency_key();
            let _at_work = receiver.begin(key, lease);
            let (before, after, end, arrives) = {
                let mut world = receiver.world();
                let goes_wrong = world.goes_wrong;
                let end = match goes_wrong {
                    true => world.chance.of(&[End::Well, End::Well, End::Failed, End::Unknown]),
                    false => world.chance.of(&[End::Well, End::Well, End::Failed]),
                };
                let (before, after) = (world.chance.millis(3_000), world.chance.millis(3_000));
                (before, after, end, world.chance.one_in(2))
            };
            sleep(before).await;
            if end == End::Well || (end == End::Unknown && arrives) {
                receiver.request(key, lease.fence(), event.data.payload);
            }
            sleep(after).await;
            match end {
                End::Well => Ok(format!("receipt for {}", event.data.payload)),
                End::Failed => Err(HandlerError::retryable("told to retry")),
                End::Unknown => Err(HandlerError::outcome_unknown("told to forget")),
            }
        })
    }
}

/// Asks the receiver.
struct Ask(Receiver);

impl<'a> ReconcileHandler<'a, Deed> for Ask {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Reconciled<String>, HandlerError>> + Send + 'a>>;

    fn reconcile(&self, event: Envelope<Deed>, lease: &'a LeaseContext) -> Self::Future {
        let receiver = self.0.clone();
        Box::pin(async move {
            assert_eq!(lease.previous(), Previous::Unknown);
            let takes = receiver.world().chance.millis(500);
            sleep(takes).await;
            let mut world = receiver.world();
            let asked = world.asked.entry(lease.idempotency_key().to_owned()).or_default();
            asked.fence = asked.fence.max(lease.fence());
            Ok(match asked.effects.is_empty() {
                true => Reconciled::NotDone,
                false => Reconciled::Done(format!("receipt for {}", event.data.payload)),
            })
        })
    }
}

struct Case<'a> {
    schedule: &'a Schedule,
    tables: MemoryTables,
    receiver: Receiver,
    /// How many deliveries of each event had the effect, by their own account.
    done: RefCell<HashMap<usize, usize>>,
}

impl Case<'_> {
    fn consumer(&self) -> Consumer {
        let builder = Consumer::builder("test").dedupe(self.tables.dedupe());
        let builder = builder.retry_delay(RetryDelay::QueueDefault);
        let handler = leased(self.receiver.clone()).lease(LEASE);
        match self.schedule.policy {
            Policy::RetrySameKey => builder.on::<Deed, _>(handler.retry_same_key()),
            Policy::Reconcile => builder.on::<Deed, _>(handler.reconcile(Ask(self.receiver.clone()))),
            Policy::Park => builder.on::<Deed, _>(handler.park()),
        }
        .build()
        .unwrap()
    }

    async fn invoke(&self, deed: (usize, usize), lasts: Duration) -> EventReport {
        let message = message(deed.0, deed.1);
        let consumer = self.consumer();
        let invocation = Invocation::new("request", lasts);
        let settled = consumer
            .settle_batch(batch(std::slice::from_ref(&message)), &invocation)
            .await;
        let report = settled.unwrap().events.remove(0);
        self.check(deed, &message.id.to_string(), &report);
        report
    }

    fn check(&self, (number, payload): (usize, usize), key: &str, report: &EventReport) {
        let world = self.receiver.world();
        let effects = world.asked.get(key).map_or(&[][..], |asked| &asked.effects);
        assert!(effects.len() <= 1, "more than one effect: {effects:?} {report:?}");
        match report.outcome {
            Outcome::Done | Outcome::Duplicate => {
                assert_eq!((effects, report.is_failed), (&[payload][..], false), "{report:?}");
                let response = report.response.as_ref().unwrap().json().unwrap();
                assert_eq!(response, format!("\"receipt for {payload}\""), "{report:?}");
                if report.outcome == Outcome::Done {
                    let mut done = self.done.borrow_mut();
                    let done = done.entry(number).or_default();
                    *done += 1;
                    assert!(*done <= 1, "two owners have completed event {number}");
                }
            }
            Outcome::Permanent => {
                assert!(report.is_failed);
                match report.reason {
                    Some(Reason::PayloadMismatch) => assert_ne!(effects, [payload], "{report:?}"),
                    Some(Reason::UnknownOutcome) => {
                        assert!(world.policy == Policy::Park && world.goes_wrong, "{report:?}");
                    }
                    _ => panic!("{report:?}"),
                }
            }
            Outcome::Retryable | Outcome::NotStarted => assert!(report.is_failed),
            Outcome::InProgress => assert!(report.is_failed && report.retry_after.is_some()),
            Outcome::LeaseLost => assert!(report.is_failed && world.goes_wrong, "{report:?}"),
            other => panic!("{other:?} is nothing that this mode knows"),
        }
    }

    async fn deliver(&self, delivery: &Delivery) {
        sleep(delivery.after).await;
        let mut work = Box::pin(delivery.clock.around(self.invoke(delivery.deed, delivery.lasts)));
        if let Some((after, length)) = delivery.frozen {
            if until_killed(Some(after), &mut work).await.is_some() {
                return;
            }
            sleep(length).await;
        }
        until_killed(delivery.killed_after, work).await;
    }

    /// Delivers each deed until it is settled, when nothing goes wrong any more; says which were acknowledged.
    async fn settle(&self, deeds: &BTreeSet<(usize, usize)>) -> Vec<(usize, usize)> {
        let mut acknowledged = Vec::new();
        for &deed in deeds {
            let mut deliveries = 0;
            loop {
                let report = self.invoke(deed, Duration::from_secs(60)).await;
                if !report.is_failed {
                    acknowledged.push(deed);
                    break;
                }
                if report.outcome == Outcome::Permanent {
                    break;
                }
                deliveries += 1;
                assert!(deliveries < 100, "{deed:?} does not settle: {report:?}");
            }
        }
        acknowledged
    }
}

async fn run(schedule: &Schedule, mut chance: Chance) {
    let goes_wrong = schedule.faults.is_some();
    let world = World {
        policy: schedule.policy,
        chance: chance.child(),
        goes_wrong,
        is_frozen_ever: schedule.deliveries.iter().any(|delivery| delivery.frozen.is_some()),
        asked: HashMap::new(),
    };
    let case = Case {
        schedule,
        tables: MemoryTables::new(),
        receiver: Receiver(Arc::new(Mutex::new(world))),
        done: RefCell::default(),
    };
    if let Some(often) = schedule.faults {
        case.tables.faults(chance.faults(often));
        case.tables.read_faults(chance.faults(often));
    }
    join_all(schedule.deliveries.iter().map(|delivery| case.deliver(delivery))).await;
    case.tables.faults(|_| None);
    case.tables.read_faults(|_| None);
    let deeds: BTreeSet<(usize, usize)> = schedule.deliveries.iter().map(|delivery| delivery.deed).collect();
    let acknowledged = case.settle(&deeds).await;
    let events: BTreeSet<usize> = deeds.iter().map(|deed| deed.0).collect();
    for event in events {
        let payloads = acknowledged.iter().filter(|deed| deed.0 == event).count();
        let is_parked = payloads == 0 && schedule.policy == Policy::Park && goes_wrong;
        assert!(
            payloads == 1 || is_parked,
            "event {event}: {payloads} payloads were acknowledged"
        );
    }
    if schedule.comes_later {
        sleep(LATER).await;
        // A new life: the receiver has forgotten too, and nothing has swept the records.
        {
            let mut world = case.receiver.world();
            world.goes_wrong = false;
            world.asked.values_mut().for_each(|asked| asked.effects.clear());
        }
        case.done.borrow_mut().clear();
        for deed in &acknowledged {
            assert_eq!(case.settle(&BTreeSet::from([*deed])).await, [*deed]);
            assert_eq!(
                case.done.borrow().get(&deed.0),
                Some(&1),
                "its record does not count any more"
            );
        }
    }
}

#[test]
fn whatever_comes_when_one_owner_of_a_leased_event_completes_or_its_policy_is_followed() {
    run_cases(draw, run);
}
