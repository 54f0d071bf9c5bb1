//! FIFO queues: groups take effect in their order, and what goes back of a group is all that follows.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use oncebox_consumer::{Consumer, Invocation, Outcome, RetryDelay, Settlement, test_kit::sleep, transactional};

use super::{
    cases::{Chance, WallClock, run_cases, until_killed},
    step::{Lines, Step, Walk},
};
use crate::delivery::{Message, batch, returned};

/// After so long, what nobody has answered is delivered again.
const VISIBILITY: Duration = Duration::from_secs(12);

#[derive(Debug)]
struct Function {
    after: Duration,
    /// How many messages it gets at most.
    batch: usize,
    lasts: Duration,
    killed_after: Option<Duration>,
    /// Nobody polls it from when on and for how long; its messages are visible again by then.
    frozen: Option<(Duration, Duration)>,
    clock: WallClock,
}

#[derive(Debug)]
struct Schedule {
    /// The messages of each group, and of each message the places of its events.
    groups: Vec<Vec<Vec<usize>>>,
    functions: Vec<Function>,
    /// One in so many requests meets with a fault.
    faults: u32,
    /// One in so many attempts fails.
    failures: u32,
}

fn draw(chance: &mut Chance) -> Schedule {
    let groups = 1 + chance.up_to(2);
    let functions = 1 + chance.up_to(5);
    Schedule {
        groups: (0..groups).map(|_| draw_group(chance)).collect(),
        functions: (0..functions)
            .map(|_| Function {
                after: chance.millis(3_000),
                batch: 1 + chance.up_to(9),
                lasts: Duration::from_secs(1) + chance.millis(9_000),
                killed_after: chance.one_in(3).then(|| chance.millis(1_500)),
                frozen: chance.one_in(4).then(|| (chance.millis(600), chance.millis(20_000))),
                clock: chance.wall_clock(),
            })
            .collect(),
        faults: chance.of(&[3, 6, 20]),
        failures: chance.of(&[3, 10]),
    }
}

/// Messages of one event or more, in order; now and then one that was published twice.
fn draw_group(chance: &mut Chance) -> Vec<Vec<usize>> {
    let (mut messages, mut place): (Vec<Vec<usize>>, usize) = (Vec::new(), 0);
    for _ in 0..=chance.up_to(4) {
        let events = if chance.one_in(3) { 2 + chance.up_to(1) } else { 1 };
        messages.push((place + 1..=place + events).collect());
        place += events;
        if chance.one_in(5) {
            let again = chance.up_to(messages.len() - 1);
            messages.push(messages[again].clone());
        }
    }
    messages
}

struct Queued {
    message: Message,
    steps: Vec<Step>,
    receives: u32,
}

#[derive(Default)]
struct Group {
    messages: VecDeque<Queued>,
    is_in_flight: bool,
}

struct Queue {
    groups: Vec<Group>,
    chance: Chance,
}

/// What a function got: the group of each message, in the order of the batch.
type Batch = Vec<(usize, Message)>;

impl Queue {
    fn new(groups: &[Vec<Vec<usize>>], chance: Chance) -> Self {
        let queued = |(line, places): (usize, &Vec<usize>)| {
            let step = |place: &usize| Step {
                line,
                place: *place,
                payload: 0,
            };
            let steps: Vec<Step> = places.iter().map(step).collect();
            let messages: Vec<Message> = steps.iter().map(|step| step.message()).collect();
            let message = match messages.as_slice() {
                [single] => single.clone(),
                several => Message::bundle(several),
            };
            let message = message.in_group(&format!("group {line}"));
            Queued {
                message,
                steps,
                receives: 0,
            }
        };
        let groups = groups.iter().enumerate().map(|(line, messages)| Group {
            messages: messages.iter().map(|places| queued((line, places))).collect(),
            is_in_flight: false,
        });
        Self {
            groups: groups.collect(),
            chance,
        }
    }

    /// Messages of groups of which none is in flight, each group's in its order.
    fn receive(&mut self, most: usize) -> Batch {
        let mut free: Vec<(usize, usize)> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            if !group.is_in_flight && !group.messages.is_empty() {
                free.push((index, 0));
            }
        }
        let mut batch = Vec::new();
        while batch.len() < most && !free.is_empty() {
            let at = self.chance.up_to(free.len() - 1);
            let (index, next) = free[at];
            let group = &mut self.groups[index];
            group.is_in_flight = true;
            let queued = &mut group.messages[next];
            queued.receives += 1;
            batch.push((index, queued.message.clone().delivered(queued.receives)));
            if next + 1 == group.messages.len() {
                free.remove(at);
            } else {
                free[at].1 += 1;
            }
        }
        batch
    }

    fn release(&mut self, batch: &Batch) {
        for (group, _) in batch {
            self.groups[*group].is_in_flight = false;
        }
    }
}

struct Case {
    queue: RefCell<Queue>,
    lines: Lines,
    walk: Walk,
    done: RefCell<HashMap<(usize, usize), usize>>,
}

