//! Several relays over one log.

use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::{
    endpoint::Settings,
    measure::{Bench, Load, Measured},
    process,
    relay::Relay,
    report::{Section, thousands},
};

/// Longest until the relays have shared out the shards.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(bench: &mut Bench) -> Result<Section> {
    let load = Load {
        is_fifo: true,
        latency_ms: 5,
        in_flight: 16,
        events: bench.pick(200_000, 20_000),
    };
    let mut rows = Vec::new();
    for relays in bench.relays.clone() {
        let measured = measure(bench, &load, relays).await?;
        // A key with two requests under way belongs to two relays at once, or to one that is wrong.
        ensure!(
            measured.stats.overlaps == 0,
            "{} events were sent while another request with their key was under way",
            measured.stats.overlaps
        );
        rows.push(vec![
            relays.to_string(),
            thousands(measured.rate),
            format!("{:.2}", measured.cpu),
            format!("{:.2}", measured.postgres_cpu),
            format!("{:.0}", measured.rss_mib),
            measured.stats.duplicates.to_string(),
        ]);
    }
    Ok(Section {
        title: "Relays",
        about: format!(
            "{} keyed events to a FIFO queue, 5 ms, 16 requests in flight per relay. No event was lost or out of its \
             key's order, and no key had two requests under way. CPU of all relays in seconds per 100,000 events.",
            thousands(load.events as f64)
        ),
        header: vec![
            "relays",
            "events/s",
            "CPU",
            "CPU of Postgres",
            "peak MiB of one",
            "duplicates",
        ],
        rows,
        goals: Vec::new(),
    })
}

/// Starts the relays over an empty log, and writes the backlog once each has its share of the shards.
async fn measure(bench: &mut Bench, load: &Load, relays: usize) -> Result<Measured> {
    let mut connection = bench.database.connect().await?;
    bench.backlog.clear(&mut connection).await?;
    bench.endpoint.reset(Settings::latency(load.latency_ms)).await?;
    let sink = bench.new_sink(load);
    let running: Result<Vec<Relay>> = (0..relays)
        .map(|_| Relay::start(&bench.database, &bench.endpoint, &sink))
        .collect();
    let running = running?;
    let since = Instant::now();
    while !is_shared_out(&mut connection, &sink.name, relays).await? {
        let logs = || running.iter().map(Relay::log).collect::<Vec<_>>().join("\n");
        ensure!(since.elapsed() < PATIENCE, "the shards are not shared out:\n{}", logs());
        sleep(Duration::from_millis(100)).await;
    }
    let endpoint_before = process::cpu_secs(bench.endpoint.pid()?)?;
    bench.backlog.write(&mut connection, load.events).await?;
    bench.finish(load, running, endpoint_before).await
}

/// Whether so many relays hold the sink's shards, none of them two more than another.
async fn is_shared_out(connection: &mut PgConnection, sink: &str, relays: usize) -> Result<bool> {
    let shared = sqlx::query_scalar(
        "select count(*) = $2 and max(shards) - min(shards) <= 1 and sum(shards) = 16
         from (select count(*) as shards from oncebox.cursor where sink = $1 and owner is not null group by owner) s",
    );
    let shared: Option<bool> = shared
        .bind(sink)
        .bind(i64::try_from(relays)?)
        .fetch_one(connection)
        .await?;
    Ok(shared.unwrap_or(false))
}
