//! Keeps the log's table in shape: partitions ahead of its end, none behind that nobody needs.

use std::time::Duration;

use sqlx::{Error, Row as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::known;
use crate::{
    config::Retention,
    database::{Database, STATEMENT_TIMEOUT, session::Session, statement::statement, trouble},
    telemetry::metrics::LogMetrics,
};

const INTERVAL: Duration = Duration::from_secs(60);
/// After the first failure: a vacuum or a short transaction was in the way. Not again and again, since
/// writers wait behind each attempt to drop.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Adds and drops partitions now and then, until told to end, and measures the log. `configured` are the
/// names of this relay's sinks. Several relays may do so at once: the
/// database lets one at a time. A failure is logged when it begins, and tried again; producers have
/// many partitions of room.
///
/// # Errors
/// Never.
pub async fn keep(
    database: Database,
    retention: Retention,
    configured: Vec<String>,
    metrics: LogMetrics,
    end: CancellationToken,
) -> anyhow::Result<()> {
    let mut trouble_before = None;
    while !end.is_cancelled() {
        let trouble = match timeout(2 * STATEMENT_TIMEOUT, once(&database, retention, &configured, &metrics)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(trouble::explain(&error)),
            Err(_) => Some("no answer in time".to_owned()),
        };
        if trouble != trouble_before {
            match &trouble {
                Some(reason) => tracing::warn!(reason, "the log's partitions could not be kept; will try again"),
                None => tracing::info!("the log's partitions are kept again"),
            }
        }
        let is_first = trouble.is_some() && trouble_before.is_none();
        trouble_before = trouble;
        let pause = if is_first { FIRST_RETRY } else { INTERVAL };
        let _ = timeout(pause, end.cancelled()).await;
    }
    Ok(())
}

async fn once(
    database: &Database,
    retention: Retention,
    configured: &[String],
    metrics: &LogMetrics,
) -> Result<(), Error> {
    let mut session = database.session().await?;
    let abandoned = known::abandoned(known::list(&mut session).await?, configured);
    metrics.abandoned(abandoned.iter().map(|sink| (sink.name.as_str(), sink.behind)));
    let added: i32 = statement("select oncebox.ensure_partitions()")
        .fetch_value(&mut session)
        .await?;
    if added > 0 {
        tracing::info!(added, "added partitions to the log");
    }
    let state = statement(
        "select count(*) filter (where from_seq > log_end), sum(bytes)::bigint
           from oncebox.partition_status(null),
                (select case when is_called then last_value else 0 end from oncebox.event_seq) s (log_end)",
    )
    .fetch_one(&mut session)
    .await?;
    metrics.partitions_ahead(state.try_get(0)?);
    metrics.bytes(state.try_get::<Option<i64>, _>(1)?.unwrap_or(0));
    if let Retention::For(retention) = retention {
        drop_old(&mut session, retention).await?;
    }
    session.close().await
}

async fn drop_old(session: &mut Session, retention: Duration) -> Result<(), Error> {
    let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
    let dropped =
        statement("select partition, rows_estimate, bytes from oncebox.drop_partitions($1 * interval '1 second')")
            .bind(seconds)
            .fetch_all(session)
            .await?;
    for row in dropped {
        tracing::info!(
            partition = row.try_get::<String, _>(0)?,
            rows = row.try_get::<i64, _>(1)?,
            bytes = row.try_get::<i64, _>(2)?,
            "dropped a partition of the log: every sink is past it and its retention is over"
        );
    }
    Ok(())
}
