//! The loop that reads, sends and saves.
//!
//! One task owns everything that is decided; requests and one job of the database run beside it. It
//! acts until there is nothing to do, then waits for the first of: a request's answer, the job's end,
//! something that is due, the end.

mod drain;
mod giving_up;
mod job;
mod next;
mod outcome;
mod passed;
mod poll;
mod saving;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    job::{Desk, Done, Subject},
    passed::Passed,
    poll::{Pace, Poll},
    saving::Saving,
};
use super::{
    Guarantee, Sink,
    dispatch::{Answer, Dispatch, Panicked},
    outgoing::{Draft, Origin, Outgoing},
    parking::Parking,
    reader::{Found, PageWanted, Reader},
};
use crate::{
    database::trouble,
    lease::term::Lease,
    log::{
        Seq,
        connection::Connection,
        parked::{Count, Edition},
        store::{Claim, StoreError},
    },
    planted::{Bug, is_planted},
    publish::Publisher,
};

/// Why a pipeline ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The database; everything that is not saved is read again.
    #[error("database: {}", trouble::explain(.0))]
    Database(#[from] sqlx::Error),
    /// A statement took longer than 30 s.
    #[error("database: no answer within 30 s")]
    Timeout,
    /// Somebody else has a shard now, or has moved its cursor.
    #[error("{0}")]
    Superseded(StoreError),
    /// The cursors do not belong to this database.
    #[error("{0}")]
    Elsewhere(StoreError),
    /// A task panicked.
    #[error("a request's or a statement's task panicked")]
    Panicked,
}

impl From<StoreError> for PipelineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Superseded { .. } => Self::Superseded(error),
            StoreError::Ahead { .. } | StoreError::Foreign { .. } => Self::Elsewhere(error),
            StoreError::Database(error) => Self::Database(error),
        }
    }
}

impl From<Panicked> for PipelineError {
    fn from(Panicked: Panicked) -> Self {
        Self::Panicked
    }
}

/// How a pipeline ended.
#[derive(Debug)]
pub struct Ended<C> {
    /// The connection, for what follows, or why it ended without being asked to or could not save.
    /// The cursor is then where it was last saved.
    pub outcome: Result<C, PipelineError>,
    /// Whether every request was answered, however it ended. If not, what was sent may still arrive, and
    /// the shards must not be handed over before the lease is over.
    pub is_clean: bool,
}

/// Publishes what the claims' shards have to publish, until it is told to end; then takes no new
/// events, waits for the answers that are out and saves.
///
/// When it returns, no request is in flight.
pub async fn run<P: Publisher, C: Connection>(
    sink: Arc<Sink<P>>,
    claims: Vec<Claim>,
    connection: C,
    lease: Lease,
    end: &CancellationToken,
) -> Ended<C> {
    let reader = Reader::new(claims);
    let subject = Subject {
        sink: Arc::clone(&sink),
        shards: reader.shards(),
    };
    let shards = subject.shards.clone();
    let mut pipeline = Pipeline {
        dispatch: Dispatch::new(Arc::clone(&sink), lease),
        // What earlier holders have parked shows with the first answer.
        parking: Parking::new(true),
        held: Vec::new(),
        saving_held: Vec::new(),
        reader,
        shards,
        desk: Desk::new(connection, subject),
        poll: Poll::new(),
        pace: Pace::new(),
        saving: Saving::new(),
        passed: Passed::default(),
        high: 0,
        has_read: false,
        ask_for_retries: Instant::now(),
        measure: Instant::now(),
        has_loaded: false,
        drains_until: None,
        sink,
    };
    let result = pipeline.work(end).await;
    if let Err(error) = &result {
        pipeline.give_up(error).await;
    }
    // A successor of this pipeline must not send while an answer of ours is still out.
    pipeline.dispatch.ended().await;
    let is_clean = !pipeline.dispatch.has_given_up() || is_planted(Bug::DrainWithoutAnswers);
    let connection = pipeline.desk.into_connection();
    let outcome = result.and_then(|()| connection.ok_or(PipelineError::Timeout));
    Ended { outcome, is_clean }
}

struct Pipeline<P, C> {
    sink: Arc<Sink<P>>,
    reader: Reader,
    shards: Vec<i16>,
    dispatch: Dispatch<P>,
    parking: Parking,
    /// Events that are sent once the cursor has moved over them (at most once).
    held: Vec<Outgoing>,
    /// Those of them that the save under way moves over.
    saving_held: Vec<Outgoing>,
    desk: Desk<P, C>,
    poll: Poll,
    pace: Pace,
    saving: Saving,
    passed: Passed,
    /// The end of the log, as far as it is known.
    high: Seq,
    /// Whether a page was read, or there was none to read.
    has_read: bool,
    ask_for_retries: Instant,
    /// When the log is to be measured, should nothing be read until then.
    measure: Instant,
    /// Whether the last job loaded payloads again: then reading has its turn.
    has_loaded: bool,
    /// The end of the drain, once it has begun.
    drains_until: Option<Instant>,
}

enum Woken {
    Answered(Answer),
    Done(Done),
    Due,
}

impl<P: Publisher, C: Connection> Pipeline<P, C> {
    async fn work(&mut self, end: &CancellationToken) -> Result<(), PipelineError> {
        while !end.is_cancelled() {
            while let Some(answer) = self.dispatch.answer_that_is_there() {
                self.settle(answer?);
            }
            self.dispatch.send();
            self.make_room();
            if self.desk.is_idle()
                && let Some(job) = self.next_job()
            {
                self.desk.start(job);
            }
            self.report();
            match self.wait(end).await? {
                Woken::Answered(answer) => self.settle(answer),
                Woken::Done(done) => self.take(done),
                Woken::Due => {}
            }
        }
        self.drain().await
    }

