//! `oncebox.inbox`: one row for each event that a consumer has consumed.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool, PgTransaction};
use tokio::time::{Instant, timeout_at};

use super::{in_turn::InTurn, sql_error::describe};
use crate::{
    failure::{Failure, Reason},
    handler::Attempt,
    invocation::Budget,
    outcome::Verdict,
    record::Content,
};

/// The inbox of a database.
pub(crate) struct Inbox {
    pool: PgPool,
    #[cfg(feature = "test-kit")]
    pub(crate) faults: Option<std::sync::Arc<crate::test_kit::faults::InboxFaults>>,
}

/// A handler that works in a transaction.
pub(crate) type Worker<'a> = &'a dyn Attempt<PgTransaction<'static>>;

/// What is done in a transaction.
pub(super) enum Job<'a> {
    /// An event has its effect.
    Event(&'a Content, Worker<'a>),
    /// The gap guard looks after the event.
    InTurn(&'a InTurn<'a>),
}

/// How the work in a transaction went.
pub(super) enum Work {
    /// To be committed; what the event comes to then.
    Ready(Verdict),
    /// There is nothing to commit.
    Ended(Verdict),
}

/// What the inbox says of an event.
pub(super) enum Row {
    /// It is new, and inserted by this transaction.
    Inserted { transaction: String },
    /// It has had its effect, or cannot have it.
    Known(Verdict),
}

