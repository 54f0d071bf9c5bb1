//! The loop that reads, sends and saves.
//!
//! One task owns everything that is decided; only requests run beside it. It acts until there is
//! nothing to do, then waits for the first of: a request's answer, a retry that is due, the next
//! look at the log, the end.

mod outgoing;
mod poll;
mod saving;

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    outgoing::{Outgoing, publish},
    poll::{LONGEST, Poll},
    saving::Saving,
};
use super::{
    backoff,
    lanes::{Attempt, Lanes},
    window::Window,
};
use crate::{
    log::{
        Seq,
        page::{self, PageLimits, Selection},
        store::{Claim, StoreError},
    },
    publish::{BatchLimits, PublishError, Publisher},
    telemetry::metrics::SinkMetrics,
};

/// Longest that one statement may take; the database is taken for lost after it.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of messages that wait to be sent; one page more may be read on top.
const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;
const PAGE: PageLimits = PageLimits {
    span: 1_000,
    max_bytes: 8 * 1024 * 1024,
};
/// Longest that reading goes on without sending anything, where a filter lets little through.
const LONGEST_READ: Duration = Duration::from_millis(20);

/// What a sink needs besides its database connection.
#[derive(Debug)]
pub struct Sink<P> {
    /// The sink's name.
    pub name: String,
    /// Which events it wants.
    pub selection: Selection,
    /// Where they go.
    pub publisher: P,
    /// Whether the target keeps the order of keys, so that the relay must too.
    pub keeps_order: bool,
    /// What one request may hold.
    pub limits: BatchLimits,
    /// Requests in flight at once.
    pub max_in_flight: usize,
    /// Most events between the oldest that is not settled and the youngest that was read: how many
    /// may pass a stuck one, and so the most that a crash can make the relay publish again.
    pub max_window: usize,
    /// Longest that a drain waits for answers.
    pub drain_timeout: Duration,
    /// What is counted.
    pub metrics: SinkMetrics,
}

impl<P: Clone> Sink<P> {
    /// The same sink, wanting the events of some shards only.
    #[must_use]
    pub fn for_shards(&self, shards: Vec<i16>) -> Self {
        Self {
            name: self.name.clone(),
            selection: Selection {
                shards: Some(shards),
                ..self.selection.clone()
            },
            publisher: self.publisher.clone(),
            keeps_order: self.keeps_order,
            limits: self.limits,
            max_in_flight: self.max_in_flight,
            max_window: self.max_window,
            drain_timeout: self.drain_timeout,
            metrics: self.metrics.clone(),
        }
    }
}

/// Why a pipeline ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The database; everything that is not saved is read again.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A statement took longer than 30 s.
    #[error("database: no answer within 30 s")]
    Timeout,
    /// Another relay has taken over.
    #[error("another relay has taken over sink `{sink}`")]
    Superseded {
        /// The sink's name.
        sink: String,
    },
    /// The cursors do not belong to this database.
    #[error("{0}")]
    Ahead(StoreError),
    /// A request's task panicked.
    #[error("a request's task panicked")]
    Panicked,
}

impl From<StoreError> for PipelineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Superseded { sink } => Self::Superseded { sink },
            StoreError::Ahead { .. } => Self::Ahead(error),
            StoreError::Database(error) => Self::Database(error),
        }
    }
}

type Answer = (Vec<Attempt<Outgoing>>, Vec<Result<(), PublishError>>, Duration);

/// Publishes what a claim's shards have to publish, until it is told to end; then takes no new
/// events, waits for the answers that are out and saves.
///
/// When it returns, no request is in flight.
///
/// # Errors
/// See [`PipelineError`]. The cursor is where it was last saved.
pub async fn run<P: Publisher>(
    sink: Arc<Sink<P>>,
    claim: Claim,
    connection: &mut PgConnection,
    end: &CancellationToken,
) -> Result<(), PipelineError> {
    let mut pipeline = Pipeline {
        poll: in_time(Poll::begin(connection)).await?,
        window: Window::at(claim.place.clone()),
        lanes: Lanes::default(),
        requests: JoinSet::new(),
        saving: Saving::new(claim),
        sink,
    };
    let result = pipeline.work(connection, end).await;
    // A successor of this pipeline must not send while an answer of ours is still out.
    while pipeline.requests.join_next().await.is_some() {}
    pipeline.sink.metrics.in_flight(0);
    result
}