impl Case {
    async fn invoke(&self, batch_of: &Batch, lasts: Duration) -> Settlement {
        let builder = Consumer::builder("test").dedupe(self.lines.0.dedupe());
        let builder = builder.retry_delay(RetryDelay::QueueDefault);
        let consumer = builder.on::<Step, _>(transactional(self.walk.clone())).build().unwrap();
        let messages: Vec<Message> = batch_of.iter().map(|(_, message)| message.clone()).collect();
        let invocation = Invocation::new("request", lasts);
        let settled = consumer.settle_batch(batch(&messages), &invocation).await.unwrap();
        self.check(batch_of, &settled);
        settled
    }

    /// Of each group, what goes back is everything from some message on; what is acknowledged has had its effect.
    fn check(&self, batch_of: &Batch, settled: &Settlement) {
        let back = returned(settled);
        let mut goes_back: Vec<usize> = Vec::new();
        for (group, message) in batch_of {
            let is_back = back.contains(&message.message_id);
            assert!(
                is_back || !goes_back.contains(group),
                "it overtakes: {:?}",
                settled.events
            );
            if is_back {
                goes_back.push(*group);
            }
        }
        assert!(self.walk.early.lock().unwrap().is_empty(), "{:?}", self.walk.early);
        for report in &settled.events {
            match report.outcome {
                Outcome::Done | Outcome::Duplicate => {
                    let id = report.event_id.unwrap().as_uuid().as_u128() & 0xffff;
                    let id = usize::try_from(id).unwrap();
                    let (line, place) = (id / 1_000, id % 1_000);
                    assert!(self.lines.last(line) >= place, "{report:?}");
                    if report.outcome == Outcome::Done {
                        let mut done = self.done.borrow_mut();
                        let done = done.entry((line, place)).or_default();
                        *done += 1;
                        assert_eq!(*done, 1, "done twice: {report:?}");
                    }
                }
                Outcome::Retryable | Outcome::NotStarted => assert!(report.is_failed),
                other => panic!("{other:?} is nothing that comes of it: {report:?}"),
            }
        }
    }

    /// Deletes what was acknowledged; the rest is visible again.
    fn answer(&self, batch_of: &Batch, settled: &Settlement) {
        let back = returned(settled);
        let mut queue = self.queue.borrow_mut();
        for (group, message) in batch_of
            .iter()
            .filter(|(_, message)| !back.contains(&message.message_id))
        {
            let messages = &mut queue.groups[*group].messages;
            let gone = messages
                .iter()
                .position(|queued| queued.message.message_id == message.message_id);
            let gone = messages.remove(gone.unwrap()).unwrap();
            let last = gone.steps.iter().map(|step| step.place).max().unwrap();
            assert!(
                self.lines.last(*group) >= last,
                "deleted without its effect: {:?}",
                gone.steps
            );
        }
        queue.release(batch_of);
    }

    async fn function(&self, function: &Function) {
        sleep(function.after).await;
        let batch_of = self.queue.borrow_mut().receive(function.batch);
        let mut work = Box::pin(function.clock.around(self.invoke(&batch_of, function.lasts)));
        if let Some((after, length)) = function.frozen {
            if let Some(settled) = until_killed(Some(after), &mut work).await {
                self.answer(&batch_of, &settled);
                return;
            }
            self.queue.borrow_mut().release(&batch_of);
            sleep(length).await;
            // What it answers now is not heard: its receipts are not valid any more.
            until_killed(function.killed_after, work).await;
            return;
        }
        match until_killed(function.killed_after, work).await {
            Some(settled) => self.answer(&batch_of, &settled),
            None => {
                sleep(VISIBILITY).await;
                self.queue.borrow_mut().release(&batch_of);
            }
        }
    }

    /// Delivers until the queue is empty, when nothing goes wrong any more.
    async fn drain(&self) {
        for _ in 0..200 {
            let batch_of = self.queue.borrow_mut().receive(10);
            if batch_of.is_empty() {
                return;
            }
            let settled = self.invoke(&batch_of, Duration::from_secs(30)).await;
            self.answer(&batch_of, &settled);
        }
        panic!("the queue does not become empty");
    }
}

async fn run(schedule: &Schedule, mut chance: Chance) {
    let lines = Lines::new();
    let case = Case {
        queue: RefCell::new(Queue::new(&schedule.groups, chance.child())),
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
    join_all(schedule.functions.iter().map(|function| case.function(function))).await;
    case.lines.0.faults(|_| None);
    case.lines.0.read_faults(|_| None);
    case.drain().await;
    for (line, messages) in schedule.groups.iter().enumerate() {
        let last = messages.iter().flatten().max().copied().unwrap();
        assert_eq!(case.lines.last(line), last, "line {line}");
    }
}

#[test]
fn whatever_comes_a_group_takes_effect_in_its_order_once_and_what_follows_a_failure_goes_back() {
    run_cases(draw, run);
}
