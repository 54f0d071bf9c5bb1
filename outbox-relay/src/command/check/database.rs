//! The database: the server, the schema, the log and its cursors.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection, Row as _};

use super::{
    clock,
    finding::{Area, Findings},
    rights,
};
use crate::{
    command::{
        newcomers::{Newcomers, beginning},
        output::size,
        run,
        sinks::{self, Progress},
    },
    config::{Config, SinkConfig},
    database::trouble,
    log::{extent, relays},
};

/// Fewer partitions ahead of the log's end than this are worth a look; there are sixteen as a rule.
const FEW_PARTITIONS: i64 = 4;

/// Checks everything that one connection can show.
pub(super) async fn check(config: &Config, findings: &mut Findings) {
    let mut connection = match run::connect(&config.database).await {
        Ok(connection) => connection,
        Err(failure) => return findings.fault(Area::Database, failure.to_string()),
    };
    if let Err(error) = look(config, &mut connection, findings).await {
        findings.fault(Area::Database, trouble::explain(&error));
    }
    let _ = connection.close().await;
}

async fn look(config: &Config, connection: &mut PgConnection, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let is_usable = check_server(config, connection, findings).await?;
    clock::check(connection, findings).await?;
    if !is_usable || !rights::check(connection, config.retention, findings).await? {
        findings.warning(Area::Log, "not checked: what is wrong with the database comes first");
        return Ok(());
    }
    let names: Vec<String> = config.sinks.iter().map(|sink| sink.name.clone()).collect();
    match sinks::look(connection, Some(&names)).await {
        Ok((last_seq, all)) => {
            check_log(connection, last_seq, findings).await?;
            check_newcomers(config, &all, findings);
            for progress in &all {
                let sink = config.sinks.iter().find(|sink| sink.name == progress.sink);
                check_cursors(progress, sink, findings);
            }
        }
        Err(failure) => findings.fault(Area::Log, failure.to_string()),
    }
    check_parked(connection, findings).await?;
    check_relays(connection, findings).await
}

/// The server itself; returns whether a relay can work with it.
async fn check_server(
    config: &Config,
    connection: &mut PgConnection,
    findings: &mut Findings,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
                current_setting('server_encoding') as encoding, pg_is_in_recovery() as is_standby,
                current_setting('transaction_read_only')::bool as is_read_only,
                coalesce((select case when ssl then version end from pg_stat_ssl where pid = pg_backend_pid()), '') as tls",
    )
    .fetch_one(connection)
    .await?;
    let (version, number): (String, i32) = (row.try_get("version")?, row.try_get("number")?);
    let encoding: String = row.try_get("encoding")?;
    let (is_standby, is_read_only): (bool, bool) = (row.try_get("is_standby")?, row.try_get("is_read_only")?);
    let place = config.database.place();
    let mut is_usable = true;
    let mut judge = |is_right: bool, right: String, wrong: String| {
        is_usable &= is_right;
        match is_right {
            true => findings.ok(Area::Database, right),
            false => findings.fault(Area::Database, wrong),
        }
    };
    judge(
        number >= 150_000,
        format!("{place} is Postgres {version}"),
        format!("{place} is Postgres {version}; Oncebox needs 15 or later"),
    );
    judge(
        encoding == "UTF8",
        "its encoding is UTF8".to_owned(),
        format!(
            "its encoding is {encoding}; make a database with: create database … encoding 'UTF8' template template0"
        ),
    );
    judge(
        !is_standby && !is_read_only,
        "it takes writes".to_owned(),
        match is_standby {
            true => "it is a standby, which takes no writes; point database.url at the primary".to_owned(),
            false => "it is read-only; set default_transaction_read_only = off for the relay's role".to_owned(),
        },
    );
    let tls: String = row.try_get("tls")?;
    match (config.database.weakness(), tls.as_str()) {
        (Some(weakness), _) => findings.warning(
            Area::Database,
            format!("{weakness}; database.tls = \"verify-full\" checks all of it"),
        ),
        (None, "") => findings.ok(Area::Database, "the connection is not encrypted, on this machine"),
        (None, tls) => findings.ok(Area::Database, format!("the connection is encrypted ({tls})")),
    }
    Ok(is_usable)
}

