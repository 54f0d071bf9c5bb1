//! Playing one scenario.

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use futures::future::join_all;
use oncebox_envelope::{Envelope, Event};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::{
    function::{Function, Mode, Sent},
    scenario::{Caught, Found, Scenario},
    waits::{Telling, until_wait},
};
use crate::{ConsumerBuilder, EventReport, Outcome, Reason, leased::Policy, test_kit::clock};

/// An invocation with time enough, one that an outage uses up, and one that waits in vain for somebody's lock.
const LONG: Duration = Duration::from_secs(60);
const OUTAGE: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(500);
/// After so many an event is taken for one that never settles.
const MAX_DELIVERIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// What all scenarios of a trial have in common.
pub(super) struct Play<'a, E, F> {
    build: &'a dyn Fn() -> ConsumerBuilder,
    event: &'a dyn Fn(usize) -> E,
    attributes: &'a Map<String, Value>,
    effects: &'a F,
    is_one: bool,
    /// The number of the next event.
    next: usize,
    /// What became of the deliveries of this scenario.
    story: Vec<String>,
}

/// How an event was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// By its policy: nobody knows whether it had its effect.
    Parked,
}

impl<'a, E: Event, F: AsyncFn(&Envelope<E>) -> usize> Play<'a, E, F> {
    pub(super) fn new(
        build: &'a dyn Fn() -> ConsumerBuilder,
        event: &'a dyn Fn(usize) -> E,
        attributes: &'a Map<String, Value>,
        effects: &'a F,
        is_one: bool,
    ) -> Self {
        Self {
            build,
            event,
            attributes,
            effects,
            is_one,
            next: 0,
            story: Vec::new(),
        }
    }

    /// Plays it; false if its boundary was never come to.
    pub(super) async fn scenario(&mut self, scenario: Scenario) -> Result<bool, Caught> {
        self.story.clear();
        self.play(scenario).await.map_err(|found| self.caught(scenario, found))
    }

    pub(super) fn caught(&self, scenario: Scenario, found: Found) -> Caught {
        Caught {
            scenario,
            found,
            story: self.story.join("; "),
        }
    }

    async fn play(&mut self, scenario: Scenario) -> Result<bool, Found> {
        let first = self.start()?;
        let count = match (scenario, first.mode) {
            (Scenario::Reordered, _) => 4,
            // Each of its events goes its own way, and more of them only have more waits.
            (_, Mode::Leased(_)) => 1,
            (_, Mode::Transactional | Mode::Postgres) => 2,
        };
        let events = self.events(count)?;
        let all: Vec<&Sent<E>> = events.iter().collect();
        let is_reached = match scenario {
            Scenario::Clean => true,
            Scenario::Reordered => {
                let batch = [3, 3, 1, 0, 2, 1].map(|index| all[index]);
                let reports = first.deliver(&batch, 1, LONG).await;
                self.tell("backwards", &reports);
                true
            }
            Scenario::Crash { wait } => {
                let work = pin!(first.deliver(&all, 1, LONG));
                let ended = until_wait(work, wait).await;
                self.tell_or("died", ended.as_deref());
                ended.is_none()
            }
            Scenario::Frozen { wait } => {
                let mut work = pin!(first.deliver(&all, 1, LONG));
                let ended = until_wait(work.as_mut(), wait).await;
                self.tell_or("stood still", ended.as_deref());
                if ended.is_none() {
                    let other = self.start()?;
                    if first.mode == Mode::Postgres {
                        // It waits for the frozen one's row, in vain.
                        let reports = other.deliver(&all, 2, SHORT).await;
                        self.tell("another", &reports);
                    } else {
                        self.settle(&other, &all).await?;
                    }
                    let reports = work.await;
                    self.tell("the frozen one", &reports);
                }
                ended.is_none()
            }
            Scenario::AtOnce { copies, wait } => self.at_once(first, copies, wait, &all).await?,
            Scenario::Faulty { write, fault } => {
                let met = first.faults(fault, move |number| number == write);
                let reports = first.deliver(&all, 1, LONG).await;
                self.tell("first", &reports);
                let is_reached = met.load(Ordering::SeqCst) > 0;
                // What is late arrives while the same function goes on.
                self.settle(&first, &all).await?;
                is_reached
            }
            Scenario::Outage { write, fault } => {
                let met = first.faults(fault, move |number| number >= write);
                let reports = first.deliver(&all, 1, OUTAGE).await;
                self.tell("first", &reports);
                met.load(Ordering::SeqCst) > 0
            }
        };
        let after = self.start()?;
        self.settle(&after, &all).await?;
        let fates = self.settle(&after, &all).await?;
        for (event, fate) in events.iter().zip(fates) {
            self.check(event, fate).await?;
        }
        Ok(is_reached)
    }

