//! Environments of the function, as Lambda keeps them.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    time::Duration,
};

use aws_lambda_events::event::sqs::SqsEvent;
use futures::future::{Either, select};
use jiff::SignedDuration;
use oncebox_consumer::{
    Consumer, GapGuard, Invocation, RetryDelay, leased,
    test_kit::{elapsed, sleep, with_clock_off},
    transactional,
};
use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    Simulation,
    handlers::{Ask, Deed, Leased, Transactional},
    plan::{Mode, Policy},
    queue::{DEAD_LETTERS, Receipt},
    world::Shared,
};

/// An environment looks at least so often, and at most.
const LOOKS_WITHIN: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(5)];

/// An environment: it works off one batch after the other.
pub(super) struct Function<'a> {
    simulation: &'a Simulation<'a>,
    number: usize,
    consumer: Consumer,
    /// How far its machine's wall clock is off.
    off: SignedDuration,
}

/// What becomes of an invocation.
#[derive(Clone, Copy)]
enum Fate {
    Well,
    Killed(Duration),
    /// From when on, and for how long.
    Frozen(Duration, Duration),
}

impl<'a> Function<'a> {
    pub(super) fn new(simulation: &'a Simulation<'a>, number: usize) -> Self {
        let mut world = simulation.shared.world();
        // Those of a gap guard are compared with that of SQS.
        let most_off = if simulation.plan.mode == Mode::GapGuarded {
            2
        } else {
            600
        };
        let most_off = if world.weather.clocks_differ { most_off } else { 0 };
        let off = SignedDuration::from_secs(world.random.random_range(-most_off..=most_off));
        drop(world);
        Self {
            simulation,
            number,
            consumer: consumer(simulation),
            off,
        }
    }

    /// Works until the simulation is over.
    pub(super) fn run(mut self) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            while !self.simulation.is_over.get() {
                match self.receive() {
                    Ok(received) => self = self.invoke(received).await,
                    Err(wait) => sleep(wait).await,
                }
            }
        })
    }

    /// What is there, or how long it is not looked again.
    fn receive(&self) -> Result<Vec<Receipt>, Duration> {
        let (simulation, now) = (self.simulation, elapsed());
        let (mut queue, mut world) = (simulation.queue.borrow_mut(), simulation.shared.world());
        for (receipt, after) in simulation.queues.take_redeliveries() {
            world.note(|| format!("{receipt} is to come again after {after:?}"));
            queue.redeliver(&receipt, after, now);
        }
        let copied = world.weather.copied;
        let received = queue.receive(simulation.plan.batch, now, copied, &mut world.random);
        if received.is_empty() {
            let next = queue.next_change().map(|at| at.saturating_sub(now));
            let [least, most] = LOOKS_WITHIN;
            return Err(next.unwrap_or(most).clamp(least, most) + world.millis(50));
        }
        world.deliveries += received.len();
        let number = self.number;
        world.note(|| format!("environment {number} gets {received:?}"));
        Ok(received)
    }

    fn draw(&self) -> Fate {
        let mut world = self.simulation.shared.world();
        let (killed, frozen) = (world.weather.killed, world.weather.frozen);
        let most = u64::try_from(self.simulation.plan.timeout.as_millis()).unwrap_or(0);
        // Most of what an invocation does, it does soon.
        let most = if world.happens(0.5) { most } else { 100 };
        if world.happens(killed) {
            Fate::Killed(world.millis(most))
        } else if world.happens(frozen) {
            world.was_frozen = true;
            Fate::Frozen(world.millis(most), world.millis(4 * most.max(10_000)))
        } else {
            Fate::Well
        }
    }

    /// Cuts it off from the tables during the next invocation, or not.
    fn draw_cut(&self) {
        let mut world = self.simulation.shared.world();
        let (cut_off, now) = (world.weather.cut_off, elapsed());
        if world.happens(cut_off) {
            let most = u64::try_from(self.simulation.plan.timeout.as_millis()).unwrap_or(0);
            // Soon: by then an attempt is under way.
            let from = now + world.millis(2_000.min(most / 2));
            let until = from + world.millis(most);
            world.note(|| {
                format!(
                    "environment {} is to be cut off from {from:?} to {until:?}",
                    self.number
                )
            });
            world.cut_off.insert(self.number, from..until);
        }
    }

    /// Works off a batch; afterwards the environment is there, or another one in its place.
    async fn invoke(self, received: Vec<Receipt>) -> Self {
        let simulation = self.simulation;
        let Some(batch) = self.batch(&received) else {
            simulation
                .shared
                .world()
                .violations
                .push("a batch of the simulation is not one".to_owned());
            return self;
        };
        let timeout = simulation.plan.timeout;
        let fate = self.draw();
        let invocation = Invocation::new("request", timeout);
        let work = self.consumer.settle_batch(batch, &invocation);
        self.draw_cut();
        let work = as_environment(simulation.shared.clone(), self.number, with_clock_off(self.off, work));
        let mut work = Box::pin(work);
        let settled = match fate {
            Fate::Well => within(timeout, work.as_mut()).await,
            Fate::Killed(after) => within(after.min(timeout), work.as_mut()).await,
            Fate::Frozen(from, length) => match within(from.min(timeout), work.as_mut()).await {
                Some(settled) => Some(settled),
                None => {
                    // Lambda gives it up when its time is over, and begins another one; it goes on all the same.
                    simulation
                        .shared
                        .world()
                        .note(|| format!("environment {} is frozen", self.number));
                    let zombie = async {
                        sleep(length).await;
                        _ = within(timeout, work.as_mut()).await;
                    };
                    let number = self.number + 100;
                    let instead = async {
                        sleep(timeout.saturating_sub(from)).await;
                        Self::new(simulation, number).run().await;
                    };
                    futures::join!(zombie, instead);
                    None
                }
            },
        };
        drop(work);
        let Some(settled) = settled else {
            let (number, pause) = (self.number, self.ended(fate));
            sleep(pause).await;
            return Self::new(simulation, number);
        };
        let failed: Vec<String> = match settled {
            Ok(settlement) => {
                let failures = settlement.response().batch_item_failures;
                failures.into_iter().map(|failure| failure.item_identifier).collect()
            }
            Err(_) => return self,
        };
        self.answer(&received, &failed);
        self
    }

    /// Tells that it is gone; and how long it takes until there is another one.
    fn ended(&self, fate: Fate) -> Duration {
        let mut world = self.simulation.shared.world();
        world.note(|| format!("environment {} is gone", self.number));
        if matches!(fate, Fate::Well) {
            let what = "a function went on beyond its timeout";
            world.violations.push(what.to_owned());
        }
        world.millis(2_000)
    }

    /// Lambda deletes what did not fail, soon, late or never.
    fn answer(&self, received: &[Receipt], failed: &[String]) {
        let simulation = self.simulation;
        let mut world = simulation.shared.world();
        let (lost, late) = (world.weather.answer_lost, world.weather.answer_late);
        world.note(|| format!("environment {} returns {failed:?}", self.number));
        if world.happens(lost) {
            world.note(|| "nobody hears it".to_owned());
            return;
        }
        let visibility = u64::try_from(simulation.plan.queue.visibility.as_millis()).unwrap_or(0);
        let delay = match world.happens(late) {
            true => world.millis(2 * visibility),
            false => Duration::ZERO,
        };
        let mut queue = simulation.queue.borrow_mut();
        let acknowledged = received
            .iter()
            .filter(|receipt| !failed.contains(&receipt.message.to_string()));
        for receipt in acknowledged {
            queue.delete(*receipt, elapsed() + delay);
        }
    }

    fn batch(&self, received: &[Receipt]) -> Option<SqsEvent> {
        let queue = self.simulation.queue.borrow();
        let records: Option<Vec<Value>> = received.iter().map(|receipt| queue.record(*receipt)).collect();
        serde_json::from_value(json!({ "Records": records? })).ok()
    }
}

