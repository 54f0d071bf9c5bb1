//! SQS, as far as the relay knows it, behind a network that loses things.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use outbox_relay::{
    lease::term::Terms,
    publish::{Deadline, FailureClass, Message, PublishError, Publisher, Scope},
};
use rand::{RngExt as _, rngs::StdRng};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    postgres::shard_of,
    world::{HostClock, Micros, Shared, World},
};

/// How long a FIFO queue remembers a deduplication id (Amazon SQS developer guide, "Using the message deduplication ID").
const DEDUPE: Micros = 300_000_000;

/// A queue, by what it has taken.
#[derive(Debug, Default)]
pub struct TargetModel {
    /// Whether it is FIFO.
    pub is_fifo: bool,
    /// What it has taken, in that order: each event by itself, copies that a FIFO queue drops left out.
    pub taken: Vec<Taken>,
    /// Events that it refuses, and whether it says which one it means.
    pub refused: BTreeMap<String, Scope>,
    seen: BTreeMap<String, Micros>,
    /// Requests of groups that may still arrive: their process, their number, and until when its sender waits for them.
    waited_for: BTreeMap<String, Vec<(String, u64, Micros)>>,
    next_request: u64,
    /// Groups of which a request is out, with their process.
    out: BTreeMap<(String, String), usize>,
}

/// An event that a queue has taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its id.
    pub id: String,
    /// Its key.
    pub key: Option<String>,
    /// Its sequence within the key.
    pub sequence: Option<u64>,
    /// Its data.
    pub data: String,
    /// When.
    pub at: Micros,
    /// Whether its sender had given the request up before it arrived.
    pub is_late: bool,
}

/// The sending side of a sink.
#[derive(Debug, Clone)]
pub struct Target {
    /// The world.
    pub shared: Shared,
    /// The process's clock.
    pub clock: HostClock,
    /// The process's name.
    pub host: String,
    /// The sink.
    pub sink: String,
    /// The times that it keeps to.
    pub terms: Terms,
}

type Results = Vec<Result<(), PublishError>>;

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Applied,
    Unanswered,
    Lost,
    Late,
    Refused(FailureClass),
}

impl Publisher for Target {
    async fn publish(&self, batch: &[Arc<Message>]) -> Results {
        let deadline = Deadline::after(self.terms.request_timeout, self.terms.clock);
        let sent = deadline.bound(async {
            let (answer, answered) = oneshot::channel();
            self.hand_over(batch, answer);
            let _out = Out::of(self, batch);
            // A request that is lost has no answer, and its sender waits for the timeout.
            match answered.await {
                Ok(results) => results,
                Err(_) => std::future::pending().await,
            }
        });
        sent.await.unwrap_or_else(|error| vec![Err(error); batch.len()])
    }
}

impl Target {
    /// From here on the request is the network's, whatever becomes of the process.
    fn hand_over(&self, batch: &[Arc<Message>], answer: oneshot::Sender<Results>) {
        let mut world = self.shared.world();
        let now = self.clock.now();
        let request = self.check_right_to_send(&mut world, batch, now);
        let fate = draw(&mut world);
        let most = world.weather.trip;
        let mut trip = world.random.random_range(most / 10..=most);
        if matches!(fate, Fate::Late) {
            trip += u64::try_from(self.terms.request_timeout.as_micros()).unwrap_or(0) + LATE_BY;
        }
        let (sink, host, batch) = (self.sink.clone(), self.host.clone(), batch.to_vec());
        world.at(now + trip, move |world| {
            let ids: Vec<&str> = batch.iter().map(|message| message.id.as_str()).collect();
            let ids = ids.join(" ");
            world.note(|| format!("{host}: {sink} gets {ids}: {fate:?}"));
            let results = match fate {
                Fate::Lost => return,
                Fate::Refused(class) => vec![Err(error(class, Scope::Request)); batch.len()],
                Fate::Applied | Fate::Unanswered | Fate::Late => {
                    apply(world, &sink, &batch, matches!(fate, Fate::Late))
                }
            };
            if matches!(fate, Fate::Applied | Fate::Refused(_)) {
                world.after(trip, move |world| {
                    if let Some(target) = world.targets.get_mut(&sink) {
                        target.end(request);
                    }
                    drop(answer.send(results));
                });
            }
        });
    }

