//! A backlog of one key on a standard queue: it is worked off at a pace, whatever order it comes in.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use oncebox_consumer::{
    Consumer, EventReport, GapGuard, Invocation, Outcome, RetryDelay, test_kit::sleep, transactional,
};

use super::{
    cases::{Chance, run_some_cases},
    step::{Lines, Step, Walk},
};
use crate::delivery::{Message, batch};

/// Each is a hundred events, some of them delivered ten times.
const CASES: u64 = 200;
/// Of one event, as `docs/effect-modes.md` tells: a queue with a `maxReceiveCount` of 20 has room for outages too.
const MOST_DELIVERIES: u32 = 12;
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Schedule {
    events: usize,
    functions: usize,
    /// One in so many attempts fails.
    failures: u32,
}

fn draw(chance: &mut Chance) -> Schedule {
    Schedule {
        events: 10 + chance.up_to(90),
        functions: 1 + chance.up_to(3),
        failures: chance.of(&[20, u32::MAX]),
    }
}

/// A message in the queue.
struct Waiting {
    message: Message,
    visible_at: Duration,
    first_received: Option<Duration>,
    receives: u32,
}

/// A standard queue: what is visible comes in any order.
struct Queue {
    waiting: RefCell<Vec<Waiting>>,
    chance: RefCell<Chance>,
    now: Cell<Duration>,
    most_receives: Cell<u32>,
    in_flight: Cell<usize>,
}

impl Queue {
    /// At most ten, as SQS hands over to Lambda without a batch window.
    fn receive(&self) -> Vec<Waiting> {
        let (mut waiting, mut chance) = (self.waiting.borrow_mut(), self.chance.borrow_mut());
        let mut received = Vec::new();
        while received.len() < 10 {
            let visible: Vec<usize> = (0..waiting.len())
                .filter(|index| waiting[*index].visible_at <= self.now.get())
                .collect();
            if visible.is_empty() {
                break;
            }
            let mut message = waiting.swap_remove(chance.of(&visible));
            message.receives += 1;
            message.first_received.get_or_insert(self.now.get());
            self.most_receives.set(self.most_receives.get().max(message.receives));
            received.push(message);
        }
        self.in_flight.set(self.in_flight.get() + received.len());
        received
    }

    fn settle(&self, message: Waiting, report: &EventReport) {
        self.in_flight.set(self.in_flight.get() - 1);
        assert!(
            matches!(
                report.outcome,
                Outcome::Done | Outcome::Held | Outcome::NotStarted | Outcome::Retryable
            ),
            "nothing is missing and nothing is wrong: {report:?}"
        );
        if !report.is_failed {
            return;
        }
        // As `RetryDelay::ByReceiveCount` asks for it: half of a delay is random.
        let least = report
            .retry_after
            .unwrap_or(Duration::from_millis(500 << (message.receives - 1).min(10)));
        let delay = least
            + self
                .chance
                .borrow_mut()
                .millis(u64::try_from(least.as_millis()).unwrap());
        self.waiting.borrow_mut().push(Waiting {
            visible_at: self.now.get() + Duration::from_secs(delay.as_secs_f64().ceil() as u64),
            ..message
        });
    }

    fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty() && self.in_flight.get() == 0
    }
}

async fn function(queue: &Queue, consumer: &Consumer) {
    while !queue.is_empty() {
        let received = queue.receive();
        if received.is_empty() {
            sleep(TICK).await;
            continue;
        }
        let messages: Vec<Message> = received.iter().map(Waiting::delivered).collect();
        let invocation = Invocation::new("request", Duration::from_secs(30));
        let settled = consumer.settle_batch(batch(&messages), &invocation).await.unwrap();
        for (message, report) in received.into_iter().zip(&settled.events) {
            queue.settle(message, report);
        }
    }
}

impl Waiting {
    fn delivered(&self) -> Message {
        // The clock of a case begins here.
        let first = Timestamp::constant(1_800_000_000, 0) + self.first_received.unwrap();
        self.message.clone().delivered(self.receives).first_delivered_at(first)
    }
}

async fn run(schedule: &Schedule, mut chance: Chance) {
    let lines = Lines::new();
    let walk = Walk {
        lines: lines.clone(),
        chance: Arc::new(Mutex::new(chance.child())),
        failures: schedule.failures,
        early: Arc::default(),
    };
    let builder = Consumer::builder("test").dedupe(lines.0.dedupe());
    let builder = builder
        .retry_delay(RetryDelay::QueueDefault)
        .gap_guard(GapGuard::from_one());
    let consumer = builder.on::<Step, _>(transactional(walk.clone())).build().unwrap();
    let waiting = (1..=schedule.events).map(|place| Waiting {
        message: Step {
            line: 0,
            place,
            payload: 0,
        }
        .message(),
        visible_at: Duration::ZERO,
        first_received: None,
        receives: 0,
    });
    let queue = Queue {
        waiting: RefCell::new(waiting.collect()),
        chance: RefCell::new(chance),
        now: Cell::default(),
        most_receives: Cell::default(),
        in_flight: Cell::default(),
    };
    let clock = async {
        loop {
            sleep(TICK).await;
            queue.now.set(queue.now.get() + TICK);
        }
    };
    let functions = join_all((0..schedule.functions).map(|_| function(&queue, &consumer)));
    tokio::select! {
        biased;
        _ = functions => {},
        never = clock => { let never: Infallible = never; match never {} },
    }
    assert!(walk.early.lock().unwrap().is_empty(), "{:?}", walk.early);
    assert_eq!(lines.last(0), schedule.events);
    let (took, receives) = (queue.now.get(), queue.most_receives.get());
    let bound = Duration::from_secs(20) + Duration::from_millis(1_500) * u32::try_from(schedule.events).unwrap();
    assert!(took < bound, "{took:?}, with {receives} deliveries");
    assert!(receives <= MOST_DELIVERIES, "{receives} deliveries");
}

#[test]
fn a_backlog_of_one_key_is_worked_off_at_a_pace_and_nothing_of_it_is_set_aside() {
    run_some_cases(CASES, draw, run);
}
