//! One batch: every event gets its own verdict, and every message is acknowledged or goes back.

mod blocker;
mod in_turn;
mod shared;

use std::{collections::HashMap, sync::Arc};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use futures::future::{self, BoxFuture};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::{blocker::Blocker, shared::Shared};
use crate::{
    claim_check::{ClaimCheck, Resolved},
    dead_letter::DeadLetterQueue,
    failure::{Failure, Reason},
    gap_guard::{Attempted, GapGuard, Place, Position},
    handler::Route,
    invocation::{Budget, Invocation},
    lane::{Lane, Order, lanes},
    log,
    outcome::{Outcome, Settled, Verdict},
    planted::{Bug, is_planted},
    record::{Content, Delivery, Part},
    retry_delay::{Retry, RetryDelay},
    router::Router,
    settlement::{EventReport, Settlement},
    shutdown::Shutdown,
    time::{self, timeout_at},
};
#[cfg(feature = "dynamodb")]
use crate::{dynamodb::TransactionalBatch, outbox::Posting};

/// A consumer of events: handlers by event type, each with its effect mode.
pub struct Consumer {
    pub(crate) name: String,
    pub(crate) router: Router,
    pub(crate) retry_delay: RetryDelay,
    /// One for each event that is worked on, in whichever invocation; who only waits for its commit needs none.
    pub(crate) permits: Semaphore,
    pub(crate) queues: DeadLetterQueue,
    pub(crate) max_receive_count: Option<u32>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) claim_check: ClaimCheck,
    #[cfg(feature = "dynamodb")]
    pub(crate) dedupe: Option<crate::DynamoDbDedupe>,
    #[cfg(feature = "dynamodb")]
    pub(crate) outbox: Option<Arc<crate::outbox::Outbox>>,
    pub(crate) gap_guard: Option<(GapGuard, Place)>,
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
        let mut delivery = Delivery::decode(event)?;
        delivery.is_gap_guarded = self.gap_guard.is_some();
        let delivery = delivery;
        #[cfg(feature = "dynamodb")]
        let outbox = self.outbox.as_ref();
        #[cfg(feature = "dynamodb")]
        let posting = outbox.map(|outbox| Posting::new(outbox, delivery.records.len(), invocation));
        let lanes = lanes(&delivery);
        let shared = Shared {
            delivery: &delivery,
            invocation,
            #[cfg(feature = "dynamodb")]
            transactional: self.dedupe.as_ref().map(|dedupe| {
                let emits = outbox.zip(posting.as_ref());
                TransactionalBatch::new(
                    dedupe,
                    &self.name,
                    self.is_guarded_at(Place::DynamoDb),
                    emits,
                    lanes.len(),
                    invocation.budget,
                )
            }),
            #[cfg(feature = "dynamodb")]
            posting: posting.as_ref(),
        };
        let (reports, ()) = future::join(self.work(&shared, lanes), shared.post()).await;
        let settlement = Settlement {
            records: delivery.records.len(),
            events: reports.into_iter().map(|(_, report)| report).collect(),
            #[cfg(feature = "dynamodb")]
            outbox: posting.as_ref().map(Posting::report),
        };
        log::batch(&self.name, &invocation.request_id, &settlement);
        Ok(settlement)
    }

    /// Works on all lanes, and says when what failed is to come again.
    async fn work(&self, shared: &Shared<'_>, lanes: Vec<Lane>) -> Vec<(usize, EventReport)> {
        let Shared {
            delivery, invocation, ..
        } = *shared;
        self.look_up(shared).await;
        let mut running: Vec<BoxFuture<'_, Vec<(usize, EventReport)>>> = Vec::new();
        for lane in lanes {
            running.push(Box::pin(self.run_lane(shared, lane)));
        }
        let (reports, ()) = future::join(future::join_all(running), shared.commit()).await;
        let mut reports = reports.into_iter().flatten().collect::<Vec<_>>();
        reports.sort_by_key(|(index, _)| *index);
        shared.committed(&reports);
        let mut failed: HashMap<usize, Vec<Retry>> = HashMap::new();
        for (index, report) in reports.iter().filter(|(_, report)| report.is_failed) {
            failed
                .entry(delivery.parts[*index].record)
                .or_default()
                .push(report.retry);
        }
        let returned = delivery.records.iter().enumerate();
        let returned = returned.filter_map(|(index, record)| Some((record, failed.remove(&index)?)));
        self.queues
            .delay(self.retry_delay, returned.collect(), invocation.budget.settle_until)
            .await;
        reports
    }

    /// Reads what is known of the batch's events, in one go.
    async fn look_up(&self, shared: &Shared<'_>) {
        #[cfg(feature = "dynamodb")]
        if let Some(transactional) = &shared.transactional {
            let parts = shared.delivery.parts.iter();
            let events = parts.filter_map(|part| {
                let content = part.content.as_ref().ok()?;
                let is_transactional = matches!(self.router.route(content), Ok(Some(Route::Transactional(_))));
                let is_looked_up = is_transactional || self.is_guarded_at(Place::DynamoDb);
                is_looked_up.then(|| (content, shared.delivery.record_of(part).receive_count.unwrap_or(1)))
            });
            transactional.look_up(events).await;
        }
        #[cfg(not(feature = "dynamodb"))]
        let _ = shared;
    }

    async fn run_lane(&self, shared: &Shared<'_>, lane: Lane) -> Vec<(usize, EventReport)> {
        let Shared {
            delivery, invocation, ..
        } = *shared;
        let budget = invocation.budget;
        let mut reports = Vec::with_capacity(lane.len());
        let mut copies: HashMap<_, Settled> = HashMap::new();
        let mut blocked: HashMap<Order<'_>, Blocker> = HashMap::new();
        for index in lane {
            let part = &delivery.parts[index];
            let order = Order::of(part, delivery);
            let copy_of = part.identity().and_then(|identity| copies.get(&identity));
            let mut started = time::now();
            let settled = if let Some(blocker) = order.and_then(|order| blocked.get(&order))
                && !is_planted(Bug::BlockedGoesOn)
            {
                Settled {
                    retry: blocker.retry_behind(part),
                    ..Settled::failed(
                        Outcome::NotStarted,
                        "an earlier one of its message group or key goes back to the queue",
                    )
                }
            } else if let Some(first) = copy_of {
                first.for_copy()
            } else {
                // Another invocation may hold the permits for longer than this one has.
                let permit = timeout_at(budget.start_until, self.permits.acquire()).await;
                started = time::now();
                match permit {
                    // It may have waited for its permit.
                    _ if self.shutdown.is_stopping() => {
                        Settled::failed(Outcome::NotStarted, "the function is being stopped")
                    }
                    Ok(Ok(permit)) if started < budget.start_until => self.settle(shared, part, permit).await,
                    _ => Settled::failed(Outcome::NotStarted, "too little time left in this invocation"),
                }
            };
            if let Some(identity) = part.identity() {
                copies.entry(identity).or_insert_with(|| settled.clone());
            }
            if let Some(order) = order.filter(|_| settled.is_failed) {
                let blocker = || Blocker::new(delivery.record_of(part), part, settled.retry);
                blocked.entry(order).or_insert_with(blocker);
            }
            let report = EventReport::new(delivery.record_of(part), part, settled, time::now() - started);
            log::event(&self.name, &invocation.request_id, &report);
            reports.push((index, report));
        }
        shared.lane_ended();
        reports
    }

    /// Attempts an event and deals with its failure, by `settle_until` at the latest.
    async fn settle(&self, shared: &Shared<'_>, part: &Part, permit: SemaphorePermit<'_>) -> Settled {
        let attempt = async {
            let Attempted { verdict, retry } = self.attempt(shared, part, permit).await;
            match verdict {
                Verdict::Done => Settled::acknowledged(Outcome::Done),
                Verdict::Duplicate => Settled::acknowledged(Outcome::Duplicate),
                Verdict::Expired => Settled::acknowledged(Outcome::Expired),
                Verdict::Ignored => Settled::acknowledged(Outcome::Ignored),
                Verdict::Replied(outcome, response) => Settled {
                    response: Some(response),
                    ..Settled::acknowledged(outcome)
                },
                Verdict::InProgress(after) => Settled {
                    retry: Retry::AtLeast(after),
                    ..Settled::failed(Outcome::InProgress, "another delivery of it is being worked on")
                },
                Verdict::LeaseLost {
                    error,
                    is_taken_over: true,
                } => Settled::failed(Outcome::LeaseLost, error),
                Verdict::LeaseLost {
                    error,
                    is_taken_over: false,
                } => {
                    let receive_count = shared.delivery.record_of(part).receive_count;
                    match Failure::retryable(error).after_deliveries(receive_count, self.max_receive_count) {
                        Failure::Retryable(error) | Failure::Unknown(error) => {
                            Settled::failed(Outcome::LeaseLost, error)
                        }
                        Failure::Permanent(reason, error) => self.set_aside(shared, part, reason, error).await,
                    }
                }
                Verdict::Held(_) if is_planted(Bug::HeldAcknowledged) => Settled::acknowledged(Outcome::Held),
                Verdict::Held(gap) => {
                    let receive_count = shared.delivery.record_of(part).receive_count;
                    match Failure::retryable(gap).after_deliveries(receive_count, self.max_receive_count) {
                        Failure::Retryable(gap) | Failure::Unknown(gap) => Settled {
                            retry,
                            ..Settled::failed(Outcome::Held, gap)
                        },
                        Failure::Permanent(_, gap) => self.set_aside(shared, part, Reason::Gap, gap).await,
                    }
                }
                Verdict::Failed(failure) => {
                    let receive_count = shared.delivery.record_of(part).receive_count;
                    match failure.after_deliveries(receive_count, self.max_receive_count) {
                        Failure::Retryable(error) | Failure::Unknown(error) => Settled {
                            retry,
                            ..Settled::failed(Outcome::Retryable, error)
                        },
                        Failure::Permanent(reason, error) => self.set_aside(shared, part, reason, error).await,
                    }
                }
            }
        };
        match timeout_at(shared.invocation.budget.settle_until, attempt).await {
            Ok(settled) => settled,
            Err(_) => Settled::failed(Outcome::Retryable, "not done within the time of this invocation"),
        }
    }

    /// Settled only when the dead letter is safely stored; before that the message is the only copy.
    async fn set_aside(&self, shared: &Shared<'_>, part: &Part, reason: Reason, error: String) -> Settled {
        let set_aside = match self.queues.send(shared.delivery, part, reason, &error).await {
            Ok(()) => self.pass_by(shared, part).await,
            Err(_) if is_planted(Bug::DeadLetterNotStored) => Ok(()),
            not_sent => not_sent,
        };
        let (is_failed, error) = match set_aside {
            Ok(()) => (false, error),
            Err(why_not) => (true, format!("{error} ({why_not})")),
        };
        Settled {
            is_failed,
            reason: Some(reason),
            ..Settled::failed(Outcome::Permanent, error)
        }
    }

    async fn attempt(&self, shared: &Shared<'_>, part: &Part, permit: SemaphorePermit<'_>) -> Attempted {
        let content = match &part.content {
            Ok(content) => content,
            Err(error) => return Attempted::alone(Failure::permanent(Reason::NotAnEnvelope, error)),
        };
        let budget = shared.invocation.budget;
        let ready = self.ready(content, budget).await;
        if let Some((guard, place)) = self.gap_guard
            && let Some(position) = Position::of(content)
        {
            let turn = in_turn::InTurn {
                guard,
                position,
                content,
                waits_since: shared.delivery.record_of(part).waits_since,
            };
            return self.consume_in_turn(shared, place, turn, ready, permit).await;
        }
        Attempted::alone(match ready {
            Ok((route, content)) => self.consume(shared, route, &content, permit).await,
            Err(verdict) => verdict,
        })
    }

    /// The handler of an event and its data, or what it comes to without an attempt.
    async fn ready<'a>(&'a self, content: &'a Content, budget: Budget) -> Result<(&'a Route, Resolved<'a>), Verdict> {
        if content.envelope.is_expired(time::wall()) {
            return Err(Verdict::Expired);
        }
        match self.router.route(content) {
            Ok(Some(route)) => Ok((route, self.claim_check.resolve(content, budget.work_until).await?)),
            Ok(None) => Err(Verdict::Ignored),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn consume(
        &self,
        shared: &Shared<'_>,
        route: &Route,
        content: &Content,
        permit: SemaphorePermit<'_>,
    ) -> Verdict {
        match route {
            #[cfg(feature = "dynamodb")]
            Route::Transactional(handler) => match &shared.transactional {
                Some(batch) => batch.consume(handler.as_ref(), content, permit).await,
                None => Failure::retryable("the consumer was built without a dedupe table").into(),
            },
            #[cfg(feature = "dynamodb")]
            Route::Leased(route) => match &self.dedupe {
                Some(dedupe) => {
                    let budget = shared.invocation.budget;
                    let verdict = crate::leased::consume(dedupe, &self.name, content, route, budget).await;
                    drop(permit);
                    verdict
                }
                None => Failure::retryable("the consumer was built without a dedupe table").into(),
            },
            #[cfg(feature = "postgres")]
            Route::Postgres(handler) => match &self.inbox {
                Some(inbox) => {
                    let budget = shared.invocation.budget;
                    let verdict = inbox.consume(&self.name, content, handler.as_ref(), budget).await;
                    drop(permit);
                    verdict
                }
                None => Failure::retryable("the consumer was built without a database").into(),
            },
        }
    }
}
