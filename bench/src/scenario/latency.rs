//! From COMMIT to the target, at a steady rate.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::{
    backlog,
    endpoint::Settings,
    measure::{Bench, Load},
    process::monotonic_ns,
    relay::Relay,
    report::{Goal, Section},
};

const PER_SECOND: u32 = 500;
/// Events at the start that are not counted: plans are made, caches filled.
const WARM_UP: usize = 500;
const MOST_P50_MS: f64 = 10.0;
const MOST_P99_MS: f64 = 30.0;

pub(super) async fn run(bench: &mut Bench) -> Result<Section> {
    let secs = bench.pick(20, 4);
    let (mut rows, mut goals) = (Vec::new(), Vec::new());
    for is_keyed in [false, true] {
        let name = if is_keyed { "keyed, FIFO" } else { "no key, standard" };
        let mut waits = measure(bench, is_keyed, secs).await?;
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index within the list"
            )]
            let index = (waits.len() as f64 * share) as usize;
            waits.get(index.min(waits.len() - 1)).copied().unwrap_or(0.0)
        };
        let shown = [0.5, 0.9, 0.99, 0.999, 1.0].map(|share| format!("{:.1}", at(share)));
        rows.push(
            [name.to_owned(), waits.len().to_string()]
                .into_iter()
                .chain(shown)
                .collect(),
        );
        goals.push(Goal::at_most(
            format!("COMMIT to accepted, {name}, p50"),
            at(0.5),
            MOST_P50_MS,
            1,
            "ms",
        ));
        goals.push(Goal::at_most(
            format!("COMMIT to accepted, {name}, p99"),
            at(0.99),
            MOST_P99_MS,
            1,
            "ms",
        ));
    }
    Ok(Section {
        title: "Latency",
        about: format!(
            "Milliseconds from sending COMMIT until the endpoint has the event, at {PER_SECOND} transactions of one event \
             per second for {secs} s, by one clock. The endpoint answers at once."
        ),
        header: vec!["events", "counted", "p50", "p90", "p99", "p99.9", "most"],
        rows,
        goals,
    })
}

/// Milliseconds that each event took.
async fn measure(bench: &mut Bench, is_keyed: bool, secs: u32) -> Result<Vec<f64>> {
    let load = Load {
        is_fifo: is_keyed,
        latency_ms: 0,
        in_flight: 16,
        events: 0,
    };
    let mut connection = bench.database.connect().await?;
    bench.backlog.clear(&mut connection).await?;
    bench.endpoint.reset(Settings::latency(0)).await?;
    let sink = bench.new_sink(&load);
    let relay = Relay::start(&bench.database, &bench.endpoint, &sink)?;
    let committed = produce(&mut connection, is_keyed, secs * PER_SECOND).await?;
    let waited = bench.endpoint.wait_for(committed.len() as u64).await;
    waited.with_context(|| format!("the relay logged:\n{}", relay.log()))?;
    relay.stop().await?;
    let arrivals = bench.endpoint.arrivals().await?;
    let wait = |(id, at): &(Uuid, u64)| {
        let arrived = arrivals.get(&id.as_u128()).context("an event did not come")?;
        ensure!(arrived >= at, "an event came before it was committed");
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        Ok((arrived - at) as f64 / 1e6)
    };
    committed.iter().skip(WARM_UP).map(wait).collect()
}

/// Enqueues one event per transaction at the steady rate; returns ids and the moments of COMMIT.
async fn produce(connection: &mut PgConnection, is_keyed: bool, events: u32) -> Result<Vec<(Uuid, u64)>> {
    let data = backlog::data_sql();
    let statement = format!(
        "select oncebox.enqueue('invoice.created.v1', {data}, key => case when $2 then 'key-' || (n % 1000) end,
                                source => '/bench', id => $3)
         from (select $1::int as n) s"
    );
    let mut committed = Vec::new();
    let mut ticks = interval(Duration::from_secs(1) / PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begin = Instant::now();
    for number in 0..events {
        ticks.tick().await;
        let id = Uuid::now_v7();
        let mut transaction = connection.begin().await?;
        sqlx::query(AssertSqlSafe(statement.as_str()))
            .bind(i32::try_from(number)?)
            .bind(is_keyed)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        let at = monotonic_ns();
        transaction.commit().await?;
        committed.push((id, at));
    }
    let planned = Duration::from_secs(1) / PER_SECOND * events;
    ensure!(
        begin.elapsed() < planned.mul_f64(1.2),
        "this machine is too busy for {PER_SECOND} transactions a second"
    );
    Ok(committed)
}