    /// Delivers to several functions, each begun when the one before it waits for the `wait`th time.
    async fn at_once(&mut self, first: Function, copies: usize, wait: usize, all: &[&Sent<E>]) -> Result<bool, Found> {
        let mut functions = vec![first];
        for _ in 1..copies {
            functions.push(self.start()?);
        }
        let mut before: Option<oneshot::Receiver<bool>> = None;
        let mut running = Vec::new();
        for function in &functions {
            let (work, told) = Telling::new(function.deliver(all, 1, LONG), wait);
            let begun = before.replace(told);
            running.push(async move {
                let came_so_far = match begun {
                    Some(begun) => begun.await.unwrap_or(false),
                    None => true,
                };
                (came_so_far, work.await)
            });
        }
        let ended = join_all(running).await;
        for (_, reports) in &ended {
            self.tell("at once", reports);
        }
        Ok(ended.get(1).is_some_and(|(came_so_far, _)| *came_so_far))
    }

    /// Delivers each event until it is settled.
    async fn settle(&mut self, function: &Function, events: &[&Sent<E>]) -> Result<Vec<Fate>, Found> {
        let mut fates: Vec<Option<Fate>> = vec![None; events.len()];
        for delivery in 0..MAX_DELIVERIES {
            let open: Vec<usize> = (0..events.len()).filter(|index| fates[*index].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let batch: Vec<&Sent<E>> = open.iter().map(|index| events[*index]).collect();
            let reports = function.deliver(&batch, 2 + delivery, LONG).await;
            self.tell("then", &reports);
            let mut pause = PAUSE;
            for (index, report) in open.into_iter().zip(&reports) {
                fates[index] = fate(function.mode, report).map_err(|why| unsettled(events[index], why))?;
                pause = pause.max(report.retry_after.unwrap_or_default());
                if fates[index].is_none() && delivery + 1 == MAX_DELIVERIES {
                    return Err(unsettled(events[index], told(report)));
                }
            }
            if fates.contains(&None) {
                clock::sleep(pause).await;
            }
        }
        Ok(fates.into_iter().flatten().collect())
    }

    async fn check(&self, event: &Sent<E>, fate: Fate) -> Result<(), Found> {
        let effects = (self.effects)(&event.envelope).await;
        let (is_kept, promised) = match (fate, self.is_one) {
            (Fate::Acknowledged, true) => (effects == 1, "one was promised"),
            (Fate::Acknowledged, false) => (effects >= 1, "at least one was promised"),
            (Fate::Parked, true) => (effects <= 1, "one at most was promised, since it was parked"),
            (Fate::Parked, false) => (true, ""),
        };
        if is_kept {
            return Ok(());
        }
        Err(Found::Effects {
            number: event.number,
            id: event.id,
            effects,
            promised,
        })
    }

    fn start(&self) -> Result<Function, Found> {
        Function::start::<E>((self.build)())
    }

    fn events(&mut self, count: usize) -> Result<Vec<Sent<E>>, Found> {
        let numbers = self.next..self.next + count;
        self.next = numbers.end;
        numbers
            .map(|number| Sent::new(number, &(self.event)(number), self.attributes))
            .collect()
    }

    fn tell(&mut self, who: &str, reports: &[EventReport]) {
        let outcomes: Vec<&str> = reports.iter().map(|report| report.outcome.as_str()).collect();
        self.story.push(format!("{who}: {}", outcomes.join(", ")));
    }

    fn tell_or(&mut self, otherwise: &str, reports: Option<&[EventReport]>) {
        match reports {
            Some(reports) => self.tell("first", reports),
            None => self.story.push(format!("first: {otherwise}")),
        }
    }
}

/// How a delivery has settled its event; `None` if it must come again.
fn fate(mode: Mode, report: &EventReport) -> Result<Option<Fate>, String> {
    if !report.is_failed {
        return match report.outcome {
            Outcome::Done | Outcome::Duplicate => Ok(Some(Fate::Acknowledged)),
            _ => Err(told(report)),
        };
    }
    match (report.outcome, report.reason) {
        (Outcome::Permanent, Some(Reason::UnknownOutcome)) if mode == Mode::Leased(Policy::Park) => {
            Ok(Some(Fate::Parked))
        }
        (Outcome::Permanent, _) => Err(told(report)),
        _ => Ok(None),
    }
}

fn told(report: &EventReport) -> String {
    let outcome = report.outcome.as_str();
    report
        .error
        .as_ref()
        .map_or_else(|| outcome.to_owned(), |error| format!("{outcome}, {error}"))
}

fn unsettled<E>(event: &Sent<E>, why: String) -> Found {
    Found::Unsettled {
        number: event.number,
        id: event.id,
        why,
    }
}