/// Tells the world whose turn it is.
fn as_environment<T>(shared: Shared, number: usize, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let mut work = Box::pin(work);
    poll_fn(move |context| {
        shared.world().at_work = Some(number);
        let polled = work.as_mut().poll(context);
        shared.world().at_work = None;
        polled
    })
}

/// What comes of work within this time. It is not dropped.
async fn within<T>(length: Duration, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let over = pin!(sleep(length));
    let work = poll_fn(|context| work.as_mut().poll(context));
    match select(pin!(work), over).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(((), _)) => None,
    }
}

fn consumer(simulation: &Simulation<'_>) -> Consumer {
    let (plan, shared) = (simulation.plan, simulation.shared.clone());
    let rejected = plan.events.iter().enumerate().filter(|(_, event)| event.is_rejected);
    let rejected: Vec<usize> = rejected.map(|(index, _)| index).collect();
    let mut builder = Consumer::builder(super::check::CONSUMER)
        .dedupe(simulation.tables.dedupe())
        .queues(&simulation.queues)
        .retry_delay(RetryDelay::ByReceiveCount);
    if plan.has_dead_letters {
        builder = builder.dead_letter_queue(DEAD_LETTERS);
    }
    if plan.parks_exhausted {
        builder = builder.max_receive_count(plan.queue.max_receive_count);
    }
    if plan.mode == Mode::GapGuarded {
        builder = builder.gap_guard(GapGuard::from_one().park_after(plan.park_after));
    }
    let builder = match plan.mode {
        Mode::Transactional | Mode::GapGuarded => builder.on::<Deed, _>(transactional(Transactional {
            shared,
            attempt_millis: plan.attempt_millis,
            rejected,
        })),
        Mode::Leased(policy) => {
            let handler = Leased::new(shared, plan, policy, rejected);
            let leased = leased(handler.clone()).lease(plan.lease);
            match policy {
                Policy::RetrySameKey => builder.on::<Deed, _>(leased.retry_same_key()),
                Policy::Reconcile => builder.on::<Deed, _>(leased.reconcile(Ask(handler))),
                Policy::Park => builder.on::<Deed, _>(leased.park()),
            }
        }
    };
    match builder.build() {
        Ok(consumer) => consumer,
        Err(error) => panic!("the simulation's consumer is wired wrongly: {error}"),
    }
}
