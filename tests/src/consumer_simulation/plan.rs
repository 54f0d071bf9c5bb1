//! What a seed means.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::json;
use uuid::Uuid;

use super::world::Weather;
use crate::ledger::Order;

/// A whole simulation, but for what is drawn while it runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How effects are had.
    pub mode: Mode,
    /// The queue.
    pub queue: QueuePlan,
    /// Environments of the function at once.
    pub environments: usize,
    /// Most messages in an invocation.
    pub batch: usize,
    /// The function's timeout.
    pub timeout: Duration,
    /// The lease of a leased handler.
    pub lease: Duration,
    /// How long the gap guard holds an event.
    pub park_after: Duration,
    /// Longest that an attempt of the handler takes, in milliseconds.
    pub attempt_millis: u64,
    /// Whether the consumer has a dead-letter queue of its own.
    pub has_dead_letters: bool,
    /// Whether it parks an event at its last delivery but one.
    pub parks_exhausted: bool,
    /// How bad things are until they get better.
    pub weather: Weather,
    /// When everything gets better.
    pub calm_at: Duration,
    /// The events.
    pub events: Vec<EventPlan>,
    /// What gets into the queue.
    pub publications: Vec<Publication>,
    /// Whether all of it is published again when no record counts any more.
    pub lives_twice: bool,
}

/// How effects are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In one transaction with the record.
    Transactional,
    /// The same, in the order of each key whatever the queue does.
    GapGuarded,
    /// Elsewhere.
    Leased(Policy),
}

/// What is done about an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The receiver recognises the key.
    RetrySameKey,
    /// The receiver is asked.
    Reconcile,
    /// A person decides.
    Park,
}

/// A queue.
#[derive(Debug, Clone, Copy)]
pub struct QueuePlan {
    /// Whether it is FIFO.
    pub is_fifo: bool,
    /// Its visibility timeout.
    pub visibility: Duration,
    /// Its redrive policy.
    pub max_receive_count: u32,
}

/// An event.
#[derive(Debug, Clone)]
pub struct EventPlan {
    /// Its key and its place in it.
    pub place: Option<(usize, u64)>,
    /// Its data.
    pub payload: String,
    /// It never arrives.
    pub is_missing: bool,
    /// Its handler refuses it for good.
    pub is_rejected: bool,
}

/// A message that gets into the queue.
#[derive(Debug, Clone)]
pub struct Publication {
    /// When.
    pub at: Duration,
    /// What is in it.
    pub content: Content,
    /// Its group, on a FIFO queue.
    pub group: String,
}