async fn check_log(connection: &mut PgConnection, last_seq: i64, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let extent = extent::look(connection, last_seq).await?;
    let partitions = extent.partitions;
    let ahead = partitions.partitions_ahead;
    let fix = "a relay adds them by calling oncebox.ensure_partitions; without any, producers fail: \
               run `select oncebox.ensure_partitions()`";
    match ahead {
        0 => findings.fault(Area::Log, format!("there is no partition ahead of its end; {fix}")),
        1..FEW_PARTITIONS => findings.warning(
            Area::Log,
            format!("there are {ahead} partitions ahead of its end; {fix}"),
        ),
        _ => findings.ok(
            Area::Log,
            format!(
                "ends at {last_seq}, {ahead} partitions are ahead, {} in {} partitions",
                size(partitions.bytes),
                partitions.partitions
            ),
        ),
    }
    Ok(())
}

/// A new sink that `run` would refuse to begin.
fn check_newcomers(config: &Config, all: &[Progress], findings: &mut Findings) {
    let with_cursors = all.iter().filter(|progress| progress.position.is_some());
    let names: Vec<&str> = with_cursors.map(|progress| progress.sink.as_str()).collect();
    if let Some(doubt) = Newcomers::among(&config.sinks, &names).doubt() {
        findings.fault(Area::Configuration, doubt);
    }
}

fn check_cursors(progress: &Progress, sink: Option<&SinkConfig>, findings: &mut Findings) {
    let about = || Area::Cursor(progress.sink.clone());
    if progress.foreign {
        findings.fault(
            about(),
            "they are another cluster's, or ahead of this one: the database was restored or is a copy; run \
             `outbox-relay cursor rebase`",
        );
        return;
    }
    match (sink, progress.position) {
        (None, _) => findings.warning(
            about(),
            format!(
                "no such sink is configured; they keep the log from being freed. If it was renamed: `outbox-relay cursor \
                 rename --sink {name} --to NEW`; if it is gone for good: `outbox-relay cursor delete --sink {name}`",
                name = progress.sink
            ),
        ),
        (Some(sink), None) => findings.ok(
            about(),
            format!("none yet: it will begin {}", beginning(sink.start)),
        ),
        (Some(_), Some(position)) => {
            let behind = progress.behind_at_most.unwrap_or(0);
            findings.ok(about(), format!("at position {position}, at most {behind} events behind"));
        }
    }
}

async fn check_parked(connection: &mut PgConnection, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("select sink, count(*) as events from oncebox.parked group by sink order by sink")
        .fetch_all(connection)
        .await?;
    let mut parked: BTreeMap<String, i64> = BTreeMap::new();
    for row in &rows {
        parked.insert(row.try_get("sink")?, row.try_get("events")?);
    }
    for (sink, events) in parked {
        let text = format!("{events} events are parked; see `outbox-relay parked list --sink {sink}`");
        findings.warning(Area::Cursor(sink), text);
    }
    Ok(())
}

async fn check_relays(connection: &mut PgConnection, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let relays = relays::list(connection).await?;
    let (alive, silent): (Vec<_>, Vec<_>) = relays.iter().partition(|relay| relay.alive);
    let text = match alive.len() {
        0 => "no relay is running".to_owned(),
        1 => "1 relay is running".to_owned(),
        relays => format!("{relays} relays are running"),
    };
    findings.ok(Area::Log, text);
    for relay in silent {
        let (id, age) = (&relay.id, relay.beat_age_secs);
        findings.warning(
            Area::Log,
            format!("relay {id} has not been heard of for {age} s; another relay takes over what it held"),
        );
    }
    Ok(())
}