    /// Waits until there is something to do. Only waits: no arm does work that could be cut short.
    async fn wait(&mut self, end: &CancellationToken) -> Result<Woken, PipelineError> {
        let wake = self.next_wake();
        tokio::select! {
            biased;
            () = end.cancelled() => Ok(Woken::Due),
            Some(answer) = self.dispatch.answer() => Ok(Woken::Answered(answer?)),
            done = self.desk.done() => Ok(Woken::Done(done?)),
            () = tokio::time::sleep_until(wake) => Ok(Woken::Due),
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Looked(poll, horizon) => {
                let has_grown = horizon.seq_after > self.high;
                (self.poll, self.high) = (poll, horizon.seq_after);
                self.reader.extend(&horizon);
                self.pace.note(has_grown);
                if self.reader.next_page().is_none() {
                    self.note_read();
                }
            }
            Done::Read {
                wanted,
                found,
                drafts,
                read_to,
                parked_keys,
            } => {
                if !found.is_empty() {
                    self.pace.note(true);
                }
                self.read(&wanted, &found, drafts, read_to, &parked_keys);
                self.note_read();
            }
            Done::Saved { claims, changes, taken } => {
                self.parking.written(&changes);
                self.reader.saved(claims);
                self.release(&taken.into_iter().collect());
            }
            Done::Retries { drafts, count } => self.send_again(drafts, count),
            Done::Loaded { asked, drafts } => self.loaded(&asked, drafts),
            Done::Measured(high) => self.high = self.high.max(high),
        }
    }

    fn read(&mut self, wanted: &PageWanted, found: &[Found], drafts: Vec<Draft>, read_to: Seq, parked_keys: &[String]) {
        let parked_keys: HashSet<&str> = parked_keys.iter().map(String::as_str).collect();
        let tickets = self.reader.read(wanted, found, read_to);
        for ((ticket, draft), found) in tickets.into_iter().zip(drafts).zip(found) {
            let event = draft.outgoing(Origin::Log(ticket), self.sink.keeps_order);
            let is_behind = |key: &str| {
                !is_planted(Bug::ParkedKeysForgotten) && (parked_keys.contains(key) || self.parking.holds(key))
            };
            if event.key().is_some_and(is_behind) {
                self.follow(&event);
            } else if self.sink.guarantee == Guarantee::AtMostOnce {
                self.reader.settle(ticket);
                self.passed.begin(found.seq, found.time_micros);
                self.held.push(event.settled());
                self.saving.hurry();
            } else {
                if is_planted(Bug::CursorBeforeAnswer) {
                    self.reader.settle(ticket);
                    self.dispatch.push(event.settled());
                    continue;
                }
                self.dispatch.push(event);
            }
        }
    }

    /// The sink is ready: that it has a connection and shards says little while the log is locked.
    fn note_read(&mut self) {
        if !self.has_read {
            self.has_read = true;
            self.sink.metrics.ready(true);
        }
    }

    /// Lets parked events go again. One before them may have been refused since they were read: then
    /// they stay, as the save that writes it will leave them.
    fn send_again(&mut self, drafts: Vec<(Draft, Edition)>, count: Count) {
        self.sink.metrics.parked(count.parked);
        if self.parking.sweep(count.sending, &self.shards) {
            self.saving.hurry();
        }
        self.parking.any = count.parked > 0 || self.parking.has_changes();
        for (draft, edition) in drafts {
            let event = draft.outgoing(Origin::Parked(edition), self.sink.keeps_order);
            if event.key().is_some_and(|key| self.parking.holds(key)) {
                continue;
            }
            self.parking.load([event.seq]);
            if self.sink.guarantee == Guarantee::AtMostOnce {
                self.parking.take_off(event.seq, edition);
                self.held.push(event);
                self.saving.hurry();
            } else {
                self.dispatch.push(event);
            }
        }
    }

    /// Lets go what waited for the save that has just ended. Those behind an event that was refused while
    /// it was under way are set aside with it.
    fn release(&mut self, taken: &HashSet<Seq>) {
        for event in std::mem::take(&mut self.saving_held) {
            if matches!(event.origin, Origin::Parked(_)) && !taken.contains(&event.seq) {
                self.parking.leave(event.seq);
            } else if event.key().is_some_and(|key| self.parking.holds(key)) {
                self.follow(&event);
            } else {
                self.dispatch.push(event);
            }
        }
    }

    fn loaded(&mut self, asked: &[Seq], drafts: Vec<(Draft, Option<Edition>)>) {
        let asked: HashSet<Seq> = asked.iter().copied().collect();
        let drafts = drafts
            .into_iter()
            .map(|(draft, edition)| (draft.seq(), (draft, edition)));
        let mut drafts: HashMap<Seq, (Draft, Option<Edition>)> = drafts.collect();
        self.dispatch.load(|event| match drafts.remove(&event.seq) {
            Some(_) if is_planted(Bug::PayloadNotLoaded) => event.lose(),
            Some((draft, edition)) => event.load(draft, edition),
            None if asked.contains(&event.seq) => event.lose(),
            None => {}
        });
    }

    /// Tells how far behind the sink is: what the cursor has passed before it was sent counts too.
    fn report(&self) {
        let published_to = self.reader.published_to(self.high);
        let unsent = self.passed.oldest();
        let published_to = unsent.map_or(published_to, |(seq, _)| published_to.min(seq - 1));
        let behind = self.high.saturating_sub(published_to).max(0);
        let oldest = self
            .reader
            .oldest_micros()
            .into_iter()
            .chain(unsent.map(|(_, time)| time));
        self.sink.metrics.lag(behind, oldest.min());
    }
}
