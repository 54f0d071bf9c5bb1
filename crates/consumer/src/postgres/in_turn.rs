//! With a gap guard: the watermark moves in the transaction that has the effect, under the lock of its row.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use sqlx::PgTransaction;

use super::{
    inbox::{Inbox, Job, Row, Work, Worker},
    watermark,
};
use crate::{
    failure::Failure,
    gap_guard::{Attempted, GapGuard, MAX_MISSED, Position, Print, Turn, Watermark, waited},
    invocation::Budget,
    outcome::Verdict,
    record::Content,
    retry_delay::Retry,
};

/// An event, and what is to be done about it when it is its turn.
pub(crate) struct InTurn<'a> {
    pub(crate) guard: GapGuard,
    pub(crate) position: Position<'a>,
    pub(crate) task: Task<'a>,
    pub(crate) waits_since: Option<Timestamp>,
    /// When it is worth coming again, as far as the watermark was seen.
    retry: Mutex<Retry>,
}

pub(crate) enum Task<'a> {
    Handle(Worker<'a>, &'a Content),
    /// Nothing: it is dropped, or fails.
    End(&'a Content, Verdict),
    /// It was set aside: its successors go on.
    PassBy,
}

/// How often a key is looked at again whose first watermark somebody else has written meanwhile.
const LOOKS: usize = 3;

impl Inbox {
    /// Has the effect of an event when it is its turn within its key.
    ///
    /// Deliveries of one key wait for each other's end at the watermark's row, so the handler sees what its
    /// predecessors have done, and nobody moves the watermark under it.
    pub(crate) async fn consume_in_turn(&self, consumer: &str, turn: InTurn<'_>, budget: Budget) -> Attempted {
        let verdict = self.run(consumer, &Job::InTurn(&turn), budget).await;
        let retry = turn.retry.into_inner().unwrap_or_else(PoisonError::into_inner);
        Attempted { verdict, retry }
    }

    /// Lets the successors of an event go on that was set aside, if it is the one they wait for.
    ///
    /// # Errors
    /// Why they cannot.
    pub(crate) async fn pass_by(
        &self,
        consumer: &str,
        guard: GapGuard,
        position: Position<'_>,
        budget: Budget,
    ) -> Result<(), String> {
        let turn = InTurn::new(guard, position, Task::PassBy, None);
        // It was set aside after the time for work, perhaps.
        let budget = Budget {
            work_until: budget.settle_until,
            ..budget
        };
        match self.consume_in_turn(consumer, turn, budget).await.verdict {
            Verdict::Failed(failure) => Err(failure.to_string()),
            _ => Ok(()),
        }
    }

    pub(super) async fn in_turn(
        &self,
        tx: &mut PgTransaction<'static>,
        consumer: &str,
        turn: &InTurn<'_>,
    ) -> Result<Work, sqlx::Error> {
        let key = turn.position.key;
        for _ in 0..LOOKS {
            let known = watermark::lock(tx, consumer, key).await?;
            self.boundary().await;
            let after = match turn.begin(known.as_ref()) {
                Begun::Moves(after) => after,
                Begun::Ended(verdict) => return Ok(Work::Ended(verdict)),
                Begun::Unordered(handler, content) => return self.effect(tx, consumer, content, handler).await,
            };
            if watermark::write(tx, consumer, key, known.as_ref(), &after).await? {
                self.boundary().await;
                return self.do_task(tx, consumer, &turn.task).await;
            }
        }
        Ok(Work::Ended(
            Failure::retryable("another function is working on this key").into(),
        ))
    }

    /// The watermark is moved; what the event comes to with it.
    async fn do_task(
        &self,
        tx: &mut PgTransaction<'static>,
        consumer: &str,
        task: &Task<'_>,
    ) -> Result<Work, sqlx::Error> {
        match task {
            Task::PassBy => Ok(Work::Ready(Verdict::Done)),
            // One that was consumed before the guard was there, or before the first event that it saw, moves it.
            Task::End(content, verdict) => Ok(match (Self::known(tx, consumer, content).await?, verdict) {
                (Some(_), _) => Work::Ready(Verdict::Duplicate),
                (None, Verdict::Failed(_)) => Work::Ended(verdict.clone()),
                (None, _) => Work::Ready(verdict.clone()),
            }),
            Task::Handle(handler, content) => match self.insert(tx, consumer, content).await? {
                Row::Inserted { transaction } => self.handle(tx, content, *handler, &transaction).await,
                Row::Known(Verdict::Duplicate) => Ok(Work::Ready(Verdict::Duplicate)),
                Row::Known(verdict) => Ok(Work::Ended(verdict)),
            },
        }
    }
}

/// What follows from the watermark.
enum Begun<'a> {
    /// It is the event's turn: this is the watermark when it has had its effect, or was passed by.
    Moves(Watermark),
    Ended(Verdict),
    /// It comes from before the first one that was seen: it has its effect in no order.
    Unordered(Worker<'a>, &'a Content),
}

impl<'a> InTurn<'a> {
    pub(crate) fn new(guard: GapGuard, position: Position<'a>, task: Task<'a>, waits_since: Option<Timestamp>) -> Self {
        Self {
            guard,
            position,
            task,
            waits_since,
            retry: Mutex::default(),
        }
    }

    fn begin(&self, known: Option<&Watermark>) -> Begun<'a> {
        let sequence = self.position.sequence;
        let waited = waited(known, self.waits_since);
        let ended = |verdict: Verdict| Begun::Ended(verdict);
        let print = match &self.task {
            Task::Handle(_, content) => Some(Print::of(content)),
            // Data that lies in S3 was not fetched: the payload's hash is not the real one.
            Task::End(content, _) => content.envelope.data_ref.is_none().then(|| Print::of(content)),
            Task::PassBy => None,
        };
        let turn = self.guard.turn(known, sequence, print);
        *self.retry.lock().unwrap_or_else(PoisonError::into_inner) = turn.retry(sequence, waited);
        match (turn, &self.task) {
            (Turn::Next, Task::PassBy) if known.is_some_and(|known| known.missed.len() >= MAX_MISSED) => {
                ended(Failure::retryable(format!("{MAX_MISSED} events of its key were passed by already; redrive them, or see `oncebox-consumer gap forget`")).into())
            }
            (Turn::Next, Task::PassBy) => Begun::Moves(Watermark::after(known, sequence, None)),
            // Nobody waits for it.
            (_, Task::PassBy) => ended(Verdict::Done),
            (Turn::Duplicate, _) => ended(Verdict::Duplicate),
            (Turn::Mismatch, _) => ended(Failure::payload_mismatch().into()),
            (Turn::Gap { expected }, _) => ended(self.guard.held(expected, sequence, waited)),
            (Turn::Before, Task::Handle(handler, content)) => Begun::Unordered(*handler, content),
            (Turn::Before, Task::End(_, verdict)) => ended(verdict.clone()),
            (Turn::Next | Turn::Late, Task::Handle(_, content)) => {
                Begun::Moves(Watermark::after(known, sequence, Some(Print::of(content))))
            }
            (Turn::Next | Turn::Late, Task::End(content, _)) => {
                Begun::Moves(Watermark::after(known, sequence, Some(Print::of_dropped(content))))
            }
        }
    }
}
