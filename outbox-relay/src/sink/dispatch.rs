//! Sending, and what came of it.

mod request;

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use self::request::{Failures, publish, trace};
use super::{
    Guarantee, Sink, backoff, concurrency::Concurrency, entry::Entry, gather::Gather, lanes::Lanes, outgoing::Outgoing,
};
use crate::{
    lease::term::Lease,
    planted::{Bug, is_planted},
    publish::{FailureClass, PublishError, Publisher, Scope},
};

/// Most bytes of events in flight: a request may be started below it. The client holds a written form of
/// each besides, so that this counts about three times.
const MAX_IN_FLIGHT_BYTES: usize = 8 * 1024 * 1024;
/// So many events may give up their payload while nothing at all is confirmed.
const MAX_UNLOADED: usize = 1_000;

/// A request's task panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request's task panicked")]
pub struct Panicked;

/// What became of events.
#[derive(Debug, Default)]
pub struct Settled {
    /// The target has them.
    pub confirmed: Vec<Outgoing>,
    /// The target will not take them as they are.
    pub refused: Vec<Refused>,
    /// They may have arrived and are not sent again, because the sink sends at most once.
    pub dropped: Vec<Outgoing>,
    /// How many events were not accepted, whatever becomes of them.
    pub not_accepted: usize,
}

/// An event that the target will not take, and what waited behind it in its lane.
#[derive(Debug)]
pub struct Refused {
    /// The event.
    pub event: Outgoing,
    /// Why.
    pub error: PublishError,
    /// How often it was sent.
    pub attempts: u32,
    /// The events behind it, in order. They leave the lanes with it.
    pub followers: Vec<Outgoing>,
}

/// A request's answer.
#[derive(Debug)]
pub struct Answer {
    batch: Vec<Entry<Outgoing>>,
    results: Vec<Result<(), PublishError>>,
    took: Duration,
}

/// The events that wait to be sent, and the requests that are out.
#[derive(Debug)]
pub struct Dispatch<P> {
    sink: Arc<Sink<P>>,
    lease: Lease,
    gather: Option<Gather<Outgoing>>,
    lanes: Lanes<Outgoing>,
    requests: JoinSet<Answer>,
    in_flight_bytes: usize,
    concurrency: Concurrency,
    /// Whether something was confirmed since what waits was last unloaded.
    is_flowing: bool,
    has_given_up: bool,
}

impl<P: Publisher> Dispatch<P> {
    /// Nothing to send yet.
    #[must_use]
    pub fn new(sink: Arc<Sink<P>>, lease: Lease) -> Self {
        Self {
            lease,
            gather: sink.bundle.map(Gather::new),
            lanes: Lanes::new(sink.bundle.map(|bundle| bundle.size)),
            requests: JoinSet::new(),
            in_flight_bytes: 0,
            is_flowing: true,
            concurrency: Concurrency::new(sink.max_in_flight),
            has_given_up: false,
            sink,
        }
    }

    /// Adds an event; those of a lane come in the lane's order.
    pub fn push(&mut self, event: Outgoing) {
        match &mut self.gather {
            None => self.lanes.push(Entry::of(event)),
            Some(gather) => {
                for entry in gather.push(event, Instant::now()) {
                    self.lanes.push(entry);
                }
            }
        }
    }

    /// Starts the requests that may be started now.
    pub fn send(&mut self) {
        let now = Instant::now();
        if let Some(gather) = &mut self.gather {
            for entry in gather.take_due(now) {
                self.lanes.push(entry);
            }
        }
        while self.has_free_request() && self.lease.may_send() {
            let batch = self.lanes.take_batch(self.sink.limits, now);
            if batch.is_empty() {
                break;
            }
            self.in_flight_bytes += batch.iter().map(Entry::held_bytes).sum::<usize>();
            let (sink, lease) = (Arc::clone(&self.sink), self.lease.clone());
            self.requests.spawn(async move {
                let begin = Instant::now();
                // Between the look above and a task's first turn the process may have been paused.
                let results = if lease.may_send() || is_planted(Bug::LeaseNotAskedAgain) {
                    publish(&sink.publisher, &batch).await
                } else {
                    vec![Err(PublishError::not_sent()); batch.len()]
                };
                let took = begin.elapsed();
                if let Some(traces) = &sink.traces {
                    trace(traces, &batch, &results, took);
                }
                Answer { batch, results, took }
            });
        }
        self.sink
            .metrics
            .in_flight(self.requests.len(), self.concurrency.limit());
    }

