//! A database, a target in memory, and the relay's loop between them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use outbox_relay::{
    chance::Chance,
    database::session::Session,
    lease::term::{Lease, Terms},
    log::{page::Selection, store::Start},
    publish::{BatchLimits, FailureClass, Message, PublishError, Publisher, Scope},
    sink::{Guarantee, MAX_HELD_BYTES, Sink, pipeline},
    telemetry::metrics::Metrics,
};
use system_tests::{Database, Stack, until};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::claims::{claim_all, session};

pub(crate) const SINK: &str = "tap";

/// What is to become of a message.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It is not taken, for good.
    Refuse,
    /// It is not taken this time.
    Fail,
    /// It is taken, and the reply is lost.
    LoseReply,
    /// Whatever becomes of it, the answer waits for a permit.
    Wait(Arc<Semaphore>, Box<Fate>),
    Take,
}

/// A target that takes every message whose fate is not decided otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    fates: HashMap<String, Fate>,
    tried: Vec<String>,
    /// Ids and bodies, as they arrived.
    taken: Vec<(String, String)>,
}

impl Target {
    pub(crate) fn decide(&self, id: &str, fate: Fate) {
        self.inner.lock().unwrap().fates.insert(id.to_owned(), fate);
    }

    /// Lets the answer for an event wait, and then be `fate`.
    pub(crate) fn hold(&self, id: &str, fate: Fate) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.decide(id, Fate::Wait(Arc::clone(&gate), Box::new(fate)));
        gate
    }

    pub(crate) fn heal(&self) {
        self.inner.lock().unwrap().fates.clear();
    }

    pub(crate) fn taken(&self) -> Vec<String> {
        let taken = &self.inner.lock().unwrap().taken;
        taken.iter().map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        let taken = &self.inner.lock().unwrap().taken;
        taken.iter().map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn times_tried(&self, id: &str) -> usize {
        self.inner
            .lock()
            .unwrap()
            .tried
            .iter()
            .filter(|tried| *tried == id)
            .count()
    }

    pub(crate) async fn until_tried(&self, id: &str, times: usize) {
        until("an event to be sent", async || {
            let tried = self.times_tried(id);
            ensure!(tried >= times, "{tried} times");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(crate) async fn until_taken(&self, ids: &[String]) {
        until("events to be taken", async || {
            let taken = self.taken();
            let missing = ids.iter().filter(|id| !taken.contains(id)).count();
            ensure!(missing == 0, "{missing} are missing");
            Ok(())
        })
        .await
        .unwrap();
    }
}

impl Publisher for Target {
    async fn publish(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let mut answers = Vec::new();
        for message in batch {
            let mut fate = {
                let mut inner = self.inner.lock().unwrap();
                inner.tried.push(message.id.clone());
                inner.fates.get(&message.id).cloned().unwrap_or(Fate::Take)
            };
            if let Fate::Wait(gate, then) = fate {
                gate.acquire().await.unwrap().forget();
                fate = *then;
            }
            let error = |class, may_have_arrived| PublishError {
                class,
                code: "Told".to_owned(),
                scope: Scope::Entry,
                may_have_arrived,
                ..PublishError::unanswered()
            };
            if matches!(fate, Fate::Take | Fate::LoseReply) {
                let arrived = (message.id.clone(), message.body.clone());
                self.inner.lock().unwrap().taken.push(arrived);
            }
            answers.push(match fate {
                Fate::Refuse => Err(error(FailureClass::Permanent, false)),
                Fate::Fail => Err(error(FailureClass::Transient, false)),
                Fate::LoseReply => Err(error(FailureClass::Transient, true)),
                Fate::Take | Fate::Wait(..) => Ok(()),
            });
        }
        answers
    }
}

pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) target: Target,
    pub(crate) metrics: Metrics,
    sink: Arc<Sink<Target>>,
}

pub(crate) struct Running {
    pub(crate) lease: Lease,
    end: CancellationToken,
    pub(crate) task: JoinHandle<pipeline::Ended<Session>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.end.cancel();
        self.task.await.unwrap().outcome.unwrap();
    }

    /// As a process that is killed.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl Stage {
    /// `is_fifo` keeps the order of keys.
    pub(crate) async fn new(is_fifo: bool, guarantee: Guarantee) -> Self {
        let database = Database::create(&Stack::from_env().await.unwrap()).await.unwrap();
        let (target, mut metrics) = (Target::default(), Metrics::new());
        let sink = Arc::new(Sink {
            name: SINK.to_owned(),
            selection: Selection::default(),
            publisher: target.clone(),
            keeps_order: is_fifo,
            limits: BatchLimits {
                // One event a request: what waits for its answer holds up no other.
                max_entries: 1,
                max_bytes: 16 * 1024 * 1024,
            },
            bundle: None,
            guarantee,
            max_in_flight: 8,
            max_window: 10_000,
            max_held_bytes: MAX_HELD_BYTES,
            drain_timeout: Duration::from_secs(5),
            chance: Chance::default(),
            metrics: metrics.sink(SINK),
            traces: None,
        });
        Self {
            database,
            target,
            metrics,
            sink,
        }
    }

    pub(crate) fn with_window(mut self, max_window: usize) -> Self {
        Arc::get_mut(&mut self.sink).unwrap().max_window = max_window;
        self
    }

    pub(crate) async fn run(&self) -> Running {
        let mut session = session(&self.database).await;
        let claims = claim_all(&mut session, SINK, "me", Start::Beginning).await;
        let lease = Lease::endless(Terms::of_lease(Duration::from_secs(10)));
        let end = CancellationToken::new();
        let task = tokio::spawn({
            let (sink, lease, end) = (Arc::clone(&self.sink), lease.clone(), end.clone());
            async move { pipeline::run(sink, claims, session, lease, &end).await }
        });
        Running { lease, end, task }
    }

    /// Of parked events: id, state, code and attempts.
    pub(crate) async fn parked(&self) -> Vec<(String, String, String, i64)> {
        sqlx::query_as("select id::text, state, code, attempts from oncebox.parked where sink = $1 order by seq")
            .bind(SINK)
            .fetch_all(&self.database.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn until_parked(&self, expected: &[(&str, &str, &str, i64)]) {
        until("events to be parked", async || {
            let parked = self.parked().await;
            let found = parked
                .iter()
                .map(|(id, state, code, tries)| (id.as_str(), state.as_str(), code.as_str(), *tries));
            ensure!(found.eq(expected.iter().copied()), "{parked:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// What `outbox-relay parked retry --id` does without the rest of the key.
    pub(crate) async fn retry(&self, id: &str) {
        sqlx::query("update oncebox.parked set state = 'retry' where id = $1::uuid")
            .bind(id)
            .execute(&self.database.pool)
            .await
            .unwrap();
    }

    /// Waits until so many connections wait for a lock.
    pub(crate) async fn until_locked_out(&self) {
        until("the relay to wait for a lock", async || {
            ensure!(self.database.waiting_for_locks().await? > 0, "it does not");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value
            .with_context(|| format!("{name} is missing"))?
            .parse()
            .context("a number")
    }

    pub(crate) async fn until_metric(&self, name: &str, is_right: impl Fn(f64) -> bool) {
        until(&format!("{name} to be right"), async || {
            let value = self.metric(name)?;
            ensure!(is_right(value), "{value}");
            Ok(())
        })
        .await
        .unwrap();
    }
}
