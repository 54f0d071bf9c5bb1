//! `oncebox.enqueue` beside a plain INSERT of the same row.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    backlog,
    database::{Database, execute},
    measure::{Bench, median},
    report::{Goal, Section, thousands},
};

/// So many that they and Postgres leave the processor nothing.
const MANY: u32 = 16;
/// The most that enqueue may cost of a plain INSERT's rate, in percent.
const MOST_LOSS: f64 = 10.0;

/// Which statements the goals are about: each with the one that it is compared with.
const ENQUEUE: usize = 2;
const INVOICE_AND_INSERT: usize = 5;
const INVOICE_AND_ENQUEUE: usize = 6;

/// A table that differs from the log's in nothing but how it is filled, and no partitions.
const PLAIN_TABLE: &str = "
    drop schema if exists plain cascade;
    create schema plain;
    create sequence plain.event_seq as bigint;
    create table plain.invoice (id uuid primary key default gen_random_uuid(), body jsonb not null, at timestamptz not null default now());
    create table plain.event (like oncebox.event including all);
    alter table plain.event
      alter seq set default nextval('plain.event_seq'),
      alter xid set default pg_current_xact_id()::text::bigint,
      alter id set default gen_random_uuid(),
      alter time set default now()";

/// Name and statement. `:data` is the text of the event's data. The first one is what the others are
/// compared with.
const STATEMENTS: [(&str, &str); 7] = [
    (
        "INSERT, same table",
        "insert into oncebox.event (seq, xid, bucket, bytes, id, type, tenant, kind, source, time, headers, data)
         values (nextval('oncebox.event_seq'), pg_current_xact_id()::text::bigint, 7, 1024, gen_random_uuid(),
                 'invoice.created.v1', 'default', 'event', '/bench', now(), '{}', :data);",
    ),
    (
        "INSERT, no partitions",
        "insert into plain.event (bucket, bytes, type, tenant, kind, source, headers, data)
         values (7, 1024, 'invoice.created.v1', 'default', 'event', '/bench', '{}', :data);",
    ),
    (
        "enqueue, no key",
        "select oncebox.enqueue('invoice.created.v1', :data, source => '/bench');",
    ),
    (
        "enqueue, no key, traceparent",
        "select oncebox.enqueue('invoice.created.v1', :data, source => '/bench', headers =>
           '{\"traceparent\": \"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}');",
    ),
    (
        "enqueue, 10,000 keys",
        "\\set n random(1, 10000)\nselect oncebox.enqueue('invoice.created.v1', :data, key => 'key-' || :n, source => '/bench');",
    ),
    // What an outbox is for: the event goes with a change of the service's own data.
    (
        "transaction: an invoice, INSERT",
        "begin;
         insert into plain.invoice (body) values (:data);
         insert into oncebox.event (seq, xid, bucket, bytes, id, type, tenant, kind, source, time, headers, data)
         values (nextval('oncebox.event_seq'), pg_current_xact_id()::text::bigint, 7, 1024, gen_random_uuid(),
                 'invoice.created.v1', 'default', 'event', '/bench', now(), '{}', :data);
         commit;",
    ),
    (
        "transaction: an invoice, enqueue",
        "begin;
         insert into plain.invoice (body) values (:data);
         select oncebox.enqueue('invoice.created.v1', :data, source => '/bench');
         commit;",
    ),
];

