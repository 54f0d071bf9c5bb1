//! `outbox-relay status`: one screen.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use sqlx::{PgConnection, Row as _};

use super::{
    Failure, FailureKind,
    connection::{DatabaseArguments, Opened},
    output::{Output, age, lines, size, time},
    sinks::{self, Progress},
    table::Table,
};
use crate::{
    config::Retention,
    log::{
        extent::{self, Extent},
        freeing::{self, Partition},
        relays::{self, Relay},
    },
};

/// Partitions that a person is told of, the next to be freed first.
const MOST_PARTITIONS: usize = 5;

/// `outbox-relay status …`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// Fail (exit code 1) when the oldest event that was found unpublished is older than this.
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    max_lag_secs: Option<i64>,
    /// Fail (exit code 1) when a sink is more events behind than this.
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    max_lag_events: Option<i64>,
    /// Fail (exit code 1) when a sink has more parked events than this.
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    max_parked: Option<i64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Status {
    sinks: Vec<SinkStatus>,
    relays: Vec<Relay>,
    log: LogStatus,
}

#[derive(Debug, Serialize)]
struct SinkStatus {
    #[serde(flatten)]
    progress: Progress,
    /// Events that wait for a person.
    parked: i64,
    /// Parked events that are being sent again.
    retry: i64,
}

#[derive(Debug, Serialize)]
struct LogStatus {
    #[serde(flatten)]
    extent: Extent,
    /// When the oldest row's transaction began.
    first_time: Option<String>,
    /// How long events stay, in days; 0 is for ever.
    retention_days: u64,
    /// Whether a configuration said so; if not, it is the default.
    retention_configured: bool,
    /// The partitions with events, the oldest first; null when this role may not ask.
    freeing: Option<Vec<Partition>>,
}

/// Runs it.
///
/// # Errors
/// See [`FailureKind`]; exit code 1 also when a bound that was given is exceeded.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Opened {
        mut connection,
        configured,
        retention,
        ..
    } = arguments.database.open().await?;
    let (last_seq, progress) = sinks::look(&mut connection, configured.as_deref()).await?;
    let status = gather(&mut connection, last_seq, progress, retention)
        .await
        .map_err(Failure::of_database)?;
    arguments.output.print(&status, text)?;
    let exceeded: Vec<String> = status
        .sinks
        .iter()
        .flat_map(|sink| exceeded(&arguments, sink))
        .collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Runtime, anyhow::anyhow!(exceeded.join("; "))))
}

/// A relay's sinks, in words.
fn sinks_of(relay: &Relay) -> String {
    let told = |sink: &String| match relay.waiting.contains(sink) {
        true => format!("{sink} (waits for its target)"),
        false => sink.clone(),
    };
    relay.sinks.iter().map(told).collect::<Vec<_>>().join(", ")
}

async fn gather(
    connection: &mut PgConnection,
    last_seq: i64,
    progress: Vec<Progress>,
    retention: Option<Retention>,
) -> Result<Status, sqlx::Error> {
    let rows = sqlx::query("select sink, state, count(*) as events from oncebox.parked group by sink, state")
        .fetch_all(&mut *connection)
        .await?;
    let mut parked: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in &rows {
        parked.insert((row.try_get("sink")?, row.try_get("state")?), row.try_get("events")?);
    }
    let mut sinks: Vec<SinkStatus> = progress
        .into_iter()
        .map(|progress| SinkStatus {
            parked: parked
                .remove(&(progress.sink.clone(), "parked".to_owned()))
                .unwrap_or(0),
            retry: parked.remove(&(progress.sink.clone(), "retry".to_owned())).unwrap_or(0),
            progress,
        })
        .collect();
    // What is left was parked by sinks whose cursors are gone.
    for ((sink, state), events) in parked {
        let (parked, retry) = if state == "retry" { (0, events) } else { (events, 0) };
        match sinks.iter_mut().find(|known| known.progress.sink == sink) {
            Some(known) => {
                known.parked += parked;
                known.retry += retry;
            }
            None => sinks.push(SinkStatus {
                progress: Progress::without_cursors(sink),
                parked,
                retry,
            }),
        }
    }
    let relays = relays::list(connection).await?;
    let extent = extent::look(connection, last_seq).await?;
    let kept = match retention.unwrap_or_default() {
        Retention::For(kept) => Some(kept),
        Retention::ForEver => None,
    };
    let mut freeing = freeing::look(connection, kept).await?;
    for partition in freeing.iter_mut().flatten() {
        partition.free_after = partition.free_after_micros.map(time);
    }
    Ok(Status {
        sinks,
        relays,
        log: LogStatus {
            first_time: extent.first_micros.map(time),
            retention_days: kept.map_or(0, |kept| kept.as_secs() / 86_400),
            retention_configured: retention.is_some(),
            freeing,
            extent,
        },
    })
}