/// What is in a message.
#[derive(Debug, Clone)]
pub enum Content {
    /// An event by itself.
    Event(usize),
    /// Several.
    Bundle(Vec<usize>),
    /// Nothing that anybody understands.
    Garbage(usize),
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let random = &mut random;
        let mode = match random.random_range(0..10) {
            0..4 => Mode::Transactional,
            4..7 => Mode::GapGuarded,
            7 => Mode::Leased(Policy::RetrySameKey),
            8 => Mode::Leased(Policy::Reconcile),
            _ => Mode::Leased(Policy::Park),
        };
        let is_guarded = mode == Mode::GapGuarded;
        let is_fifo = random.random_bool(match mode {
            Mode::Transactional => 0.5,
            Mode::GapGuarded | Mode::Leased(_) => 0.3,
        });
        let timeout = Duration::from_millis(random.random_range(3_000..30_000));
        // A function whose handler takes longer than it may does not come to an end.
        let most_millis = u64::try_from(timeout.as_millis()).unwrap_or(0) * 2 / 3;
        let has_dead_letters = is_guarded || random.random_bool(0.75);
        let calm_at = Duration::from_millis(random.random_range(5_000..120_000));
        let lease = Duration::from_millis([500, 500, 2_000, 15_000][random.random_range(0..4)]);
        let attempt_millis = match mode {
            // Beats are what a lease is about.
            Mode::Leased(_) => {
                u64::try_from(lease.as_millis()).unwrap_or(0) * [1, 10, 50, 200][random.random_range(0..4)] / 10
            }
            Mode::Transactional | Mode::GapGuarded => [5, 200, 3_000, 12_000][random.random_range(0..4)],
        };
        let weather = Weather::random(random);
        let keys = [1, 2, 6][random.random_range(0..3)];
        let events = events(random, keys, is_guarded, is_fifo);
        let publications = publications(random, &events, is_fifo, calm_at);
        Self {
            seed,
            mode,
            queue: QueuePlan {
                is_fifo,
                visibility: timeout.mul_f64(visibility(random, is_fifo)),
                max_receive_count: match (is_guarded, has_dead_letters) {
                    (true, _) => 1_000,
                    (false, true) => [3, 20, 1_000][random.random_range(0..3)],
                    (false, false) => [2, 6][random.random_range(0..2)],
                },
            },
            environments: random.random_range(1..5),
            batch: random.random_range(1..11),
            timeout,
            lease,
            // Longer than anything takes when nothing goes wrong.
            park_after: Duration::from_secs([900, 3_600][random.random_range(0..2)]),
            attempt_millis: attempt_millis.min(most_millis),
            has_dead_letters,
            parks_exhausted: random.random_bool(0.5),
            weather,
            calm_at,
            events,
            publications,
            lives_twice: random.random_bool(0.3),
        }
    }

    /// Whether effects are promised in the order of a key.
    #[must_use]
    pub fn order(&self) -> Order {
        match self.queue.is_fifo || self.mode == Mode::GapGuarded {
            true => Order::PerKey,
            false => Order::None,
        }
    }

    /// The body of a message.
    #[must_use]
    pub fn body(&self, content: &Content) -> String {
        let envelope = |index: usize| {
            self.events
                .get(index)
                .map(|event| event.envelope(index))
                .unwrap_or_default()
        };
        match content {
            Content::Event(index) => envelope(*index),
            Content::Bundle(indices) => {
                let envelopes: Vec<String> = indices.iter().map(|index| envelope(*index)).collect();
                format!("[{}]", envelopes.join(","))
            }
            Content::Garbage(number) => format!("garbage {number}"),
        }
    }

    /// All events once more, in the order of their keys.
    pub(super) fn replay(&self) -> Vec<Publication> {
        let there = self.events.iter().enumerate().filter(|(_, event)| !event.is_missing);
        let publications = there.map(|(index, event)| Publication {
            at: Duration::ZERO,
            content: Content::Event(index),
            group: event.group(index),
        });
        publications.collect()
    }
}

impl EventPlan {
    /// The id of the event with this number.
    #[must_use]
    pub fn id(index: usize) -> Uuid {
        Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000 | (index as u128 + 1))
    }

    /// Its key in the envelope.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        self.place.map(|(key, _)| format!("key{key}"))
    }

    fn group(&self, index: usize) -> String {
        self.key().unwrap_or_else(|| format!("event{index}"))
    }

    fn envelope(&self, index: usize) -> String {
        let mut envelope = json!({
            "specversion": "1.0", "id": Self::id(index), "source": "simulation", "type": "simulation.deed.v1",
            "time": "2026-01-01T00:00:00Z", "data": { "number": index, "payload": self.payload },
        });
        if let (Some((_, sequence)), Some(key), Some(attributes)) = (self.place, self.key(), envelope.as_object_mut()) {
            attributes.insert("partitionkey".to_owned(), json!(key));
            attributes.insert("sequence".to_owned(), json!(format!("{sequence:020}")));
        }
        envelope.to_string()
    }
}

/// A queue's visibility timeout by its function's. Six is what AWS advises; others are mistakes of which only the time is lost.
///
/// FIFO takes no delete after the visibility timeout. Where an attempt is sure to take longer than that, what its handler
/// refuses is refused again at each delivery, so that there it is long enough for some.
fn visibility(random: &mut StdRng, is_fifo: bool) -> f64 {
    let times = [0.1, 0.5, 1.0, 2.0, 6.0][random.random_range(0..5)];
    if is_fifo { f64::max(times, 0.5) } else { times }
}

