//! What the relay writes to Postgres.

use anyhow::Result;
use sqlx::PgConnection;

use crate::{
    measure::{Bench, Load},
    report::{Goal, Section, thousands},
};

pub(super) async fn run(bench: &mut Bench) -> Result<Section> {
    let (mut rows, mut dead_rows, mut most) = (Vec::new(), 0, 0.0_f64);
    for (latency_ms, in_flight) in [(5, 16), (0, 32)] {
        let load = Load {
            is_fifo: false,
            latency_ms,
            in_flight,
            events: bench.pick(200_000, 20_000),
        };
        // Written beforehand, so that it is not counted.
        bench.backlog.hold(&bench.database, load.events).await?;
        let mut connection = bench.database.connect().await?;
        let (before, dead_before) = (position(&mut connection).await?, dead(&mut connection).await?);
        bench.relay(&load).await?;
        let bytes = position(&mut connection).await? - before;
        dead_rows += dead(&mut connection).await? - dead_before;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let (bytes, events) = (bytes as f64, load.events as f64);
        most = most.max(bytes / events);
        rows.push(vec![
            load.name(),
            thousands(events),
            thousands(bytes),
            format!("{:.2}", bytes / events),
        ]);
    }
    Ok(Section {
        title: "Write-ahead log",
        about:
            "WAL that was written while the relay published a backlog, its claim and its last save included; nobody \
                else writes. Dead rows are those of the log itself: the relay updates and deletes none."
                .to_owned(),
        header: vec!["load", "events", "bytes of WAL", "bytes per event"],
        rows,
        goals: vec![
            Goal::at_most("WAL per event published", most, 5.0, 2, "bytes"),
            Goal::at_most("rows of the log updated, deleted or dead", dead_rows as f64, 0.0, 0, ""),
        ],
    })
}

async fn position(connection: &mut PgConnection) -> Result<i64> {
    let position = sqlx::query_scalar("select (pg_current_wal_insert_lsn() - '0/0')::bigint");
    Ok(position.fetch_one(connection).await?)
}

/// Rows of the log that somebody made dead.
async fn dead(connection: &mut PgConnection) -> Result<i64> {
    let rows = sqlx::query_scalar(
        "select coalesce(sum(n_tup_upd + n_tup_del + n_dead_tup), 0)::bigint
         from pg_stat_user_tables where schemaname = 'oncebox' and relname like 'event%'",
    );
    Ok(rows.fetch_one(connection).await?)
}