fn exceeded(arguments: &Arguments, sink: &SinkStatus) -> Vec<String> {
    let progress = &sink.progress;
    let over = |what: &str, value: Option<i64>, bound: Option<i64>| match (value, bound) {
        (Some(value), Some(bound)) if value > bound => {
            Some(format!("sink {}: {what} is {value}, more than {bound}", progress.sink))
        }
        _ => None,
    };
    [
        over("lag in seconds", progress.oldest_secs, arguments.max_lag_secs),
        over("lag in events", progress.behind_at_most, arguments.max_lag_events),
        over(
            "the number of parked events",
            Some(sink.parked + sink.retry),
            arguments.max_parked,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    if status.sinks.is_empty() {
        text.push_str("no sinks: no relay has run yet\n");
    } else {
        let mut table = Table::new(&[
            "SINK",
            "HELD BY",
            "#BEHIND AT MOST",
            "OLDEST",
            "#PARKED",
            "#RETRY",
            "WRITTEN",
            "CONFIGURED",
        ]);
        for sink in &status.sinks {
            let progress = &sink.progress;
            table.row([
                progress.sink.clone(),
                sinks::holders(progress),
                progress
                    .behind_at_most
                    .map(|events| events.to_string())
                    .unwrap_or_default(),
                progress.oldest_secs.map(age).unwrap_or_default(),
                sink.parked.to_string(),
                sink.retry.to_string(),
                progress.written_secs.map(|secs| age(secs) + " ago").unwrap_or_default(),
                sinks::configured(progress),
            ]);
        }
        text.push_str(&lines(&table));
        for line in status.sinks.iter().flat_map(|sink| sinks::remarks(&sink.progress)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.push('\n');
    if status.relays.is_empty() {
        text.push_str("no relay runs\n");
    } else {
        let mut table = Table::new(&["RELAY", "ALIVE", "LAST BEAT", "UP FOR", "SINKS"]);
        for relay in &status.relays {
            table.row([
                relay.id.clone(),
                if relay.alive { "yes" } else { "no" }.to_owned(),
                age(relay.beat_age_secs) + " ago",
                age(relay.uptime_secs),
                sinks_of(relay),
            ]);
        }
        text.push_str(&lines(&table));
    }
    let extent = &status.log.extent;
    let oldest = match (extent.first_seq, &status.log.first_time) {
        (Some(seq), Some(time)) => format!("oldest event {seq} of {time}"),
        _ => "no events".to_owned(),
    };
    text.push_str(&format!(
        "\nlog: {oldest}, end at {}; {} in {} partitions, {} of them ahead\n",
        extent.last_seq,
        size(extent.partitions.bytes),
        extent.partitions.partitions,
        extent.partitions.partitions_ahead
    ));
    text.push_str(&freed(&status.log));
    text
}

/// What of the log is freed next, when, and what holds it.
fn freed(log: &LogStatus) -> String {
    let Some(partitions) = &log.freeing else {
        return "when it is freed: this role may not ask; `grant execute on function oncebox.partition_status` to it\n"
            .to_owned();
    };
    let mut text = match (log.retention_days, log.retention_configured) {
        (0, _) => "events are kept for ever: retention_days is 0\n".to_owned(),
        (days, true) => format!("events are kept for {days} days, in whole partitions\n"),
        (days, false) => format!("taking it that events are kept for {days} days; --config says how long they are\n"),
    };
    let mut table = Table::new(&["POSITIONS", "#SIZE", "FREED AFTER", "HELD BY"]);
    for partition in partitions.iter().take(MOST_PARTITIONS) {
        table.row([
            format!("{} to {}", partition.from_seq, partition.to_seq),
            size(partition.bytes),
            partition.free_after.clone().unwrap_or_default(),
            match &partition.held_by {
                None => "nothing: a relay frees it within a minute".to_owned(),
                Some(reason) => reason.clone(),
            },
        ]);
    }
    if !partitions.is_empty() {
        text.push_str(&table.render(None));
    }
    if let Some(more @ 1..) = partitions.len().checked_sub(MOST_PARTITIONS) {
        text.push_str(&format!("and {more} later ones; --json lists them\n"));
    }
    text
}
