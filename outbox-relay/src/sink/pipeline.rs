//! The loop that reads, sends and saves.
//!
//! One task owns everything that is decided; requests and one job of the database run beside it. It
//! acts until there is nothing to do, then waits for the first of: a request's answer, the job's end,
//! something that is due, the end.

mod drain;
mod job;
mod outcome;
mod poll;
mod saving;

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    job::{Desk, Done, Job, Subject},
    poll::{LONGEST, Pace, Poll},
    saving::Saving,
};
use super::{
    Guarantee, Sink,
    dispatch::{Answer, Dispatch, Panicked},
    entry::Item as _,
    outgoing::{Draft, Origin, Outgoing},
    parking::Parking,
    reader::{Found, PageWanted, Reader},
};
use crate::{
    database::{session::Session, trouble},
    lease::term::Lease,
    log::{
        Seq,
        page::PageLimits,
        store::{Claim, StoreError},
    },
    publish::Publisher,
};

/// Most bytes of messages that wait to be sent; one page more may be read on top.
const MAX_QUEUED_BYTES: usize = 24 * 1024 * 1024;
const PAGE: PageLimits = PageLimits {
    span: 1_000,
    max_bytes: 4 * 1024 * 1024,
};
/// How often it is asked whether parked events are to be sent again, where there are any.
const ASK_FOR_RETRIES: Duration = Duration::from_millis(500);
/// Most parked events that are on their way again at once.
const MAX_LOADED: usize = 2_000;

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

/// How a pipeline ended that was asked to.
#[derive(Debug)]
pub struct Drained {
    /// The connection, for what follows.
    pub connection: Session,
    /// Whether every request was answered. If not, what was sent may still arrive, and the shards
    /// must not be handed over before the lease is over.
    pub is_clean: bool,
}

/// Publishes what the claims' shards have to publish, until it is told to end; then takes no new
/// events, waits for the answers that are out and saves.
///
/// When it returns, no request is in flight.
///
/// # Errors
/// See [`PipelineError`]. The cursor is where it was last saved.
pub async fn run<P: Publisher>(
    sink: Arc<Sink<P>>,
    claims: Vec<Claim>,
    connection: Session,
    lease: Lease,
    end: &CancellationToken,
) -> Result<Drained, PipelineError> {
    let reader = Reader::new(claims);
    let subject = Subject {
        sink: Arc::clone(&sink),
        shards: reader.shards(),
    };
    let mut pipeline = Pipeline {
        dispatch: Dispatch::new(Arc::clone(&sink), lease),
        // What earlier holders have parked shows with the first answer.
        parking: Parking::new(true),
        held: Vec::new(),
        saving_held: Vec::new(),
        reader,
        desk: Desk::new(connection, subject),
        poll: Poll::new(),
        pace: Pace::new(),
        saving: Saving::new(),
        high: 0,
        has_read: false,
        ask_for_retries: Instant::now(),
        sink,
    };
    let result = pipeline.work(end).await;
    // A successor of this pipeline must not send while an answer of ours is still out.
    pipeline.dispatch.ended().await;
    let is_clean = result?;
    match pipeline.desk.into_connection() {
        Some(connection) => Ok(Drained { connection, is_clean }),
        None => Err(PipelineError::Timeout),
    }
}

struct Pipeline<P> {
    sink: Arc<Sink<P>>,
    reader: Reader,
    dispatch: Dispatch<P>,
    parking: Parking,
    /// Events that are sent once the cursor has moved over them (at most once).
    held: Vec<Outgoing>,
    /// Those of them that the save under way moves over.
    saving_held: Vec<Outgoing>,
    desk: Desk<P>,
    poll: Poll,
    pace: Pace,
    saving: Saving,
    /// The end of the log at the last look.
    high: Seq,
    /// Whether a page was read, or there was none to read.
    has_read: bool,
    ask_for_retries: Instant,
}

enum Woken {
    Answered(Answer),
    Done(Done),
    Due,
}

