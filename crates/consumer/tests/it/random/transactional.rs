//! The transactional mode: an event has its effect at most once, and is never acknowledged without it.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use oncebox_consumer::{
    Consumer, Effects, EventReport, HandlerError, Invocation, Key, Outcome, Reason, RetryDelay, Settlement,
    TransactionalHandler,
    test_kit::{MemoryTables, sleep},
    transactional,
};
use oncebox_envelope::Envelope;

use super::{
    cases::{Chance, WallClock, run_cases, until_killed},
    deed::{Deed, message},
};
use crate::delivery::batch;

/// Longer than any record is kept.
const LATER: Duration = Duration::from_secs(36 * 24 * 60 * 60);

/// What is delivered when, and by what kind of machine.
#[derive(Debug)]
struct Delivery {
    after: Duration,
    /// Events and their payloads.
    deeds: Vec<(usize, usize)>,
    /// What has come before is looked up first.
    receives: u32,
    lasts: Duration,
    killed_after: Option<Duration>,
    clock: WallClock,
}

#[derive(Debug)]
struct Schedule {
    deliveries: Vec<Delivery>,
    /// One in so many requests meets with a fault.
    faults: u32,
    /// One in so many attempts fails.
    failures: u32,
    /// Whether everything comes again when no record counts any more.
    comes_later: bool,
}

fn draw(chance: &mut Chance) -> Schedule {
    let events = chance.up_to(3);
    // Most cases have one payload for each event.
    let others = usize::from(chance.one_in(3));
    let deliveries = 1 + chance.up_to(4);
    Schedule {
        deliveries: (0..deliveries)
            .map(|_| Delivery {
                after: chance.millis(1_500),
                deeds: (0..=chance.up_to(3))
                    .map(|_| (chance.up_to(events), chance.up_to(others)))
                    .collect(),
                receives: 1 + u32::from(chance.one_in(2)),
                lasts: Duration::from_secs(1) + chance.millis(9_000),
                killed_after: chance.one_in(3).then(|| chance.millis(1_500)),
                clock: chance.wall_clock(),
            })
            .collect(),
        faults: chance.of(&[2, 4, 10]),
        failures: chance.of(&[3, 10]),
        comes_later: chance.one_in(4),
    }
}

/// Counts the deed, and all deeds together.
#[derive(Clone)]
struct Count(Arc<Mutex<Chance>>, u32);

impl<'a> TransactionalHandler<'a, Deed> for Count {
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Deed>, effects: &'a mut Effects) -> Self::Future {
        let (takes, fails) = {
            let mut chance = self.0.lock().unwrap();
            (chance.millis(100), chance.one_in(self.1))
        };
        Box::pin(async move {
            let Deed { number, payload } = event.data;
            effects
                .update("effects", Key::new("pk", format!("{number}")))
                .add("times", 1)
                .add(format!("payload{payload}"), 1);
            effects.update("effects", Key::new("pk", "all")).add("times", 1);
            sleep(takes).await;
            match fails {
                true => Err(HandlerError::retryable("told to retry")),
                false => Ok(()),
            }
        })
    }
}

/// What the table of effects says of a deed: how often each payload had its effect.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Effect {
    times: [u64; 2],
}

fn number(item: &HashMap<String, AttributeValue>, name: &str) -> u64 {
    item.get(name).map_or(0, |value| value.as_n().unwrap().parse().unwrap())
}

fn effects(tables: &MemoryTables) -> HashMap<String, Effect> {
    let items = tables.items("effects").into_iter();
    let effect = |item: HashMap<String, AttributeValue>| {
        let times = [number(&item, "payload0"), number(&item, "payload1")];
        (item["pk"].as_s().unwrap().clone(), Effect { times })
    };
    let mut effects: HashMap<_, _> = items.clone().map(effect).collect();
    effects.remove("all");
    let all: u64 = items
        .filter(|item| item["pk"].as_s().unwrap() == "all")
        .map(|item| number(&item, "times"))
        .sum();
    let sum: u64 = effects.values().flat_map(|effect| effect.times).sum();
    assert_eq!(
        all, sum,
        "what was merged into one write counts as often as it was asked for"
    );
    effects
}

/// The model: what has been promised about each event so far.
struct Model {
    /// In which life of its record an event is: each has one effect.
    life: u64,
    done: HashMap<usize, u64>,
}

