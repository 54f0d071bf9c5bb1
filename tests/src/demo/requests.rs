//! The client: a service that requests invoices, and sometimes changes its mind.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use sqlx::PgPool;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use crate::{Database, Requested, request_invoice};

/// One in so many transactions is rolled back, on top of those that are asked for.
const ROLLED_BACK_ONE_IN: usize = 10;
const CUSTOMERS: usize = 40;
/// A service at work, not a flood: the times that are measured are to be those of the road, not of
/// a queue before LocalStack.
const EVERY: Duration = Duration::from_millis(40);

/// Requests on their way; ends with this value.
pub(super) struct Requests {
    made: Arc<Mutex<Made>>,
    task: Option<JoinHandle<Result<()>>>,
}

/// What was requested so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    pub(super) committed: Vec<Committed>,
    pub(super) rolled_back: Vec<Requested>,
}

#[derive(Debug, Clone)]
pub(super) struct Committed {
    pub(super) request: Requested,
    /// Unix milliseconds, right after the commit was acknowledged.
    pub(super) at_ms: u64,
}

/// Starts to request `count` invoices.
pub(super) fn start(database: &Database, count: usize) -> Requests {
    let made = Arc::new(Mutex::new(Made::default()));
    let task = tokio::spawn(request_all(database.pool.clone(), count, made.clone()));
    Requests { made, task: Some(task) }
}

impl Requests {
    pub(super) fn committed(&self) -> usize {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).committed.len()
    }

    /// Waits for the last of them.
    pub(super) async fn end(mut self) -> Result<Made> {
        if let Some(task) = self.task.take() {
            task.await.context("the client")??;
        }
        Ok(self.made.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn request_all(pool: PgPool, count: usize, made: Arc<Mutex<Made>>) -> Result<()> {
    let customers: Vec<Uuid> = (0..CUSTOMERS).map(|_| Uuid::new_v4()).collect();
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut transactions = JoinSet::new();
    for n in 0..count + count / ROLLED_BACK_ONE_IN {
        clock.tick().await;
        let changes_its_mind = n % (ROLLED_BACK_ONE_IN + 1) == ROLLED_BACK_ONE_IN;
        let customer = customers[n % CUSTOMERS];
        transactions.spawn(request(pool.clone(), customer, changes_its_mind, made.clone()));
        while let Some(done) = transactions.try_join_next() {
            done??;
        }
    }
    while let Some(done) = transactions.join_next().await {
        done??;
    }
    Ok(())
}

async fn request(pool: PgPool, customer: Uuid, changes_its_mind: bool, made: Arc<Mutex<Made>>) -> Result<()> {
    let mut transaction = pool.begin().await?;
    let request = request_invoice(&mut transaction, customer).await?;
    if changes_its_mind {
        transaction.rollback().await?;
        made.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rolled_back
            .push(request);
    } else {
        transaction.commit().await?;
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let committed = Committed {
            request,
            at_ms: u64::try_from(at_ms)?,
        };
        made.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .committed
            .push(committed);
    }
    Ok(())
}
