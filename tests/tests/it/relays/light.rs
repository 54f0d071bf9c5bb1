//! A relay within the test: its lease, its supervisor and a target in memory, without a process.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::ensure;
use outbox_relay::{
    chance::Chance,
    database::{Database, tls::TlsConfig},
    lease::{
        member::{Member, Roster},
        term::{Moment, Terms},
    },
    log::{page::Selection, store::Start},
    publish::{BatchLimits, Message, PublishError, Publisher},
    sink::{
        Guarantee, MAX_HELD_BYTES, Sink,
        supervisor::{Surroundings, supervise},
    },
    telemetry::metrics::Metrics,
};
use system_tests::until;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Confirms everything, but never answers for an event of the tenant `silent`.
#[derive(Debug, Clone, Default)]
pub(super) struct Target {
    confirmed: Arc<Mutex<HashSet<String>>>,
    unanswered: Arc<Mutex<usize>>,
    given_up: Arc<Mutex<Vec<Moment>>>,
}

impl Target {
    pub(super) async fn until_confirmed(&self, ids: &[String]) {
        until("the events to be confirmed", async || {
            let confirmed = self.confirmed.lock().unwrap();
            let missing = ids.iter().filter(|id| !confirmed.contains(*id)).count();
            ensure!(missing == 0, "{missing} are missing");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(super) async fn until_one_is_unanswered(&self) {
        until("a request that is not answered", async || {
            ensure!(*self.unanswered.lock().unwrap() > 0, "none");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// When requests were given up that had no answer.
    pub(super) fn given_up(&self) -> Vec<Moment> {
        self.given_up.lock().unwrap().clone()
    }
}

struct GivenUp(Arc<Mutex<Vec<Moment>>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(Moment::now());
    }
}

impl Publisher for Target {
    async fn publish(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        if batch.iter().any(|message| message.tenant == "silent") {
            let _given_up = GivenUp(Arc::clone(&self.given_up));
            *self.unanswered.lock().unwrap() += 1;
            std::future::pending::<()>().await;
        }
        let mut confirmed = self.confirmed.lock().unwrap();
        batch
            .iter()
            .map(|message| {
                confirmed.insert(message.id.clone());
                Ok(())
            })
            .collect()
    }
}

/// The database as the relay knows it.
pub(super) fn database(url: &Url) -> Database {
    Database::new(&url.to_string().into(), &TlsConfig::default()).unwrap()
}

/// A sink that takes everything and sends one event at a time.
pub(super) fn sink(name: &str, target: &Target, metrics: &mut Metrics) -> Sink<Target> {
    Sink {
        name: name.to_owned(),
        selection: Selection::default(),
        publisher: target.clone(),
        keeps_order: false,
        limits: BatchLimits {
            max_entries: 1,
            max_bytes: 1_000_000,
        },
        bundle: None,
        guarantee: Guarantee::AtLeastOnce,
        max_in_flight: 4,
        max_window: 1_000,
        max_held_bytes: MAX_HELD_BYTES,
        drain_timeout: Duration::from_millis(100),
        chance: Chance::default(),
        metrics: metrics.sink(name),
        traces: None,
    }
}

pub(super) struct LightRelay {
    metrics: Arc<Metrics>,
    pub(super) roster: watch::Receiver<Roster>,
    _tasks: JoinSet<()>,
}

impl LightRelay {
    /// Starts a relay of one sink. Dropped, it dies as if it was killed.
    pub(super) fn start(url: &Url, name: &str, target: &Target, lease: Duration) -> Self {
        let terms = Terms::of_lease(lease);
        let (member, roster) = Member::new(database(url), "light".to_owned(), vec![name.to_owned()], terms);
        let mut metrics = Metrics::new();
        let sink = Arc::new(sink(name, target, &mut metrics));
        let end = CancellationToken::new();
        let surroundings = Surroundings {
            database: database(url),
            terms,
            roster: roster.clone(),
            end: end.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(member.run(end, || false));
        tasks.spawn(async move {
            supervise(sink, Start::Beginning, surroundings).await.unwrap();
        });
        Self {
            metrics: Arc::new(metrics),
            roster,
            _tasks: tasks,
        }
    }

    /// Its id on the list.
    pub(super) fn id(&self) -> Option<String> {
        self.roster.borrow().me.as_ref().map(|me| me.id.clone())
    }

    pub(super) async fn until_ready(&self) {
        until("the relay to be ready", async || {
            let waiting = self.metrics.not_ready();
            ensure!(waiting.is_empty(), "{waiting:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
}