impl<P: Publisher> Pipeline<P> {
    async fn work(&mut self, end: &CancellationToken) -> Result<bool, PipelineError> {
        while !end.is_cancelled() {
            while let Some(answer) = self.dispatch.answer_that_is_there() {
                self.settle(answer?);
            }
            self.dispatch.send();
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

    fn next_wake(&self) -> Instant {
        // The lease, or room that a filter's next page finds: looked at again soon enough.
        let mut wake = Instant::now() + LONGEST;
        if self.desk.is_idle() {
            if self.has_room() {
                wake = wake.min(self.pace.next);
            }
            wake = self
                .saving
                .due(|| self.reader.has_moved())
                .map_or(wake, |due| wake.min(due));
            if self.parking.any {
                wake = wake.min(self.ask_for_retries);
            }
        }
        if !self.dispatch.is_held_by_lease() {
            wake = self.dispatch.next_due().map_or(wake, |due| wake.min(due));
        }
        wake
    }

    /// What to do with the database next: write what is due, send again what was parked, read on,
    /// look for more.
    fn next_job(&mut self) -> Option<Job> {
        let now = Instant::now();
        if self
            .saving
            .due(|| self.reader.has_moved())
            .is_some_and(|due| due <= now)
        {
            return Some(self.save());
        }
        if self.parking.any && self.ask_for_retries <= now {
            self.ask_for_retries = now + ASK_FOR_RETRIES;
            let loaded = self.parking.loaded();
            if loaded.len() < MAX_LOADED && !self.parking.has_changes() {
                return Some(Job::Retries { loaded });
            }
        }
        if !self.has_room() {
            return None;
        }
        let is_due = self.pace.next <= now && self.reader.wants_look();
        match self.reader.next_page() {
            Some(wanted) if !is_due => Some(self.page(wanted)),
            _ if is_due => Some(Job::Look(self.poll)),
            _ => None,
        }
    }

    fn page(&self, wanted: PageWanted) -> Job {
        let room = self.sink.max_window.saturating_sub(self.reader.len());
        let limits = PageLimits {
            span: PAGE.span.min(Seq::try_from(room).unwrap_or(PAGE.span)),
            ..PAGE
        };
        Job::Page {
            wanted: Box::new(wanted),
            limits,
            ask_parked: self.parking.any,
        }
    }

    fn save(&mut self) -> Job {
        self.saving.begins();
        let changes = self.parking.take();
        let claims = self.reader.places(&self.sink.name, !changes.is_empty());
        self.saving_held.append(&mut self.held);
        Job::Save { claims, changes }
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
            Done::Saved { claims, changes } => {
                self.parking.written(&changes);
                self.reader.saved(claims);
                for event in self.saving_held.drain(..) {
                    self.dispatch.push(event);
                }
            }
            Done::Retries { drafts, parked } => {
                self.sink.metrics.parked(parked);
                self.parking.any = parked > 0 || self.parking.has_changes();
                self.parking.load(drafts.iter().map(Draft::seq));
                for draft in drafts {
                    self.dispatch
                        .push(draft.outgoing(Origin::Parked, self.sink.keeps_order));
                }
            }
        }
    }

    fn read(&mut self, wanted: &PageWanted, found: &[Found], drafts: Vec<Draft>, read_to: Seq, parked_keys: &[String]) {
        let parked_keys: HashSet<&str> = parked_keys.iter().map(String::as_str).collect();
        let tickets = self.reader.read(wanted, found, read_to);
        for (ticket, draft) in tickets.into_iter().zip(drafts) {
            let event = draft.outgoing(Origin::Log(ticket), self.sink.keeps_order);
            let is_behind = |lane: &str| parked_keys.contains(lane) || self.parking.holds(lane);
            if event.lane().is_some_and(is_behind) {
                self.follow(&event);
            } else if self.sink.guarantee == Guarantee::AtMostOnce {
                self.reader.settle(ticket);
                self.held.push(event.settled());
                self.saving.hurry();
            } else {
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

    /// Whether another page may be read: bounded events, bytes and runs, whatever the backlog.
    fn has_room(&self) -> bool {
        let enough_to_send = self.sink.max_in_flight * self.sink.limits.max_entries + PAGE.span.unsigned_abs() as usize;
        self.reader.len() < self.sink.max_window
            && self.parking.changes() < self.sink.max_window
            && self.dispatch.queued_bytes() < MAX_QUEUED_BYTES
            && self.dispatch.ready() < enough_to_send
            && self.held.is_empty()
    }

    fn report(&self) {
        let behind = self.high.saturating_sub(self.reader.published_to(self.high)).max(0);
        self.sink.metrics.lag(behind, self.reader.oldest_micros());
    }
}