impl Inbox {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            #[cfg(feature = "test-kit")]
            faults: None,
        }
    }

    /// A boundary, at which the test kit may let a function die or stand still.
    #[cfg_attr(
        not(feature = "test-kit"),
        expect(
            clippy::unused_async,
            clippy::unused_self,
            reason = "the shape that it has with the feature"
        )
    )]
    pub(super) async fn boundary(&self) {
        #[cfg(feature = "test-kit")]
        if let Some(faults) = &self.faults {
            faults.gate.pause().await;
        }
    }

    async fn commit(&self, tx: PgTransaction<'static>, done: Verdict, until: Instant) -> Verdict {
        self.boundary().await;
        #[cfg(feature = "test-kit")]
        if let Some(fault) = self.faults.as_ref().and_then(|faults| faults.next_commit()) {
            match fault {
                crate::test_kit::Fault::LoseReply => drop(commit(tx, done, until).await),
                _ => drop(tx),
            }
            return Failure::retryable("the outcome of the commit is unknown: lost by the test kit").into();
        }
        let verdict = commit(tx, done, until).await;
        self.boundary().await;
        verdict
    }

    /// Runs the handler in the transaction that records the event, and commits both or neither.
    pub(crate) async fn consume(
        &self,
        consumer: &str,
        content: &Content,
        handler: Worker<'_>,
        budget: Budget,
    ) -> Verdict {
        self.run(consumer, &Job::Event(content, handler), budget).await
    }

    /// Works in a transaction, and commits it if there is something to commit.
    pub(super) async fn run(&self, consumer: &str, job: &Job<'_>, budget: Budget) -> Verdict {
        self.boundary().await;
        let asked = Instant::now();
        let begin = format!("BEGIN; {}", limits(budget.work_until));
        let begun = timeout_at(budget.work_until, self.pool.begin_with(AssertSqlSafe(begin)));
        let mut tx = match begun.await {
            Ok(Ok(tx)) => tx,
            Ok(Err(error)) => return retryable(&error),
            Err(_) => return Failure::retryable("no connection to postgres within the time of this invocation").into(),
        };
        let worked = timeout_at(budget.work_until, async {
            if asked.elapsed() > Duration::from_millis(50) {
                // It waited for a connection, and the limits are those of before the wait.
                sqlx::raw_sql(AssertSqlSafe(limits(budget.work_until)))
                    .execute(&mut *tx)
                    .await?;
            }
            match job {
                Job::Event(content, handler) => self.effect(&mut tx, consumer, content, *handler).await,
                Job::InTurn(turn) => self.in_turn(&mut tx, consumer, turn).await,
            }
        })
        .await;
        let verdict = match worked {
            Ok(Ok(Work::Ready(done))) => return self.commit(tx, done, budget.settle_until).await,
            Ok(Ok(Work::Ended(verdict))) => verdict,
            Ok(Err(error)) => retryable(&error),
            Err(_) => Failure::retryable("the handler was not done within the time of this invocation").into(),
        };
        // Awaited, not left to the drop: Lambda may freeze the process right after the answer, with
        // the locks still held. `idle_in_transaction_session_timeout` is the net below.
        let _ = timeout_at(budget.settle_until, tx.rollback()).await;
        verdict
    }

    /// The row and the handler's work, or what the row says already.
    pub(super) async fn effect(
        &self,
        tx: &mut PgTransaction<'static>,
        consumer: &str,
        content: &Content,
        handler: Worker<'_>,
    ) -> Result<Work, sqlx::Error> {
        match self.insert(tx, consumer, content).await? {
            Row::Inserted { transaction } => self.handle(tx, content, handler, &transaction).await,
            Row::Known(verdict) => Ok(Work::Ended(verdict)),
        }
    }

    pub(super) async fn insert(
        &self,
        tx: &mut PgTransaction<'static>,
        consumer: &str,
        content: &Content,
    ) -> Result<Row, sqlx::Error> {
        // Where another transaction has inserted the row and not ended yet, this waits for its end.
        let inserted: Option<String> = sqlx::query_scalar(
            "INSERT INTO oncebox.inbox (consumer, event_id, payload_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING \
             RETURNING pg_current_xact_id()::text",
        )
        .bind(consumer)
        .bind(content.envelope.id.as_uuid())
        .bind(content.hash.as_bytes())
        .fetch_optional(&mut **tx)
        .await?;
        self.boundary().await;
        if let Some(transaction) = inserted {
            return Ok(Row::Inserted { transaction });
        }
        let known = Self::known(tx, consumer, content).await?;
        let gone = || Failure::retryable("the inbox row went away while it was read").into();
        Ok(Row::Known(known.unwrap_or_else(gone)))
    }

    /// What the inbox says of an event that it knows.
    pub(super) async fn known(
        tx: &mut PgTransaction<'static>,
        consumer: &str,
        content: &Content,
    ) -> Result<Option<Verdict>, sqlx::Error> {
        let stored: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT payload_hash FROM oncebox.inbox WHERE consumer = $1 AND event_id = $2")
                .bind(consumer)
                .bind(content.envelope.id.as_uuid())
                .fetch_optional(&mut **tx)
                .await?;
        Ok(stored.map(|hash| match hash == content.hash.as_bytes() {
            true => Verdict::Duplicate,
            false => Failure::payload_mismatch().into(),
        }))
    }

    /// The handler's work in `transaction`.
    pub(super) async fn handle(
        &self,
        tx: &mut PgTransaction<'static>,
        content: &Content,
        handler: Worker<'_>,
        transaction: &str,
    ) -> Result<Work, sqlx::Error> {
        if let Err(failure) = handler.attempt(content.envelope.clone(), tx).await {
            return Ok(Work::Ended(failure.into()));
        }
        self.boundary().await;
        // COMMIT of a transaction in which a statement failed is a ROLLBACK and no error: a handler
        // that swallows an error would have its message acknowledged without its effect. This statement
        // fails there, and brings deferred constraints forward too.
        sqlx::query("SET CONSTRAINTS ALL IMMEDIATE").execute(&mut **tx).await?;
        // A handler can end the transaction under us: by a ROLLBACK or COMMIT of its own, or by a nested
        // `begin` that fails, after which sqlx rolls the whole transaction back. The row is gone then,
        // and a commit would be one of nothing. Trying again could repeat what it committed itself.
        let current: Option<String> = sqlx::query_scalar("SELECT pg_current_xact_id_if_assigned()::text")
            .fetch_one(&mut **tx)
            .await?;
        if current.as_deref() != Some(transaction) {
            let fault = "the handler ended its transaction; it must neither commit nor roll back, and a nested begin must succeed";
            return Ok(Work::Ended(Failure::permanent(Reason::InvalidEffects, fault).into()));
        }
        Ok(Work::Ready(Verdict::Done))
    }
}

/// Limits for everything in the transaction, since a server works on for a client that is gone; and
/// a commit that is confirmed is to be durable, since the message is deleted after it.
fn limits(work_until: Instant) -> String {
    let left = work_until.saturating_duration_since(Instant::now());
    // 0 would mean no limit.
    let ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
    format!(
        "SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms}; \
         SET LOCAL idle_in_transaction_session_timeout = {ms}; \
         SELECT set_config('synchronous_commit', 'on', true) \
         WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
}

/// Where the answer to the commit is lost, the message comes again and meets the row, if there is one.
async fn commit(tx: PgTransaction<'static>, done: Verdict, until: Instant) -> Verdict {
    match timeout_at(until, tx.commit()).await {
        Ok(Ok(())) => done,
        // Refused, so not applied: a serialization failure, for instance.
        Ok(Err(error @ sqlx::Error::Database(_))) => retryable(&error),
        Ok(Err(error)) => {
            Failure::retryable(format!("the outcome of the commit is unknown: {}", describe(&error))).into()
        }
        Err(_) => Failure::retryable("the outcome of the commit is unknown: no answer in time").into(),
    }
}

fn retryable(error: &sqlx::Error) -> Verdict {
    Failure::retryable(describe(error)).into()
}
