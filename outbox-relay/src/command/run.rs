//! `outbox-relay run`: publish until told to stop.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Failure, FailureKind};
use crate::{
    config::{Config, SinkConfig, same_target},
    database::Database,
    publish::{Clients, Target, clients::REQUEST_TIMEOUT},
    sink::{pipeline::Sink, supervisor::supervise},
    telemetry::{
        http,
        metrics::{Metrics, SinkMetrics},
    },
};

/// How often partitions are added ahead of the log's end.
const UPKEEP: Duration = Duration::from_secs(60);

/// Longest that the relay's own services may take to end.
const SERVICES_END: Duration = Duration::from_secs(1);

/// Parses, builds, spawns, waits for a signal, drains.
///
/// # Errors
/// See [`FailureKind`]; what a person must do stands in the message.
pub async fn run(config: &Path) -> Result<(), Failure> {
    // Parse.
    let environment = |name: &str| std::env::var(name).ok();
    let config = Config::load(config, environment).map_err(|error| Failure::new(FailureKind::Usage, error))?;
    let database = Database::new(&config.database_url).map_err(|error| Failure::new(FailureKind::Usage, error))?;
    check_schema(&database).await?;

    // Build.
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let clients = Clients::new(&aws, REQUEST_TIMEOUT);
    let mut metrics = Metrics::new();
    let mut sinks: Vec<(Sink<Target>, _)> = Vec::new();
    for sink in &config.sinks {
        let built = build(sink, &clients, config.drain_timeout, metrics.sink(&sink.name)).await?;
        // Only now can it be told: a name, a URL and an ARN may mean one target.
        let is_same = |other: &Sink<Target>| other.publisher.arn() == built.publisher.arn();
        if let Some((other, _)) = sinks.iter().find(|(other, _)| is_same(other)) {
            let (key, problem) = (sink.target.key(), same_target(&other.name, &sink.name));
            let error = anyhow::anyhow!("sink `{}`: {key}: {problem}", sink.name);
            return Err(Failure::new(FailureKind::Usage, error));
        }
        sinks.push((built, sink.start));
    }
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
    let owner = owner();
    let metrics = Arc::new(metrics);
    tracing::info!(owner, sinks = sinks.len(), "relay starts");
    for (sink, start) in sinks {
        running.spawn(supervise(
            Arc::new(sink),
            database.clone(),
            owner.clone(),
            start,
            end_sinks.clone(),
        ));
    }
    if let Some(listener) = listener {
        services.spawn(http::serve(listener, metrics, end_services.clone()));
    }
    services.spawn(keep_partitions(database, end_services.clone()));

    // Signal.
    let failed = |error: std::io::Error| Failure::new(FailureKind::Runtime, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let first = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(ended) = running.join_next() => flatten(ended),
        Some(ended) = services.join_next() => flatten(ended),
    };

    // Drain: each sink within its own bound, then the services; told a second time, end at once.
    let drain_timeout_secs = config.drain_timeout.as_secs();
    tracing::info!(
        drain_timeout_secs,
        "relay stops: no new events are taken, answers are awaited"
    );
    let drain = async {
        end_sinks.cancel();
        let mut outcome = first;
        while let Some(ended) = running.join_next().await {
            outcome = outcome.and(flatten(ended));
        }
        end_services.cancel();
        // A client that holds its connection open must not hold up the end.
        let ended = async { while services.join_next().await.is_some() {} };
        if tokio::time::timeout(SERVICES_END, ended).await.is_err() {
            services.shutdown().await;
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
fn flatten<E: Into<anyhow::Error>>(ended: Result<Result<(), E>, JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(error.into()),
    }
}

async fn build(
    sink: &SinkConfig,
    clients: &Clients,
    drain_timeout: Duration,
    metrics: SinkMetrics,
) -> Result<Sink<Target>, Failure> {
    let target = Target::resolve(clients, &sink.target, sink.claim_check.as_ref())
        .await
        .with_context(|| format!("sink `{}`: {}", sink.name, sink.target.key()))
        .map_err(|error| Failure::new(FailureKind::Usage, error))?;
    tracing::info!(
        sink = sink.name,
        kind = target.kind().as_str(),
        target = target.arn(),
        max_message_bytes = target.limits().max_message_bytes,
        has_claim_check = sink.claim_check.is_some(),
        "sink publishes to target"
    );
    Ok(Sink {
        name: sink.name.clone(),
        selection: sink.selection.clone(),
        keeps_order: target.kind().keeps_order(),
        limits: target.limits().of_request(),
        publisher: target,
        max_in_flight: sink.max_in_flight,
        max_window: sink.max_window,
        drain_timeout,
        metrics,
    })
}

/// Opens a connection, or says what to do.
///
/// # Errors
/// Exit code 3.
pub(super) async fn connect(database: &Database) -> Result<PgConnection, Failure> {
    database.connect().await.map_err(|error| {
        let place = database.place();
        let error =
            anyhow::anyhow!("{place} cannot be reached ({error}); check the URL, the network and that Postgres is up");
        Failure::new(FailureKind::Database, error)
    })
}

async fn check_schema(database: &Database) -> Result<(), Failure> {
    let mut connection = connect(database).await?;
    let asked = sqlx::query_scalar("select to_regclass('oncebox.cursor') is not null");
    let is_there: bool = asked
        .fetch_one(&mut connection)
        .await
        .map_err(|error| Failure::new(FailureKind::Database, error))?;
    let _ = connection.close().await;
    if is_there {
        return Ok(());
    }
    let error = anyhow::anyhow!(
        "the database has no schema oncebox; run `outbox-relay migrate` with a role that may create it"
    );
    Err(Failure::new(FailureKind::Database, error))
}

/// Adds partitions ahead of the log's end, now and then. Producers need them, but there are many
/// ahead: a failure is logged and tried again.
async fn keep_partitions(database: Database, end: CancellationToken) -> anyhow::Result<()> {
    while !end.is_cancelled() {
        match add_partitions(&database).await {
            Ok(0) => {}
            Ok(added) => tracing::info!(added, "added partitions to the log"),
            Err(error) => tracing::warn!(reason = %error, "no partitions could be added to the log; will try again"),
        }
        let _ = tokio::time::timeout(UPKEEP, end.cancelled()).await;
    }
    Ok(())
}

async fn add_partitions(database: &Database) -> Result<i32, sqlx::Error> {
    let mut connection = database.connect().await?;
    // Attaching waits for statements that lock the table; writers must not queue up behind it.
    let mut transaction = connection.begin().await?;
    sqlx::query("set local lock_timeout = '2s'")
        .execute(&mut *transaction)
        .await?;
    let added = sqlx::query_scalar("select oncebox.ensure_partitions()")
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(added)
}

/// Who holds a cursor, for people to read: host and a random part.
fn owner() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "relay".to_owned());
    format!("{host}-{}", Uuid::new_v4().simple())
}