    /// Nobody sends for a shard that another process holds, and of a group one request is out.
    fn check_right_to_send(&self, world: &mut World, batch: &[Arc<Message>], now: Micros) -> u64 {
        let mine = format!("{}-", self.host);
        let mut groups = BTreeSet::new();
        let is_fifo = world.targets.get(&self.sink).is_some_and(|target| target.is_fifo);
        for event in batch.iter().flat_map(|message| events_of(message)) {
            let Ok(id) = event.id.parse() else { continue };
            let shard = (self.sink.clone(), shard_of(event.key.as_deref(), id));
            let owner = world.postgres.cursors.get(&shard).and_then(|row| row.owner.clone());
            if owner.as_ref().is_some_and(|owner| !owner.starts_with(&mine)) {
                let (id, host) = (&event.id, &self.host);
                let what = format!(
                    "{host} sends {id} of shard {}, which {owner:?} holds, at {now}",
                    shard.1
                );
                world.record.violations.push(what);
            }
            if is_fifo {
                groups.insert(group(event.key));
            }
        }
        let Some(target) = world.targets.get_mut(&self.sink) else {
            return 0;
        };
        target.next_request += 1;
        let request = target.next_request;
        let until = now + u64::try_from(self.terms.request_timeout.as_micros()).unwrap_or(0);
        for group in groups {
            let waited_for = target.waited_for.entry(group.clone()).or_default();
            waited_for.retain(|(_, _, until)| *until > now);
            // Events without a key are in many shards, and each relay has a request of them out.
            let others = waited_for.iter().find(|(other, ..)| *other != self.host);
            if let Some((other, ..)) = others.filter(|_| group != NO_KEY) {
                let host = &self.host;
                let what = format!("{host} sends for group {group} at {now} while a request of {other} is out");
                world.record.violations.push(what);
            }
            waited_for.push((self.host.clone(), request, until));
            let out = target.out.entry((self.host.clone(), group.clone())).or_default();
            *out += 1;
            if *out > 1 {
                let what = format!("{} has two requests of group {group} out at {now}", self.host);
                world.record.violations.push(what);
            }
        }
        request
    }
}

/// The groups of a request that is waited for; no longer when it goes.
struct Out<'a> {
    target: &'a Target,
    groups: BTreeSet<String>,
}

impl<'a> Out<'a> {
    fn of(target: &'a Target, batch: &[Arc<Message>]) -> Self {
        let events = batch.iter().flat_map(|message| events_of(message));
        Self {
            target,
            groups: events.map(|event| group(event.key)).collect(),
        }
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        let mut world = self.target.shared.world();
        let Some(model) = world.targets.get_mut(&self.target.sink) else {
            return;
        };
        for group in std::mem::take(&mut self.groups) {
            if let Some(out) = model.out.get_mut(&(self.target.host.clone(), group)) {
                *out = out.saturating_sub(1);
            }
        }
    }
}

fn group(key: Option<String>) -> String {
    key.unwrap_or_else(|| NO_KEY.to_owned())
}

impl TargetModel {
    /// An empty queue.
    #[must_use]
    pub fn new(is_fifo: bool) -> Self {
        Self {
            is_fifo,
            ..Self::default()
        }
    }

    fn end(&mut self, request: u64) {
        for waited_for in self.waited_for.values_mut() {
            waited_for.retain(|(_, number, _)| *number != request);
        }
    }

    /// Forgets the requests of a process that is gone.
    pub fn forget(&mut self, host: &str) {
        self.out.retain(|(of, _), _| of != host);
    }
}

/// The group of events without a key.
const NO_KEY: &str = "(none)";

/// What is late arrives so much later than anybody waits for it.
const LATE_BY: Micros = 1_000_000;

