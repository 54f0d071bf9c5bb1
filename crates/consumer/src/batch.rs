//! One batch: every record gets its own verdict.

use std::{collections::HashMap, time::Duration};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use futures::{StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;
use oncebox_envelope::EventId;
use tokio::time::{Instant, timeout_at};

use crate::{
    builder::UnknownType,
    dead_letter::DeadLetterQueue,
    failure::{Failure, Reason},
    handler::Route,
    invocation::{Budget, Invocation},
    lane::{Lane, lanes},
    log,
    outcome::{Outcome, Settled, Verdict},
    record::{Content, Record},
    retry_delay::RetryDelay,
};

/// A consumer of events: handlers by event type, each with its effect mode.
pub struct Consumer {
    pub(crate) name: String,
    pub(crate) router: Router,
    pub(crate) retry_delay: RetryDelay,
    pub(crate) concurrency: usize,
    pub(crate) queues: DeadLetterQueue,
    #[cfg(feature = "dynamodb")]
    pub(crate) dedupe: Option<crate::DynamoDbDedupe>,
    #[cfg(feature = "postgres")]
    pub(crate) inbox: Option<crate::postgres::Inbox>,
}

/// Why a batch cannot be reported record by record, and so fails as a whole.
#[derive(Debug, thiserror::Error)]
#[error("record {index} of the batch has no messageId; the whole batch fails")]
pub struct BatchError {
    /// 0-based position in the batch.
    pub index: usize,
}

/// What became of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settlement {
    /// One report for each record, in the order of the batch.
    pub records: Vec<RecordReport>,
}

/// What became of one record.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecordReport {
    /// The SQS message id.
    pub message_id: String,
    /// The FIFO message group; `None` on standard queues.
    pub group: Option<String>,
    /// How often SQS has delivered it, this time included.
    pub receive_count: Option<u32>,
    /// The event's id, where the body is an envelope.
    pub event_id: Option<EventId>,
    /// The event's type, where the body is an envelope.
    pub event_type: Option<String>,
    /// The event's time, where the body is an envelope.
    pub time: Option<Timestamp>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it goes back to the queue.
    pub is_failed: bool,
    /// The class of a permanent failure.
    pub reason: Option<Reason>,
    /// What went wrong.
    pub error: Option<String>,
    /// How long the attempt took.
    pub duration: Duration,
}

impl Settlement {
    /// How many records came to `outcome`.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.records.iter().filter(|record| record.outcome == outcome).count()
    }

    /// The answer to Lambda: the records that go back to the queue, each message id once.
    ///
    /// An id that is empty or not of the batch would fail the whole batch (AWS Lambda Developer
    /// Guide, "Handling errors for an SQS event source", partial batch responses).
    #[must_use]
    pub fn response(&self) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        let mut seen = std::collections::HashSet::new();
        for record in self.records.iter().filter(|record| record.is_failed) {
            if seen.insert(record.message_id.as_str()) {
                response.add_failure(record.message_id.clone());
            }
        }
        response
    }
}

impl Consumer {
    /// Works on a batch and answers Lambda; [`settle_batch`](Self::settle_batch) tells more.
    ///
    /// # Errors
    /// [`BatchError`]: Lambda then delivers the whole batch again.
    ///
    /// # Cancel safety
    /// As [`settle_batch`](Self::settle_batch).
    pub async fn handle_batch(&self, event: SqsEvent, invocation: &Invocation) -> Result<SqsBatchResponse, BatchError> {
        self.settle_batch(event, invocation)
            .await
            .map(|settlement| settlement.response())
    }

    /// Works on a batch and tells what became of each record, in the log too.
    ///
    /// Records run side by side, on FIFO queues the records of one group one after the other. It
    /// returns before the invocation's time is over.
    ///
    /// # Errors
    /// [`BatchError`] when a record has no message id; nothing has been started then.
    ///
    /// # Cancel safety
    /// Dropping it leaves each record either with its whole effect and its dedupe record, or with
    /// neither; delivered again, none has a second effect.
    pub async fn settle_batch(&self, event: SqsEvent, invocation: &Invocation) -> Result<Settlement, BatchError> {
        let records = Record::decode_all(event)?;
        let mut running: Vec<BoxFuture<'_, Vec<(usize, RecordReport)>>> = Vec::new();
        for lane in lanes(&records) {
            running.push(Box::pin(self.run_lane(&records, lane, invocation)));
        }
        let mut reports: Vec<(usize, RecordReport)> = stream::iter(running)
            .buffer_unordered(self.concurrency)
            .flat_map(stream::iter)
            .collect()
            .await;
        reports.sort_by_key(|(index, _)| *index);
        let settlement = Settlement {
            records: reports.into_iter().map(|(_, report)| report).collect(),
        };
        let returned = settlement
            .records
            .iter()
            .zip(&records)
            .filter(|(report, _)| report.is_failed);
        let returned = returned.map(|(_, record)| record).collect();
        self.queues
            .delay(self.retry_delay, returned, invocation.budget.settle_until)
            .await;
        log::batch(&self.name, &invocation.request_id, &settlement);
        Ok(settlement)
    }