    /// The next answer; `None` when no request is out.
    ///
    /// # Errors
    /// [`Panicked`].
    ///
    /// # Cancel safety
    /// A cancelled call has taken no answer.
    pub async fn answer(&mut self) -> Option<Result<Answer, Panicked>> {
        let answer = self.requests.join_next().await?;
        Some(answer.map_err(|_| Panicked))
    }

    /// The next answer if one is there.
    ///
    /// # Errors
    /// [`Panicked`].
    pub fn answer_that_is_there(&mut self) -> Option<Result<Answer, Panicked>> {
        let answer = self.requests.try_join_next()?;
        Some(answer.map_err(|_| Panicked))
    }

    /// Sorts out an answer: what was not accepted waits to be sent again, the rest is returned.
    pub fn settle(&mut self, answer: Answer) -> Settled {
        let Answer { batch, results, took } = answer;
        debug_assert_eq!(batch.len(), results.len(), "a publisher answers for each message");
        let (now, was_alone) = (Instant::now(), batch.len() == 1);
        let sent = batch.iter().map(Entry::len).sum();
        let bytes = batch.iter().map(Entry::bytes).sum();
        self.in_flight_bytes -= batch.iter().map(Entry::held_bytes).sum::<usize>();
        self.sink.metrics.request(took, batch.len(), sent, bytes);
        let mut settled = Settled {
            confirmed: Vec::with_capacity(sent),
            ..Settled::default()
        };
        let mut failures = Failures::default();
        let is_enough = is_planted(Bug::OneOfAllIsEnough) && results.iter().any(Result::is_ok);
        let mut results = results.into_iter();
        for entry in batch {
            // An answer that is missing is no confirmation.
            let result = results.next().unwrap_or_else(|| Err(PublishError::unanswered()));
            let is_silence = |error: &PublishError| *error == PublishError::unanswered();
            match result {
                Err(_) if is_enough => {
                    self.lanes.settle(&entry);
                    settled.confirmed.extend(entry.into_items());
                }
                Err(error) if is_planted(Bug::SilenceIsSuccess) && is_silence(&error) => {
                    self.lanes.settle(&entry);
                    settled.confirmed.extend(entry.into_items());
                }
                Ok(()) => {
                    self.sink.metrics.published(entry.len());
                    self.is_flowing = true;
                    self.lanes.settle(&entry);
                    settled.confirmed.extend(entry.into_items());
                }
                Err(error) => {
                    self.sink.metrics.failed(error.class, entry.len());
                    settled.not_accepted += entry.len();
                    failures.note(&error, &entry);
                    self.fail(entry, error, was_alone, now, &mut settled);
                }
            }
        }
        if failures.is_congestion {
            self.concurrency.congested(now);
        } else {
            self.concurrency.accepted();
        }
        failures.log(&self.sink.name);
        settled
    }

    fn fail(
        &mut self,
        entry: Entry<Outgoing>,
        error: PublishError,
        was_alone: bool,
        now: Instant,
        settled: &mut Settled,
    ) {
        let attempts = entry.failures + 1;
        if error.class == FailureClass::Permanent {
            let may_be_a_neighbours = error.scope == Scope::Request && !was_alone;
            if may_be_a_neighbours || entry.len() > 1 {
                self.lanes.isolate(entry, now);
                return;
            }
            if is_planted(Bug::ParkedWithoutFollowers) {
                self.lanes.settle(&entry);
                settled.refused.extend(entry.into_items().map(|event| Refused {
                    event,
                    error: error.clone(),
                    attempts,
                    followers: Vec::new(),
                }));
                return;
            }
            let mut followers = self.lanes.close(&entry);
            if let (true, Some(gather), Some(lane)) = (entry.is_ordered(), &mut self.gather, entry.lane()) {
                followers.extend(gather.close(lane));
            }
            settled.refused.extend(entry.into_items().map(|event| Refused {
                event,
                error: error.clone(),
                attempts,
                followers: std::mem::take(&mut followers),
            }));
        } else if self.sink.guarantee == Guarantee::AtMostOnce && error.may_have_arrived && !is_planted(Bug::SentAgain)
        {
            self.lanes.settle(&entry);
            settled.dropped.extend(entry.into_items());
        } else {
            let wait = backoff::delay(error.class, attempts, self.sink.chance.fraction());
            self.lanes.retry(entry, now + wait);
        }
    }