struct Pipeline<P> {
    sink: Arc<Sink<P>>,
    window: Window,
    lanes: Lanes<Outgoing>,
    requests: JoinSet<Answer>,
    saving: Saving,
    poll: Poll,
}

impl<P: Publisher> Pipeline<P> {
    async fn work(&mut self, connection: &mut PgConnection, end: &CancellationToken) -> Result<(), PipelineError> {
        while !end.is_cancelled() {
            while let Some(answer) = self.requests.try_join_next() {
                self.settle(answer.map_err(|_| PipelineError::Panicked)?);
            }
            self.send();
            if self.wants_rows() {
                self.read(connection).await?;
                self.send();
            }
            self.save_if_due(connection).await?;
            self.report();
            self.wait(end).await?;
        }
        self.drain(connection).await
    }

    /// Waits until there is something to do. Only waits: no arm does work that could be cut short.
    async fn wait(&mut self, end: &CancellationToken) -> Result<(), PipelineError> {
        let mut wake = self.poll.next.max(Instant::now());
        if self.has_unread() && self.has_room() {
            wake = Instant::now();
        } else if !self.has_room() {
            wake += LONGEST;
        }
        if self.has_free_request() {
            wake = self.lanes.next_retry().map_or(wake, |retry| wake.min(retry));
        }
        wake = self.saving.due(&self.window).map_or(wake, |due| wake.min(due));
        let answer = tokio::select! {
            biased;
            () = end.cancelled() => None,
            Some(answer) = self.requests.join_next() => Some(answer),
            () = tokio::time::sleep_until(wake) => None,
        };
        if let Some(answer) = answer {
            self.settle(answer.map_err(|_| PipelineError::Panicked)?);
        }
        Ok(())
    }

    fn send(&mut self) {
        while self.has_free_request() {
            let batch = self.lanes.take_batch(self.sink.limits, Instant::now());
            if batch.is_empty() {
                break;
            }
            let sink = Arc::clone(&self.sink);
            self.requests.spawn(async move {
                let begin = Instant::now();
                let results = publish(&sink.publisher, &batch).await;
                (batch, results, begin.elapsed())
            });
        }
        self.sink.metrics.in_flight(self.requests.len());
    }

    fn settle(&mut self, (batch, results, took): Answer) {
        debug_assert_eq!(batch.len(), results.len(), "a publisher answers for each message");
        self.sink.metrics.request(took);
        let now = Instant::now();
        let mut failure: Option<(PublishError, usize, u32)> = None;
        let mut results = results.into_iter();
        for attempt in batch {
            // An answer that is missing is no confirmation.
            match results.next().unwrap_or_else(|| Err(PublishError::unanswered())) {
                Ok(()) => {
                    self.sink.metrics.published();
                    self.window.settle(attempt.item.ticket);
                    self.lanes.settle(&attempt.item);
                    self.saving.note_progress(now);
                }
                Err(error) => {
                    self.sink.metrics.failed(error.class);
                    let wait = backoff::delay(error.class, attempt.failures + 1, rand::random());
                    let (_, events, attempts) = failure.get_or_insert((error, 0, 0));
                    *events += 1;
                    *attempts = (*attempts).max(attempt.failures + 1);
                    self.lanes.retry(attempt, now + wait);
                }
            }
        }
        if let Some((error, events, attempt)) = failure {
            tracing::warn!(
                sink = self.sink.name,
                class = error.class.as_str(),
                code = error.code,
                reason = error.message,
                events,
                attempt,
                "events were not accepted and will be sent again"
            );
        }
    }