fn draw(world: &mut World) -> Fate {
    let weather = world.weather;
    if world.happens(weather.throttled) {
        Fate::Refused(FailureClass::Throttled)
    } else if world.happens(weather.failed) {
        Fate::Refused(FailureClass::Transient)
    } else if world.happens(weather.unanswered) {
        Fate::Unanswered
    } else if world.happens(weather.lost) {
        Fate::Lost
    } else if world.happens(weather.late) {
        Fate::Late
    } else {
        Fate::Applied
    }
}

/// What the queue does with a request, and what it answers.
fn apply(world: &mut World, sink: &str, batch: &[Arc<Message>], is_late: bool) -> Results {
    let weather = world.weather;
    let partial = if world.happens(weather.partial) { 0.3 } else { 0.0 };
    let forgotten = if world.happens(weather.forgotten) { 0.3 } else { 0.0 };
    let fates: Vec<(bool, bool)> = batch
        .iter()
        .map(|_| (world.happens(partial), world.happens(forgotten)))
        .collect();
    let now = world.now;
    let Some(target) = world.targets.get_mut(sink) else {
        return vec![Err(error(FailureClass::Transient, Scope::Request)); batch.len()];
    };
    let refusal = |message: &Message| {
        let mut refusals = events_of(message)
            .into_iter()
            .filter_map(|event| target.refused.get(&event.id).copied());
        refusals.next_back()
    };
    let refusals: Vec<Option<Scope>> = batch.iter().map(|message| refusal(message)).collect();
    if refusals.contains(&Some(Scope::Request)) {
        return vec![Err(error(FailureClass::Permanent, Scope::Request)); batch.len()];
    }
    let mut results = Vec::new();
    for ((message, refusal), (is_failed, is_forgotten)) in batch.iter().zip(refusals).zip(fates) {
        results.push(match refusal {
            Some(scope) => Err(error(FailureClass::Permanent, scope)),
            None if is_forgotten => Err(PublishError::unanswered()),
            None if is_failed => Err(error(FailureClass::Transient, Scope::Entry)),
            None => {
                target.take(message, now, is_late);
                Ok(())
            }
        });
    }
    results
}

impl TargetModel {
    fn take(&mut self, message: &Message, now: Micros, is_late: bool) {
        if self.is_fifo {
            let is_copy = self.seen.get(&message.id).is_some_and(|at| now < at + DEDUPE);
            if is_copy {
                return;
            }
            self.seen.insert(message.id.clone(), now);
        }
        for event in events_of(message) {
            self.taken.push(Taken {
                at: now,
                is_late,
                ..event
            });
        }
    }
}

/// The events of a message: one, or those of a bundle.
fn events_of(message: &Message) -> Vec<Taken> {
    let body: Value = serde_json::from_str(&message.body).unwrap_or_default();
    let envelopes = match body {
        Value::Array(envelopes) => envelopes,
        envelope => vec![envelope],
    };
    let text = |envelope: &Value, name: &str| envelope[name].as_str().map(str::to_owned);
    let event = |envelope: Value| Taken {
        id: text(&envelope, "id").unwrap_or_default(),
        key: text(&envelope, "partitionkey"),
        sequence: text(&envelope, "sequence").and_then(|sequence| sequence.parse().ok()),
        data: envelope["data"].to_string(),
        at: 0,
        is_late: false,
    };
    envelopes.into_iter().map(event).collect()
}

fn error(class: FailureClass, scope: Scope) -> PublishError {
    PublishError {
        class,
        code: "Simulated".to_owned(),
        message: "the simulation asked for this".to_owned(),
        scope,
        may_have_arrived: false,
    }
}

/// Bytes of a request, far above what a simulation sends.
pub const MAX_BYTES: usize = 1_048_576;

/// Draws how a sink gathers bundles, if it does.
#[must_use]
pub fn bundle(random: &mut StdRng) -> Option<outbox_relay::sink::gather::BundleLimits> {
    random
        .random_bool(0.3)
        .then(|| outbox_relay::sink::gather::BundleLimits {
            size: outbox_relay::publish::BatchLimits {
                max_entries: random.random_range(2..6),
                max_bytes: 64 * 1024,
            },
            linger: Duration::from_millis(random.random_range(1..50)),
        })
}