impl Model {
    fn check(&mut self, tables: &MemoryTables, deeds: &[(usize, usize)], settled: &[EventReport]) {
        let effects = effects(tables);
        for effect in effects.values() {
            let times = effect.times[0] + effect.times[1];
            assert!(
                times <= self.life,
                "{effect:?}: more than one effect in life {}",
                self.life
            );
        }
        for ((number, payload), report) in deeds.iter().zip(settled) {
            let effect = effects.get(&number.to_string()).copied().unwrap_or_default();
            let is_mine = effect.times[0] + effect.times[1] == self.life && effect.times[*payload] > 0;
            match report.outcome {
                Outcome::Done => {
                    let done = self.done.entry(*number).or_default();
                    *done += 1;
                    assert!(*done <= self.life, "event {number} was done twice");
                    assert!(is_mine && !report.is_failed, "{report:?} {effect:?}");
                }
                Outcome::Duplicate => assert!(is_mine && !report.is_failed, "{report:?} {effect:?}"),
                Outcome::Permanent => {
                    assert_eq!(report.reason, Some(Reason::PayloadMismatch), "{report:?}");
                    assert!(
                        report.is_failed && effect.times[1 - payload] > 0,
                        "{report:?} {effect:?}"
                    );
                }
                Outcome::Retryable | Outcome::NotStarted => assert!(report.is_failed),
                other => panic!("{other:?} is nothing that this mode knows"),
            }
        }
    }
}

struct World {
    tables: MemoryTables,
    handler: Count,
    model: RefCell<Model>,
}

impl World {
    fn consumer(&self) -> Consumer {
        let builder = Consumer::builder("test").dedupe(self.tables.dedupe());
        let builder = builder.retry_delay(RetryDelay::QueueDefault);
        builder
            .on::<Deed, _>(transactional(self.handler.clone()))
            .build()
            .unwrap()
    }

    async fn invoke(&self, deeds: &[(usize, usize)], receives: u32, lasts: Duration) -> Settlement {
        let messages: Vec<_> = deeds
            .iter()
            .map(|(number, payload)| message(*number, *payload).delivered(receives))
            .collect();
        let consumer = self.consumer();
        let invocation = Invocation::new("request", lasts);
        let settled = consumer.settle_batch(batch(&messages), &invocation).await.unwrap();
        self.model.borrow_mut().check(&self.tables, deeds, &settled.events);
        settled
    }

    async fn deliver(&self, delivery: &Delivery) {
        sleep(delivery.after).await;
        let work = delivery
            .clock
            .around(self.invoke(&delivery.deeds, delivery.receives, delivery.lasts));
        until_killed(delivery.killed_after, work).await;
    }

    /// Delivers each deed until it is settled, when nothing goes wrong any more.
    async fn settle(&self, deeds: &BTreeSet<(usize, usize)>) {
        for &deed in deeds {
            let mut deliveries = 0;
            loop {
                let settled = self.invoke(&[deed], 2, Duration::from_secs(30)).await;
                let report = &settled.events[0];
                if !report.is_failed || report.outcome == Outcome::Permanent {
                    break;
                }
                deliveries += 1;
                assert!(deliveries < 100, "{deed:?} does not settle: {report:?}");
            }
        }
    }
}

async fn run(schedule: &Schedule, mut chance: Chance) {
    let world = World {
        tables: MemoryTables::new().table("effects", &["pk"]),
        model: RefCell::new(Model {
            life: 1,
            done: HashMap::new(),
        }),
        handler: Count(Arc::new(Mutex::new(chance.child())), schedule.failures),
    };
    world.tables.faults(chance.faults(schedule.faults));
    world.tables.read_faults(chance.faults(schedule.faults));
    join_all(schedule.deliveries.iter().map(|delivery| world.deliver(delivery))).await;
    world.tables.faults(|_| None);
    world.tables.read_faults(|_| None);
    let deeds = schedule.deliveries.iter().flat_map(|delivery| &delivery.deeds);
    let deeds: BTreeSet<(usize, usize)> = deeds.copied().collect();
    world.settle(&deeds).await;
    if schedule.comes_later {
        sleep(LATER).await;
        world.model.borrow_mut().life = 2;
        // Nothing has swept the records, and none of them counts.
        world.settle(&deeds).await;
        let effects = effects(&world.tables);
        let records = world.tables.items("dedupe").len();
        assert_eq!(records, effects.len());
        let times = effects.values().map(|effect| effect.times[0] + effect.times[1]);
        assert!(times.into_iter().all(|times| times == 2), "{effects:?}");
    }
}

#[test]
fn whatever_comes_when_a_transactional_event_has_one_effect_before_it_is_acknowledged() {
    run_cases(draw, run);
}
