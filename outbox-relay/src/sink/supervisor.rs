//! Keeps a sink running: connects, takes over the cursors, runs the pipelines, starts again.
//!
//! Whatever a pipeline held in memory is dropped with its connection. After a crash Postgres may
//! give out transaction ids and sequence numbers again that were never made durable, so only a
//! place that was saved may be trusted afterwards.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    backoff,
    pipeline::{self, PipelineError, Sink},
};
use crate::{
    database::{Database, STATEMENT_TIMEOUT},
    log::store::{self, Claim, Start},
    publish::{FailureClass, Publisher},
};

/// A session that lasted this long was sound: the next failure is the first of a new row.
const STEADY: Duration = Duration::from_secs(30);

/// Runs a sink until it is told to end. Errors of the database are survived; the sink starts again
/// from the saved cursor, with backoff.
///
/// # Errors
/// [`PipelineError::Superseded`] when another relay took over, [`PipelineError::Ahead`] when the
/// cursors are not this database's, and [`PipelineError::Panicked`].
pub async fn supervise<P: Publisher>(
    sink: Arc<Sink<P>>,
    database: Database,
    owner: String,
    start: Start,
    end: CancellationToken,
) -> Result<(), PipelineError> {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let outcome = session(&sink, &database, &owner, start, &end).await;
        if began.elapsed() > STEADY {
            failures = 0;
        }
        match outcome {
            Ok(()) => {
                sink.metrics.ready(false);
                return Ok(());
            }
            Err(error @ (PipelineError::Superseded { .. } | PipelineError::Ahead(_) | PipelineError::Panicked)) => {
                sink.metrics.not_ready(&error.to_string());
                return Err(error);
            }
            Err(error @ (PipelineError::Database(_) | PipelineError::Timeout)) => {
                if end.is_cancelled() {
                    tracing::warn!(sink = sink.name, reason = %error, "ended without saving the cursor; some events will be published again");
                    return Ok(());
                }
                failures += 1;
                let reason = error.to_string();
                let is_news = sink.metrics.not_ready(&reason);
                let wait = backoff::delay(FailureClass::Throttled, failures, rand::random());
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                if is_news {
                    tracing::error!(
                        sink = sink.name,
                        reason,
                        attempt = failures,
                        retry_in_ms,
                        "the sink stopped and will start again from its cursor"
                    );
                } else {
                    tracing::debug!(
                        sink = sink.name,
                        reason,
                        attempt = failures,
                        retry_in_ms,
                        "the sink is still stopped for the same reason"
                    );
                }
                let _ = timeout(wait, end.cancelled()).await;
            }
        }
    }
}

async fn session<P: Publisher>(
    sink: &Arc<Sink<P>>,
    database: &Database,
    owner: &str,
    start: Start,
    end: &CancellationToken,
) -> Result<(), PipelineError> {
    if end.is_cancelled() {
        return Ok(());
    }
    let mut session = database.session().await?;
    let claims = timeout(STATEMENT_TIMEOUT, store::claim(&mut session, &sink.name, owner, start))
        .await
        .map_err(|_| PipelineError::Timeout)??;
    session.close().await?;
    tracing::info!(sink = sink.name, groups = claims.len(), "took over the sink's cursors");
    sink.metrics.ready(true);

    // Shards that stand at the same place share one pipeline, so that sixteen do not read the log
    // sixteen times. One that fails ends the others: they all start again from what is saved.
    let ended = end.child_token();
    let mut pipelines = JoinSet::new();
    for claim in claims {
        pipelines.spawn(one(Arc::clone(sink), database.clone(), claim, ended.clone()));
    }
    let mut outcome = Ok(());
    while let Some(result) = pipelines.join_next().await {
        let result = result.unwrap_or(Err(PipelineError::Panicked));
        if result.is_err() {
            ended.cancel();
            if outcome.is_ok() {
                outcome = result;
            }
        }
    }
    outcome
}

async fn one<P: Publisher>(
    sink: Arc<Sink<P>>,
    database: Database,
    claim: Claim,
    end: CancellationToken,
) -> Result<(), PipelineError> {
    let mut session = database.session().await?;
    let sink = match claim.shards.len() {
        n if n == usize::from(store::SHARDS.unsigned_abs()) => sink,
        _ => Arc::new(sink.for_shards(claim.shards.iter().map(|(shard, _)| *shard).collect())),
    };
    pipeline::run(sink, claim, &mut session, &end).await?;
    Ok(session.close().await?)
}
