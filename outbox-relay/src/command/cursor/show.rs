//! `cursor show`.

use clap::Args;
use serde::Serialize;

use crate::command::{
    Failure,
    connection::{DatabaseArguments, Opened},
    output::{Output, age, lines},
    parked::check_known,
    sinks::{self, Progress, ShardProgress},
    table::Table,
};

/// `outbox-relay cursor show …`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// Only this sink.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// A line for each shard.
    #[arg(long)]
    shards: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Shown {
    /// The last position given out.
    log_end: i64,
    sinks: Vec<Progress>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Opened {
        mut connection,
        configured,
        ..
    } = arguments.database.open().await?;
    let (log_end, mut found) = sinks::look(&mut connection, configured.as_deref()).await?;
    if let Some(sink) = arguments.sink {
        let known = found.iter().map(|progress| progress.sink.clone()).collect();
        check_known(std::slice::from_ref(&sink), known, configured.as_deref())?;
        found.retain(|progress| progress.sink == sink);
    }
    let shown = Shown { log_end, sinks: found };
    arguments.output.print(&shown, |shown| {
        if shown.sinks.is_empty() {
            return "no cursors: no relay has run yet\n".to_owned();
        }
        let mut text = match arguments.shards {
            true => by_shard(&shown.sinks),
            false => by_sink(&shown.sinks),
        };
        for line in shown.sinks.iter().flat_map(sinks::remarks) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    })
}

fn by_sink(sinks: &[Progress]) -> String {
    let mut table = Table::new(&[
        "SINK",
        "#SHARDS",
        "HELD BY",
        "#POSITION",
        "#BEHIND AT MOST",
        "OLDEST",
        "WRITTEN",
        "CONFIGURED",
    ]);
    for sink in sinks {
        table.row([
            sink.sink.clone(),
            sink.shards.len().to_string(),
            sinks::holders(sink),
            sink.position.map(|position| position.to_string()).unwrap_or_default(),
            sink.behind_at_most.map(|events| events.to_string()).unwrap_or_default(),
            sink.oldest_secs.map(age).unwrap_or_default(),
            sink.written_secs.map(|secs| age(secs) + " ago").unwrap_or_default(),
            sinks::configured(sink),
        ]);
    }
    lines(&table)
}

fn by_shard(sinks: &[Progress]) -> String {
    let mut table = Table::new(&[
        "SINK",
        "#SHARD",
        "HELD BY",
        "RELAY",
        "#EPOCH",
        "#POSITION",
        "#BEHIND AT MOST",
        "OLDEST",
        "WRITTEN",
    ]);
    for sink in sinks {
        for shard in &sink.shards {
            table.row([
                sink.sink.clone(),
                shard.shard.to_string(),
                shard.owner.clone().unwrap_or_default(),
                relay(shard),
                shard.epoch.to_string(),
                shard.position.to_string(),
                shard.behind_at_most.to_string(),
                shard.oldest_secs.map(age).unwrap_or_default(),
                age(shard.written_secs) + " ago",
            ]);
        }
    }
    lines(&table)
}

fn relay(shard: &ShardProgress) -> String {
    match (shard.relay_alive, shard.relay_beat_age_secs) {
        (None, _) | (Some(_), None) => String::new(),
        (Some(true), Some(_)) => "alive".to_owned(),
        (Some(false), Some(secs)) => format!("silent for {}", age(secs)),
    }
}