    async fn read(&mut self, connection: &mut PgConnection) -> Result<(), PipelineError> {
        let begin = Instant::now();
        if self.window.unread().is_none() {
            let target = in_time(self.poll.look(connection)).await?;
            if self.window.end().snapshot != target.snapshot {
                self.window.extend(target);
            }
        }
        let mut found = 0;
        while let Some((run, position)) = self.window.unread() {
            let room = self.sink.max_window.saturating_sub(self.window.len());
            let limits = PageLimits {
                span: PAGE.span.min(Seq::try_from(room).unwrap_or(PAGE.span)),
                ..PAGE
            };
            let read = page::read(connection, run, &self.sink.selection, position, limits);
            let Some(page) = in_time(read).await? else { break };
            found += page.rows.len();
            let places: Vec<(Seq, i64)> = page.rows.iter().map(|row| (row.seq, row.time_micros)).collect();
            let tickets = self.window.read(places, page.read_to);
            for (ticket, row) in tickets.into_iter().zip(page.rows) {
                let sink = &self.sink;
                self.lanes
                    .push(Outgoing::new(ticket, row, &sink.publisher, sink.keeps_order));
            }
            if found > 0 || begin.elapsed() > LONGEST_READ {
                break;
            }
        }
        self.poll.note(found > 0 || self.window.unread().is_some());
        Ok(())
    }

    async fn save_if_due(&mut self, connection: &mut PgConnection) -> Result<(), PipelineError> {
        if self.saving.due(&self.window).is_some_and(|due| due <= Instant::now()) {
            in_time_store(self.saving.save(&self.window, connection)).await?;
        }
        Ok(())
    }

    /// Sends nothing more, waits for the answers that are out, saves.
    async fn drain(&mut self, connection: &mut PgConnection) -> Result<(), PipelineError> {
        let deadline = Instant::now() + self.sink.drain_timeout;
        while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, self.requests.join_next()).await {
            self.settle(answer.map_err(|_| PipelineError::Panicked)?);
        }
        let unanswered = self.requests.len();
        if unanswered > 0 {
            tracing::warn!(
                sink = self.sink.name,
                requests = unanswered,
                "drain ended with requests unanswered; their events will be published again"
            );
            self.requests.abort_all();
        }
        if self.saving.due(&self.window).is_some() {
            in_time_store(self.saving.save(&self.window, connection)).await?;
        }
        tracing::info!(sink = self.sink.name, unsettled = self.window.len(), "drained");
        Ok(())
    }

    fn has_free_request(&self) -> bool {
        self.requests.len() < self.sink.max_in_flight
    }

    fn has_unread(&self) -> bool {
        self.window.unread().is_some()
    }

    /// Whether another page may be read: bounded events, bytes and runs, whatever the backlog.
    fn has_room(&self) -> bool {
        let enough_to_send = self.sink.max_in_flight * self.sink.limits.max_entries;
        self.window.len() < self.sink.max_window
            && self.lanes.queued_bytes() < MAX_QUEUED_BYTES
            && (self.lanes.ready() < enough_to_send)
    }

    fn wants_rows(&self) -> bool {
        self.has_room() && (self.has_unread() || self.poll.next <= Instant::now())
    }

    fn report(&self) {
        let published_to = match self.window.place().under_way {
            Some((_, position)) => position,
            None => self.poll.high,
        };
        let behind = self.poll.high.saturating_sub(published_to).max(0);
        self.sink.metrics.lag(behind, self.window.oldest_micros());
    }
}

async fn in_time<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, PipelineError> {
    timeout(STATEMENT_TIMEOUT, query)
        .await
        .map_err(|_| PipelineError::Timeout)?
        .map_err(Into::into)
}

async fn in_time_store(query: impl Future<Output = Result<(), StoreError>>) -> Result<(), PipelineError> {
    timeout(STATEMENT_TIMEOUT, query)
        .await
        .map_err(|_| PipelineError::Timeout)?
        .map_err(Into::into)
}
