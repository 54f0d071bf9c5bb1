//! Functions over a real server, and how they die; handlers that fail in the ways that SQL allows.

use std::{future::Future, time::Duration};

use oncebox_consumer::{Consumer, ConsumerBuilder, HandlerError, Invocation, PgTransaction, RetryDelay, Settlement};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use super::cases::Chance;
use crate::delivery::{Message, batch};

/// How a function dies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Death {
    No,
    /// It is not polled any more from when on.
    Killed(Duration),
    /// The server ends its sessions.
    Cut(Duration),
}

impl Death {
    /// Within so many milliseconds, if at all.
    pub(super) fn draw(chance: &mut Chance, within: u64) -> Self {
        match chance.up_to(3) {
            0 | 1 => Self::Killed(chance.millis(within)),
            2 => Self::Cut(chance.millis(within)),
            _ => Self::No,
        }
    }

    /// Lets `work` begin, whose sessions have the name that it is given, and die.
    pub(super) async fn of<F: Future>(self, pool: &PgPool, work: impl FnOnce(String) -> F) {
        let session = format!("random-{}", Uuid::new_v4().simple());
        let work = work(session.clone());
        match self {
            Self::No => drop(work.await),
            Self::Killed(after) => drop(tokio::time::timeout(after, work).await),
            Self::Cut(after) => {
                let cut = async {
                    tokio::time::sleep(after).await;
                    let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1";
                    sqlx::query(end).bind(&session).execute(pool).await.unwrap();
                };
                futures::join!(work, cut);
            }
        }
    }
}

/// What a function process of its own makes of messages.
pub(super) async fn invoke(
    options: &PgConnectOptions,
    session: &str,
    consumer: &str,
    wire: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder,
    messages: &[Message],
    lasts: Duration,
) -> Settlement {
    let options = options.clone().application_name(session);
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
    let builder = Consumer::builder(consumer).postgres(pool.clone());
    let consumer = wire(builder.retry_delay(RetryDelay::QueueDefault)).build().unwrap();
    let invocation = Invocation::new("request", lasts);
    let settled = consumer.settle_batch(batch(messages), &invocation).await.unwrap();
    pool.close().await;
    settled
}

/// How an attempt goes on when its effect is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    takes: Duration,
    fails: bool,
    way: usize,
}

impl Course {
    /// One in so many attempts fails.
    pub(super) fn draw(chance: &mut Chance, failures: u32) -> Self {
        Self {
            takes: chance.millis(8),
            fails: chance.one_in(failures),
            way: chance.up_to(2),
        }
    }

    pub(super) async fn end(self, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
        let sleep = sqlx::query("select pg_sleep($1)").bind(self.takes.as_secs_f64());
        sleep.execute(&mut **tx).await?;
        match (self.fails, self.way) {
            (false, _) => Ok(()),
            (true, 0) => Err(HandlerError::retryable("told to retry")),
            // Swallowed, but the transaction is lost.
            (true, 1) => {
                let _ = sqlx::query("select 1 / 0").execute(&mut **tx).await;
                Ok(())
            }
            (true, _) => panic!("told to panic"),
        }
    }
}