    /// Gives up the requests that are out. Their messages may arrive all the same.
    pub fn abort(&mut self) {
        self.has_given_up |= !self.requests.is_empty();
        self.requests.abort_all();
    }

    /// Whether requests were given up: their messages may arrive all the same.
    #[must_use]
    pub fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// Waits until no request's task runs any more.
    pub async fn ended(&mut self) {
        while self.requests.join_next().await.is_some() {}
        self.sink.metrics.in_flight(0, self.concurrency.limit());
    }

    /// Requests without an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Whether another request may be started, as far as the number and the size of those that are out go.
    #[must_use]
    pub fn has_free_request(&self) -> bool {
        self.requests.len() < self.concurrency.limit()
            && (self.requests.is_empty() || self.in_flight_bytes < MAX_IN_FLIGHT_BYTES)
    }

    /// When a bundle or a failed entry is due; a failed entry is not while nothing may be sent.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let gathered = self.gather.as_ref().and_then(Gather::next_due);
        let may_send = self.has_free_request() && self.lease.may_send();
        let retry = self.lanes.next_retry().filter(|_| may_send);
        gathered.into_iter().chain(retry).min()
    }

    /// Events that wait to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.lanes.queued() + self.gather.as_ref().map_or(0, Gather::queued)
    }

    /// Bytes of all events that are held here: those that wait and those that are in flight.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.lanes.queued_bytes() + self.gather.as_ref().map_or(0, Gather::queued_bytes) + self.in_flight_bytes
    }

    /// Lets what waits for its turn or its retry give up its payload, if it takes `bytes` or more and
    /// nothing else can be sent: so it holds up nobody else for want of room. Not while nothing at all is
    /// confirmed: then everything waits, and to read more would help nobody.
    pub fn unload_blocked(&mut self, bytes: usize) {
        let is_starving = self.lanes.ready() == 0 && self.has_free_request();
        let may_unload = self.is_flowing || self.lanes.unloaded() < MAX_UNLOADED;
        if is_starving && may_unload && self.lanes.blocked_bytes() >= bytes {
            self.lanes.unload();
            self.is_flowing = false;
        }
    }

    /// Whether an event's turn has come whose payload was given up.
    #[must_use]
    pub fn wants_load(&self) -> bool {
        self.lanes.wants_load()
    }

    /// The events whose payload is to be loaded next, at most `max_events` of `max_bytes`.
    #[must_use]
    pub fn wanted(&self, max_events: usize, max_bytes: usize) -> Vec<&Outgoing> {
        self.lanes.wanted(max_events, max_bytes)
    }

    /// Lets `load` give events their content again.
    pub fn load(&mut self, load: impl FnMut(&mut Outgoing)) {
        self.lanes.load(load);
    }

    /// Whether the lease allows to start a request now.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.lease.may_send()
    }

    /// Whether an event waits that has its payload.
    #[must_use]
    pub fn has_something_to_send(&self) -> bool {
        self.queued() > self.lanes.unloaded()
    }

    /// Every event that waits to be sent, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = &Outgoing> {
        let gathered = self.gather.iter().flat_map(Gather::items);
        self.lanes.items().chain(gathered)
    }

    /// Entries that wait for nothing but a free request.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.lanes.ready()
    }
}

#[cfg(test)]
mod tests;
