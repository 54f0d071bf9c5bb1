//! `outbox-relay run`: publish until told to stop.

mod opening;
mod targets;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{Failure, FailureKind};
use crate::{
    chance::Chance,
    config::{Config, SinkConfig},
    database::{Database, statement::statement, trouble},
    lease::{member::Member, term::Terms},
    log::upkeep,
    publish::{BatchLimits, Clients, ResolveError, Target},
    sink::{
        MAX_HELD_BYTES, Sink,
        gather::BundleLimits,
        pipeline::PipelineError,
        supervisor::{Ended, Surroundings, supervise},
    },
    telemetry::{
        http,
        metrics::{Metrics, SinkMetrics},
        summary,
        traces::Traces,
    },
};

/// Longest that the relay's own services may take to end, its leave from the other relays included.
const SERVICES_END: Duration = Duration::from_secs(3);

/// Parses, builds, spawns, waits for a signal, drains.
///
/// # Errors
/// See [`FailureKind`]; what a person must do stands in the message.
pub async fn run(config: &Path) -> Result<(), Failure> {
    // Parse.
    let environment = |name: &str| std::env::var(name).ok();
    let config = Config::load(config, environment).map_err(|error| Failure::new(FailureKind::Usage, error))?;
    let database = config.database.clone();
    if let Some(weakness) = database.weakness() {
        tracing::warn!(weakness, "the database is not checked in full");
    }
    check_schema(&database).await?;
    let known = opening::look(&config).await?;

    // Build.
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let terms = Terms::of_lease(config.lease);
    let clients = Clients::new(&aws, terms.request_timeout);
    let traces = Traces::from_env().map_err(|error| Failure::new(FailureKind::Usage, error))?;
    let mut metrics = Metrics::new();
    let prepared = targets::prepare(
        &config,
        &known,
        Parts {
            clients,
            traces: traces.clone(),
            drain_timeout: config.drain_timeout,
        },
        &mut metrics,
    )
    .await?;
    let listener = match config.listen {
        None => None,
        Some(address) => Some(
            http::bind(address)
                .await
                .map_err(|error| Failure::new(FailureKind::Usage, error))?,
        ),
    };

    // Spawn. The relay's own services end after the sinks, so that a drain can be watched.
    let (end_sinks, end_services) = (CancellationToken::new(), CancellationToken::new());
    let (mut running, mut services) = (JoinSet::new(), JoinSet::new());
    let metrics = Arc::new(metrics);
    let names: Vec<String> = config.sinks.iter().map(|sink| sink.name.clone()).collect();
    let (member, roster) = Member::new(database.clone(), host(), names.clone(), terms);
    let member = member.with_waiting(prepared.names);
    tracing::info!(sinks = names.len(), lease_secs = config.lease.as_secs(), "relay starts");
    let surroundings = Surroundings {
        database: database.clone(),
        terms,
        roster,
        end: end_sinks.clone(),
    };
    for (sink, start) in prepared.sinks {
        running.spawn(supervise(Arc::new(sink), start, surroundings.clone()));
    }
    for waiting in prepared.waiting {
        running.spawn(waiting.run(surroundings.clone()));
    }
    drop(surroundings);
    let is_clean = Arc::new(AtomicBool::new(false));
    let (end_membership, leaves_clean) = (end_services.clone(), Arc::clone(&is_clean));
    services.spawn(async move {
        let leaves_clean = || leaves_clean.load(Ordering::SeqCst);
        member.run(end_membership, leaves_clean).await;
        Ok(())
    });
    services.spawn(summary::log(Arc::clone(&metrics), end_services.clone()));
    if let Some(listener) = listener {
        services.spawn(http::serve(listener, Arc::clone(&metrics), end_services.clone()));
    }
    let log_metrics = metrics.log.clone();
    services.spawn(upkeep::keep(
        database,
        config.retention,
        names,
        log_metrics,
        end_services.clone(),
    ));

    // Signal.
    let failed = |error: std::io::Error| Failure::new(FailureKind::Runtime, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let first = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(ended) = running.join_next() => flatten(ended).map(drop),
        Some(ended) = services.join_next() => flatten(ended),
    };

    // Drain: each sink within its own bound, then the services; told a second time, end at once.
    let drain_timeout_secs = config.drain_timeout.as_secs();
    tracing::info!(
        drain_timeout_secs,
        "relay stops: no new events are taken, answers are awaited"
    );
    let drain_end = Instant::now() + config.drain_timeout;
    let drain = async {
        end_sinks.cancel();
        let mut all_clean = first.is_ok();
        let mut outcome = first;
        while let Some(ended) = running.join_next().await {
            let ended: anyhow::Result<Ended> = flatten::<Ended, PipelineError>(ended);
            all_clean &= ended.as_ref().is_ok_and(|ended| ended.is_clean);
            outcome = outcome.and(ended.map(drop));
        }
        is_clean.store(all_clean, Ordering::SeqCst);
        end_services.cancel();
        // A client that holds its connection open must not hold up the end.
        let ended = async { while services.join_next().await.is_some() {} };
        if tokio::time::timeout(SERVICES_END, ended).await.is_err() {
            services.shutdown().await;
        }
        if let Some(traces) = traces {
            traces.end((drain_end - Instant::now()).max(SERVICES_END)).await;
        }
        outcome
    };
    let outcome = tokio::select! {
        outcome = drain => outcome,
        _ = terminate.recv() => Err(told_twice()),
        _ = interrupt.recv() => Err(told_twice()),
    };
    outcome.map_err(|error| Failure::new(FailureKind::Runtime, error))?;
    tracing::info!("relay stopped");
    Ok(())
}