pub(super) async fn run(bench: &mut Bench) -> Result<Section> {
    let (rounds, secs) = (bench.pick(5, 1), bench.pick(3, 2));
    let pgbench = Pgbench::new(&bench.database, secs).await?;
    let (mut rows, mut goals) = (Vec::new(), Vec::new());
    for (fsync, clients) in [("off", MANY), ("on", MANY), ("on", 1)] {
        bench.database.set("fsync", Some(fsync)).await?;
        let mut rates = vec![Vec::new(); STATEMENTS.len()];
        for _ in 0..rounds {
            let mut connection = bench.database.connect().await?;
            bench.backlog.clear(&mut connection).await?;
            execute(&mut connection, PLAIN_TABLE).await?;
            execute(&mut connection, "checkpoint").await?;
            for (index, rates) in rates.iter_mut().enumerate() {
                rates.push(pgbench.rate(index, clients).await?);
            }
        }
        // Each round is a group, so what else the machine did at that time is in all of it.
        let ratio_to = |index: usize, to: usize| {
            let pairs = rates[index].iter().zip(&rates[to]);
            median(pairs.map(|(rate, plain)| rate / plain))
        };
        let connections = if clients == 1 { "1 connection" } else { "16 connections" };
        for (index, (name, _)) in STATEMENTS.iter().enumerate() {
            rows.push(vec![
                format!("fsync {fsync}, {connections}"),
                (*name).to_owned(),
                thousands(median(rates[index].iter().copied())),
                format!("{:.2}", ratio_to(index, 0)),
            ]);
        }
        // With fsync off the rate is that of the processor alone, which no service with its own work sees.
        if fsync == "on" {
            let mut goal = |what: &str, ratio: f64| {
                let name = format!("{what}, fsync on, {connections}");
                goals.push(Goal::at_most(name, (1.0 - ratio) * 100.0, MOST_LOSS, 1, "%"));
            };
            goal(
                "enqueue without a key below INSERT into the same table",
                ratio_to(ENQUEUE, 0),
            );
            goal(
                "a producer's transaction with enqueue below the same with INSERT",
                ratio_to(INVOICE_AND_ENQUEUE, INVOICE_AND_INSERT),
            );
        }
    }
    bench.database.set("fsync", None).await?;
    execute(&mut bench.database.connect().await?, "drop schema plain cascade").await?;
    Ok(Section {
        title: "Producers",
        about: format!(
            "pgbench with {MANY} connections or one, one event of 1 KB per transaction, prepared; medians of {rounds} \
             alternating rounds of {secs} s. With fsync off nothing waits for a disk, so only the CPU's work is compared. One connection is a producer that waits for its commits; sixteen leave the \
             processor nothing, so that every microsecond counts."
        ),
        header: vec!["server", "statement", "transactions/s", "÷ INSERT"],
        rows,
        goals,
    })
}

/// pgbench with a script per statement.
struct Pgbench {
    program: PathBuf,
    url: String,
    data: String,
    secs: u32,
    folder: TempDir,
}

impl Pgbench {
    async fn new(database: &Database, secs: u32) -> Result<Self> {
        let data = format!("select ({})::text from (select 1 as n) s", backlog::data_sql());
        let data = sqlx::query_scalar(AssertSqlSafe(data))
            .fetch_one(&mut database.connect().await?)
            .await?;
        let folder = TempDir::new()?;
        for (index, (_, statement)) in STATEMENTS.iter().enumerate() {
            fs::write(folder.path().join(format!("{index}.sql")), statement)?;
        }
        Ok(Self {
            program: std::env::var_os("ONCEBOX_POSTGRES_BIN")
                .map(PathBuf::from)
                .unwrap_or_default()
                .join("pgbench"),
            url: database.url.to_string(),
            data,
            secs,
            folder,
        })
    }

    /// Transactions per second of a statement.
    async fn rate(&self, statement: usize, clients: u32) -> Result<f64> {
        let ended = Command::new(&self.program)
            .args([
                "-n",
                "-M",
                "prepared",
                "-c",
                &clients.to_string(),
                "-j",
                "1",
                "-T",
                &self.secs.to_string(),
                "-D",
            ])
            .arg(format!("data={}", self.data))
            .arg("-f")
            .arg(self.folder.path().join(format!("{statement}.sql")))
            .arg(&self.url)
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        ensure!(
            ended.status.success(),
            "pgbench: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
        // `tps = 1234.5 (without initial connection time)`
        let tps = said.lines().find_map(|line| line.strip_prefix("tps = "));
        let tps = tps
            .and_then(|line| line.split(' ').next())
            .context("pgbench told no tps")?;
        Ok(tps.parse()?)
    }
}
