//! The gap guard: on a queue without order, the numbered events of a key have their effects one after the other.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use oncebox_consumer::{
    Consumer, EventReport, GapGuard, Invocation, Outcome, RetryDelay, Settlement, test_kit::sleep, transactional,
};

use super::{
    cases::{Chance, WallClock, run_cases, until_killed},
    step::{DoneSteps, Lines, Step, Walk},
};
use crate::delivery::{Message, batch};

#[derive(Debug)]
struct Delivery {
    after: Duration,
    steps: Vec<Step>,
    /// Whether they come in one message.
    is_bundle: bool,
    receives: u32,
    lasts: Duration,
    killed_after: Option<Duration>,
    frozen: Option<(Duration, Duration)>,
    clock: WallClock,
}

#[derive(Debug)]
struct Schedule {
    keys: usize,
    /// How many events each key has.
    places: usize,
    payloads: usize,
    deliveries: Vec<Delivery>,
    faults: u32,
    failures: u32,
}

fn draw(chance: &mut Chance) -> Schedule {
    let (keys, places) = (1 + chance.up_to(1), 1 + chance.up_to(5));
    // Most cases have one payload for each event.
    let payloads = 1 + usize::from(chance.one_in(4));
    let deliveries = 1 + chance.up_to(5);
    let step = |chance: &mut Chance| Step {
        line: chance.up_to(keys - 1),
        place: 1 + chance.up_to(places - 1),
        payload: chance.up_to(payloads - 1),
    };
    Schedule {
        keys,
        places,
        payloads,
        deliveries: (0..deliveries)
            .map(|_| Delivery {
                after: chance.millis(2_500),
                steps: (0..=chance.up_to(6)).map(|_| step(chance)).collect(),
                is_bundle: chance.one_in(4),
                receives: 1 + u32::from(chance.one_in(2)),
                lasts: Duration::from_secs(1) + chance.millis(9_000),
                killed_after: chance.one_in(4).then(|| chance.millis(1_500)),
                frozen: chance.one_in(4).then(|| (chance.millis(600), chance.millis(5_000))),
                clock: chance.wall_clock(),
            })
            .collect(),
        faults: chance.of(&[3, 6, 20]),
        failures: chance.of(&[3, 10]),
    }
}

struct Case {
    lines: Lines,
    walk: Walk,
    done: RefCell<DoneSteps>,
}

impl Case {
    async fn invoke(&self, steps: &[Step], receives: u32, is_bundle: bool, lasts: Duration) -> Settlement {
        let builder = Consumer::builder("test").dedupe(self.lines.0.dedupe());
        let builder = builder.retry_delay(RetryDelay::QueueDefault);
        let builder = builder.gap_guard(GapGuard::from_one().park_after(Duration::MAX));
        let consumer = builder.on::<Step, _>(transactional(self.walk.clone())).build().unwrap();
        let mut messages: Vec<Message> = steps.iter().map(|step| step.message().delivered(receives)).collect();
        if is_bundle && messages.len() > 1 {
            messages = vec![Message::bundle(&messages).delivered(receives)];
        }
        let invocation = Invocation::new("request", lasts);
        let settled = consumer.settle_batch(batch(&messages), &invocation).await.unwrap();
        self.check(steps, &settled.events);
        settled
    }

    fn check(&self, steps: &[Step], reports: &[EventReport]) {
        assert!(self.walk.early.lock().unwrap().is_empty(), "{:?}", self.walk.early);
        assert_eq!(steps.len(), reports.len());
        for (step, report) in steps.iter().zip(reports) {
            let has_effect = self.lines.last(step.line) >= step.place;
            let is_mine = has_effect && self.lines.payload(*step) == step.payload;
            self.done.borrow_mut().check(*step, report, is_mine);
        }
    }

    async fn deliver(&self, delivery: &Delivery) {
        sleep(delivery.after).await;
        let work = self.invoke(&delivery.steps, delivery.receives, delivery.is_bundle, delivery.lasts);
        let mut work = Box::pin(delivery.clock.around(work));
        if let Some((after, length)) = delivery.frozen {
            if until_killed(Some(after), &mut work).await.is_some() {
                return;
            }
            sleep(length).await;
        }
        until_killed(delivery.killed_after, work).await;
    }

    /// Delivers every event until it is settled, the last ones first, when nothing goes wrong any more.
    async fn settle(&self, schedule: &Schedule) {
        let places = (1..=schedule.places).rev();
        let all = places.flat_map(|place| (0..schedule.keys).map(move |line| (line, place)));
        let all =
            all.flat_map(|(line, place)| (0..schedule.payloads).map(move |payload| Step { line, place, payload }));
        let mut open: Vec<Step> = all.collect();
        for _ in 0..200 {
            let mut left = Vec::new();
            for step in open {
                let settled = self.invoke(&[step], 2, false, Duration::from_secs(30)).await;
                let report = &settled.events[0];
                if report.is_failed && report.outcome != Outcome::Permanent {
                    left.push(step);
                }
            }
            if left.is_empty() {
                return;
            }
            open = left;
        }
        panic!("{open:?} do not settle");
    }
}

async fn run(schedule: &Schedule, mut chance: Chance) {
    let lines = Lines::new();
    let case = Case {
        walk: Walk {
            lines: lines.clone(),
            chance: Arc::new(Mutex::new(chance.child())),
            failures: schedule.failures,
            early: Arc::default(),
        },
        lines,
        done: RefCell::default(),
    };
    case.lines.0.faults(chance.faults(schedule.faults));
    case.lines.0.read_faults(chance.faults(schedule.faults));
    join_all(schedule.deliveries.iter().map(|delivery| case.deliver(delivery))).await;
    case.lines.0.faults(|_| None);
    case.lines.0.read_faults(|_| None);
    case.settle(schedule).await;
    for line in 0..schedule.keys {
        assert_eq!(case.lines.last(line), schedule.places, "key {line}");
    }
}

#[test]
fn whatever_comes_the_numbered_events_of_a_key_have_one_effect_each_in_their_order() {
    run_cases(draw, run);
}