fn told_twice() -> anyhow::Error {
    anyhow::anyhow!(
        "told to stop a second time: ended without waiting for answers; some events will be published again"
    )
}

/// A panic in a task is an error of the program.
fn flatten<T, E: Into<anyhow::Error>>(ended: Result<Result<T, E>, JoinError>) -> anyhow::Result<T> {
    match ended {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(error.into()),
    }
}

/// The sink's bundles, no larger than its target takes a message.
///
/// # Errors
/// Exit code 2: the target takes none.
pub(super) fn bundle(sink: &SinkConfig, target: &Target) -> Result<Option<BundleLimits>, Failure> {
    let Some(mut bundle) = sink.bundle else { return Ok(None) };
    if !target.kind().takes_bundles() {
        let kind = target.kind().as_str();
        let error = anyhow::anyhow!(
            "sink `{}`: bundle: a target of kind {kind} takes one event a message; leave `bundle` out",
            sink.name
        );
        return Err(Failure::new(FailureKind::Usage, error));
    }
    bundle.size.max_bytes = bundle.size.max_bytes.min(target.limits().max_message_bytes);
    Ok(Some(bundle))
}

/// What sinks are put together from.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) clients: Clients,
    pub(super) traces: Option<Traces>,
    pub(super) drain_timeout: Duration,
}

impl Parts {
    /// Finds a sink's target.
    ///
    /// # Errors
    /// What is wrong with it.
    async fn resolve(&self, sink: &SinkConfig) -> Result<Target, ResolveError> {
        Target::resolve(&self.clients, &sink.target, sink.claim_check.as_ref()).await
    }

    /// Finds a sink's target and puts the sink together.
    ///
    /// # Errors
    /// Exit code 2.
    pub(super) async fn build(&self, sink: &SinkConfig, metrics: SinkMetrics) -> Result<Sink<Target>, Failure> {
        let target = self.resolve(sink).await.map_err(|error| unresolved(sink, error))?;
        self.assemble(sink, target, metrics)
    }

    /// Puts a sink together.
    ///
    /// # Errors
    /// Exit code 2: its target takes no bundles.
    fn assemble(&self, sink: &SinkConfig, target: Target, metrics: SinkMetrics) -> Result<Sink<Target>, Failure> {
        tracing::info!(
            sink = sink.name,
            kind = target.kind().as_str(),
            target = target.arn(),
            max_message_bytes = target.limits().max_message_bytes,
            has_claim_check = sink.claim_check.is_some(),
            "sink publishes to target"
        );
        let bundle = bundle(sink, &target)?;
        let traces = self.traces.as_ref();
        let traces = traces.map(|traces| traces.sink(&sink.name, target.kind().system(), target.name()));
        Ok(Sink {
            name: sink.name.clone(),
            selection: sink.selection.clone(),
            keeps_order: target.kind().keeps_order(),
            limits: BatchLimits::of(target.limits()),
            bundle,
            guarantee: sink.guarantee,
            publisher: target,
            max_in_flight: sink.max_in_flight,
            max_window: sink.max_window,
            max_held_bytes: MAX_HELD_BYTES,
            drain_timeout: self.drain_timeout,
            chance: Chance::default(),
            metrics,
            traces,
        })
    }
}

/// A target that was not found, as the configuration's fault.
fn unresolved(sink: &SinkConfig, error: ResolveError) -> Failure {
    let error = anyhow::Error::from(error).context(format!("sink `{}`: {}", sink.name, sink.target.key()));
    Failure::new(FailureKind::Usage, error)
}

/// Opens a connection, or says what to do.
///
/// # Errors
/// Exit code 3.
pub(super) async fn connect(database: &Database) -> Result<PgConnection, Failure> {
    database.connect().await.map_err(|error| {
        let place = database.place();
        let reason = trouble::explain(&error);
        let error =
            anyhow::anyhow!("{place} cannot be reached ({reason}); check the URL, the network and that Postgres is up");
        Failure::new(FailureKind::Database, error)
    })
}

/// Makes sure that the schema is there and new enough.
///
/// # Errors
/// Exit code 3.
pub(super) async fn check_schema(database: &Database) -> Result<(), Failure> {
    let mut connection = connect(database).await?;
    // The newest thing that a relay needs.
    let asked = statement(
        "select to_regclass('oncebox.cursor') is not null,
                exists (select from pg_attribute where attrelid = to_regclass('oncebox.relay') and attname = 'waiting')",
    );
    let (is_there, is_new): (bool, bool) = asked
        .fetch_on(&mut connection)
        .await
        .and_then(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .map_err(|error| Failure::new(FailureKind::Database, anyhow::anyhow!(trouble::explain(&error))))?;
    let _ = connection.close().await;
    let problem = match (is_there, is_new) {
        (true, true) => return Ok(()),
        (true, false) => "the database's schema oncebox is older than this relay; run `outbox-relay migrate`",
        (false, _) => "the database has no schema oncebox; run `outbox-relay migrate` with a role that may create it",
    };
    let error = anyhow::anyhow!(problem);
    Err(Failure::new(FailureKind::Database, error))
}

/// Where this relay runs, for people to read.
fn host() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "relay".to_owned())
}