    async fn run_lane(&self, records: &[Record], lane: Lane, invocation: &Invocation) -> Vec<(usize, RecordReport)> {
        let budget = invocation.budget;
        let mut reports = Vec::with_capacity(lane.records.len());
        let mut copies = HashMap::new();
        let mut is_blocked = false;
        for index in lane.records {
            let record = &records[index];
            let started = Instant::now();
            let copy_of = record.identity().and_then(|identity| copies.get(&identity).cloned());
            let settled: Settled = if is_blocked {
                Settled::failed(
                    Outcome::NotStarted,
                    "an earlier message of its group goes back to the queue",
                )
            } else if let Some(first) = copy_of {
                Settled::for_copy(&first)
            } else if started >= budget.start_until {
                Settled::failed(Outcome::NotStarted, "too little time left in this invocation")
            } else {
                self.settle(record, budget).await
            };
            if let Some(identity) = record.identity() {
                copies.entry(identity).or_insert_with(|| settled.clone());
            }
            is_blocked = is_blocked || (lane.is_ordered && settled.is_failed);
            let report = RecordReport::new(record, settled, started.elapsed());
            log::record(&self.name, &invocation.request_id, &report);
            reports.push((index, report));
        }
        reports
    }

    /// Attempts a record and deals with its failure, by `settle_until` at the latest.
    async fn settle(&self, record: &Record, budget: Budget) -> Settled {
        let attempt = async {
            match self.attempt(record, budget).await {
                Verdict::Done => Settled::acknowledged(Outcome::Done),
                Verdict::Duplicate => Settled::acknowledged(Outcome::Duplicate),
                Verdict::Expired => Settled::acknowledged(Outcome::Expired),
                Verdict::Ignored => Settled::acknowledged(Outcome::Ignored),
                Verdict::Failed(Failure::Retryable(error)) => Settled::failed(Outcome::Retryable, error),
                Verdict::Failed(Failure::Permanent(reason, error)) => self.set_aside(record, reason, error).await,
            }
        };
        match timeout_at(budget.settle_until, attempt).await {
            Ok(settled) => settled,
            Err(_) => Settled::failed(Outcome::Retryable, "not done within the time of this invocation"),
        }
    }

    /// Acknowledged only when the dead letter is safely stored; before that the message is the
    /// only copy.
    async fn set_aside(&self, record: &Record, reason: Reason, error: String) -> Settled {
        let (is_failed, error) = match self.queues.send(record, reason, &error).await {
            Ok(()) => (false, error),
            Err(not_sent) => (true, format!("{error} ({not_sent})")),
        };
        Settled {
            outcome: Outcome::Permanent,
            is_failed,
            reason: Some(reason),
            error: Some(error),
        }
    }

    async fn attempt(&self, record: &Record, budget: Budget) -> Verdict {
        let content = match &record.content {
            Ok(content) => content,
            Err(error) => return Failure::permanent(Reason::NotAnEnvelope, error).into(),
        };
        if content.envelope.is_expired(Timestamp::now()) {
            return Verdict::Expired;
        }
        match self.router.route(content) {
            Ok(Some(route)) => self.consume(route, content, budget).await,
            Ok(None) => Verdict::Ignored,
            Err(failure) => failure.into(),
        }
    }

    async fn consume(&self, route: &Route, content: &Content, budget: Budget) -> Verdict {
        match route {
            #[cfg(feature = "dynamodb")]
            Route::Transactional(handler) => match &self.dedupe {
                Some(dedupe) => dedupe.consume(&self.name, content, handler.as_ref(), budget).await,
                None => Failure::retryable("the consumer was built without a dedupe table").into(),
            },
            #[cfg(feature = "postgres")]
            Route::Postgres(handler) => match &self.inbox {
                Some(inbox) => inbox.consume(&self.name, content, handler.as_ref(), budget).await,
                None => Failure::retryable("the consumer was built without a database").into(),
            },
        }
    }
}

impl RecordReport {
    fn new(record: &Record, settled: Settled, duration: Duration) -> Self {
        let envelope = record.content.as_ref().ok().map(|content| &content.envelope);
        Self {
            message_id: record.message_id.clone(),
            group: record.group.clone(),
            receive_count: record.receive_count,
            event_id: envelope.map(|envelope| envelope.id),
            event_type: envelope.map(|envelope| envelope.event_type.to_string()),
            time: envelope.map(|envelope| envelope.time),
            outcome: settled.outcome,
            is_failed: settled.is_failed,
            reason: settled.reason,
            error: settled.error,
            duration,
        }
    }
}

/// The handlers by event type.
pub(crate) struct Router {
    pub(crate) routes: HashMap<&'static str, Route>,
    pub(crate) any: Option<Route>,
    pub(crate) unknown_type: UnknownType,
}

impl Router {
    /// The route of an event; `None` when it is to be ignored.
    fn route(&self, content: &Content) -> Result<Option<&Route>, Failure> {
        let event_type = &content.envelope.event_type;
        if let Some(route) = self.routes.get(event_type.as_str()).or(self.any.as_ref()) {
            return Ok(Some(route));
        }
        let (name, version) = event_type.name_and_version();
        let prefix = format!("{name}.v");
        let known = self.routes.keys().find(|known| known.starts_with(&prefix));
        let (reason, error) = match known {
            Some(known) => (
                Reason::UnsupportedVersion,
                format!("version {version} of `{name}` has no handler; this consumer handles `{known}`"),
            ),
            None => (
                Reason::UnknownType,
                format!("type `{event_type}` has no handler; add one, or filter the type out before the queue"),
            ),
        };
        match (self.unknown_type, reason) {
            (UnknownType::Ignore, Reason::UnknownType) => Ok(None),
            (UnknownType::Retry, _) => Err(Failure::retryable(error)),
            _ => Err(Failure::permanent(reason, error)),
        }
    }
}