fn events(random: &mut StdRng, keys: usize, is_guarded: bool, is_fifo: bool) -> Vec<EventPlan> {
    let mut last = vec![0; keys];
    let loses = is_guarded && random.random_bool(0.3);
    let rejects = random.random_bool(0.4);
    let count = random.random_range(3..40);
    let one = |number: usize| {
        let is_keyed = is_fifo || is_guarded || random.random_bool(0.7);
        let key = random.random_range(0..keys);
        let place = is_keyed.then(|| match last.get_mut(key) {
            Some(last) => {
                *last += 1;
                (key, *last)
            }
            None => (key, 1),
        });
        EventPlan {
            place,
            payload: format!("{number}:{}", "x".repeat(random.random_range(0..40))),
            is_missing: loses && random.random_bool(0.05),
            is_rejected: rejects && random.random_bool(0.1),
        }
    };
    (0..count).map(one).collect()
}

/// Each event once, by itself or in a bundle, and some of them again; with garbage in between.
fn publications(random: &mut StdRng, events: &[EventPlan], is_fifo: bool, calm_at: Duration) -> Vec<Publication> {
    let last = u64::try_from(calm_at.as_millis()).unwrap_or(0);
    // A backlog, or as they come.
    let last = if random.random_bool(0.3) { 0 } else { last };
    let moment = |random: &mut StdRng| Duration::from_millis(random.random_range(0..=last));
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate().filter(|(_, event)| !event.is_missing) {
        let group = if is_fifo { event.group(index) } else { String::new() };
        groups.entry(group).or_default().push(index);
    }
    let bundles = random.random_bool(0.5);
    let mut found = Vec::new();
    for (group, mut indices) in groups {
        if !is_fifo {
            indices.shuffle(random);
        }
        let mut times: Vec<Duration> = indices.iter().map(|_| moment(random)).collect();
        // Again from somewhere on, as after a crash of the relay or a replay: at once, or whenever it is.
        if random.random_bool(0.5) {
            let from = random.random_range(0..indices.len());
            let is_at_once = random.random_bool(0.5);
            indices.extend_from_within(from..);
            for at in times.clone().into_iter().skip(from) {
                let further = Duration::from_millis(random.random_range(0..500));
                times.push(if is_at_once { at + further } else { moment(random) });
            }
        }
        if is_fifo {
            times.sort();
        }
        let mut rest = indices.into_iter().zip(times).peekable();
        while let Some((index, at)) = rest.next() {
            let mut several = vec![index];
            if bundles && random.random_bool(0.4) {
                while several.len() < 6 && random.random_bool(0.7) {
                    several.extend(rest.next().map(|(index, _)| index));
                }
            }
            let content = match several.as_slice() {
                [index] => Content::Event(*index),
                _ => Content::Bundle(several),
            };
            let group = group.clone();
            found.push(Publication { at, content, group });
        }
    }
    // Some events again and again, while they are worked on.
    if !is_fifo && !events.is_empty() && random.random_bool(0.4) {
        for _ in 0..random.random_range(1..4) {
            let index = random.random_range(0..events.len());
            let first = moment(random);
            for _ in 0..random.random_range(2..6) {
                found.push(Publication {
                    at: first + Duration::from_millis(random.random_range(0..5_000)),
                    content: Content::Event(index),
                    group: String::new(),
                });
            }
        }
        found.retain(|publication| match &publication.content {
            Content::Event(index) => events.get(*index).is_some_and(|event| !event.is_missing),
            Content::Bundle(_) | Content::Garbage(_) => true,
        });
    }
    if random.random_bool(0.3) {
        for number in 0..random.random_range(1..4) {
            let group = format!("key{}", random.random_range(0..3));
            let content = Content::Garbage(number);
            let at = moment(random);
            found.push(Publication { at, content, group });
        }
    }
    found.sort_by_key(|publication| publication.at);
    found
}
