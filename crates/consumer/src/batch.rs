//! One batch: every event gets its own verdict, and every message is acknowledged or goes back.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use futures::{StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::{
    claim_check::ClaimCheck,
    dead_letter::DeadLetterQueue,
    failure::{Failure, Reason},
    handler::Route,
    invocation::{Budget, Invocation},
    lane::{Lane, Order, lanes},
    log,
    outcome::{Outcome, Settled, Verdict},
    record::{Content, Delivery, Part},
    retry_delay::RetryDelay,
    router::Router,
    settlement::{EventReport, Settlement},
    shutdown::Shutdown,
};

/// A consumer of events: handlers by event type, each with its effect mode.
pub struct Consumer {
    pub(crate) name: String,
    pub(crate) router: Router,
    pub(crate) retry_delay: RetryDelay,
    pub(crate) concurrency: usize,
    pub(crate) queues: DeadLetterQueue,
    pub(crate) max_receive_count: Option<u32>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) claim_check: ClaimCheck,
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

    /// Works on a batch and tells what became of each event, in the log too.
    ///
    /// A message holds one event or, as a bundle, several; each is deduplicated, done and set aside
    /// for itself, and the message goes back when one of them must come again. The others are
    /// duplicates then.
    ///
    /// Events run side by side, but one after the other within a message group on FIFO queues, and
    /// within a key of one bundle elsewhere. It returns before the invocation's time is over.
    ///
    /// # Errors
    /// [`BatchError`] when a record has no message id; nothing has been started then.
    ///
    /// # Cancel safety
    /// Dropping it leaves each event either with its whole effect and its dedupe record, or with
    /// neither; delivered again, none has a second effect.
    pub async fn settle_batch(&self, event: SqsEvent, invocation: &Invocation) -> Result<Settlement, BatchError> {
        let delivery = Delivery::decode(event)?;
        let mut running: Vec<BoxFuture<'_, Vec<(usize, EventReport)>>> = Vec::new();
        for lane in lanes(&delivery) {
            running.push(Box::pin(self.run_lane(&delivery, lane, invocation)));
        }
        let mut reports: Vec<(usize, EventReport)> = stream::iter(running)
            .buffer_unordered(self.concurrency)
            .flat_map(stream::iter)
            .collect()
            .await;
        reports.sort_by_key(|(index, _)| *index);
        let failed = reports.iter().filter(|(_, report)| report.is_failed);
        let failed: HashSet<usize> = failed.map(|(index, _)| delivery.parts[*index].record).collect();
        let returned = delivery.records.iter().enumerate();
        let returned = returned.filter_map(|(index, record)| failed.contains(&index).then_some(record));
        self.queues
            .delay(self.retry_delay, returned.collect(), invocation.budget.settle_until)
            .await;
        let settlement = Settlement {
            records: delivery.records.len(),
            events: reports.into_iter().map(|(_, report)| report).collect(),
        };
        log::batch(&self.name, &invocation.request_id, &settlement);
        Ok(settlement)
    }

    async fn run_lane(&self, delivery: &Delivery, lane: Lane, invocation: &Invocation) -> Vec<(usize, EventReport)> {
        let budget = invocation.budget;
        let mut reports = Vec::with_capacity(lane.len());
        let mut copies: HashMap<_, Settled> = HashMap::new();
        let mut blocked: HashSet<Order<'_>> = HashSet::new();
        for index in lane {
            let part = &delivery.parts[index];
            let started = Instant::now();
            let order = Order::of(part, delivery);
            let copy_of = part.identity().and_then(|identity| copies.get(&identity));
            let settled = if order.is_some_and(|order| blocked.contains(&order)) {
                Settled::failed(
                    Outcome::NotStarted,
                    "an earlier one of its message group or key goes back to the queue",
                )
            } else if let Some(first) = copy_of {
                first.for_copy()
            } else if self.shutdown.is_stopping() {
                Settled::failed(Outcome::NotStarted, "the function is being stopped")
            } else if started >= budget.start_until {
                Settled::failed(Outcome::NotStarted, "too little time left in this invocation")
            } else {
                self.settle(delivery, part, budget).await
            };
            if let Some(identity) = part.identity() {
                copies.entry(identity).or_insert_with(|| settled.clone());
            }
            if settled.is_failed {
                blocked.extend(order);
            }
            let report = EventReport::new(delivery.record_of(part), part, settled, started.elapsed());
            log::event(&self.name, &invocation.request_id, &report);
            reports.push((index, report));
        }
        reports
    }

    /// Attempts an event and deals with its failure, by `settle_until` at the latest.
    async fn settle(&self, delivery: &Delivery, part: &Part, budget: Budget) -> Settled {
        let attempt = async {
            match self.attempt(part, budget).await {
                Verdict::Done => Settled::acknowledged(Outcome::Done),
                Verdict::Duplicate => Settled::acknowledged(Outcome::Duplicate),
                Verdict::Expired => Settled::acknowledged(Outcome::Expired),
                Verdict::Ignored => Settled::acknowledged(Outcome::Ignored),
                Verdict::Failed(failure) => {
                    let receive_count = delivery.record_of(part).receive_count;
                    match failure.after_deliveries(receive_count, self.max_receive_count) {
                        Failure::Retryable(error) => Settled::failed(Outcome::Retryable, error),
                        Failure::Permanent(reason, error) => self.set_aside(delivery, part, reason, error).await,
                    }
                }
            }
        };
        match timeout_at(budget.settle_until, attempt).await {
            Ok(settled) => settled,
            Err(_) => Settled::failed(Outcome::Retryable, "not done within the time of this invocation"),
        }
    }

    /// Settled only when the dead letter is safely stored; before that the message is the only copy.
    async fn set_aside(&self, delivery: &Delivery, part: &Part, reason: Reason, error: String) -> Settled {
        let (is_failed, error) = match self.queues.send(delivery, part, reason, &error).await {
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

    async fn attempt(&self, part: &Part, budget: Budget) -> Verdict {
        let content = match &part.content {
            Ok(content) => content,
            Err(error) => return Failure::permanent(Reason::NotAnEnvelope, error).into(),
        };
        if content.envelope.is_expired(Timestamp::now()) {
            return Verdict::Expired;
        }
        let route = match self.router.route(content) {
            Ok(Some(route)) => route,
            Ok(None) => return Verdict::Ignored,
            Err(failure) => return failure.into(),
        };
        match self.claim_check.resolve(content, budget.work_until).await {
            Ok(content) => self.consume(route, &content, budget).await,
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
