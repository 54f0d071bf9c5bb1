//! Partitions of the log: what is dropped, what holds the others, and that nobody waits.

use anyhow::ensure;
use outbox_relay::{
    database::statement::statement,
    log::{
        cursor::{Base, Run},
        page::{self, PageLimits, Selection},
        parked::Changes,
        store::{self, Start},
    },
};
use sqlx::{Connection as _, PgConnection, postgres::PgDatabaseError};
use system_tests::{
    Database, EVERYTHING, Queue, Relay, RelayConfig, Stack,
    ledger::{self, Attempt, Effect, Effects, History, Outcome, PayloadHash, SetAside, Violation},
    until,
};

use crate::claims::{claim_all, session};

const PARTITION: i64 = 1_000_000;

async fn database() -> Database {
    Database::create(&Stack::from_env().await.unwrap()).await.unwrap()
}

/// Fills the partitions up to here without a million rows each.
async fn jump_to(connection: &mut PgConnection, seq: i64) {
    sqlx::query("select setval('oncebox.event_seq', $1)")
        .bind(seq)
        .execute(connection)
        .await
        .unwrap();
}

async fn enqueue(connection: &mut PgConnection) {
    system_tests::enqueue(connection, Some("a")).await.unwrap();
}

/// Makes everything old.
async fn age(connection: &mut PgConnection) {
    sqlx::query("update oncebox.event set time = now() - interval '30 days'")
        .execute(connection)
        .await
        .unwrap();
}

async fn dropped(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("select partition from oncebox.drop_partitions()")
        .fetch_all(connection)
        .await
        .unwrap()
}

async fn held_by(connection: &mut PgConnection, partition: i64) -> Option<String> {
    sqlx::query_scalar("select held_by from oncebox.partition_status() where from_seq = $1")
        .bind(partition * PARTITION)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Moves a sink's cursors to the log's end as a relay does that has published everything, until no
/// transaction that ran before is left: those of other tests on the server count too.
async fn publish_all(database: &Database, sink: &str) {
    until("the transactions of before to have ended", async || {
        publish_what_ended(database, sink).await;
        let open: i64 = sqlx::query_scalar(
            "select count(*) from oncebox.cursor
              where sink = $1 and least(base_open_floor, (select min(f) from unnest(base_floors) f)) < base_seq",
        )
        .bind(sink)
        .fetch_one(&database.pool)
        .await?;
        ensure!(open == 0, "{open} shards wait");
        Ok(())
    })
    .await
    .unwrap();
}

/// As [`publish_all`], while a transaction is open that the cursors keep in mind.
async fn publish_what_ended(database: &Database, sink: &str) {
    let mut session = session(database).await;
    let mut claims = claim_all(&mut session, sink, "me", Start::Beginning).await;
    // Two looks: what runs while the first one is taken may lie below it.
    for _ in 0..2 {
        let before = page::sequence_position(&mut session).await.unwrap();
        let target = page::look(&mut session, before).await.unwrap();
        for claim in &mut claims {
            let base = claim.place.base.clone();
            let target = target.clone();
            claim.place.base = Run { base, target }.completed();
        }
        store::save(&mut session, sink, &claims, &Changes::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_partition_goes_when_every_cursor_is_past_it_and_it_is_old_and_not_before() {
    let database = database().await;
    let mut connection = database.connect().await.unwrap();
    enqueue(&mut connection).await;
    assert!(held_by(&mut connection, 0).await.unwrap().contains("being written"));
    jump_to(&mut connection, PARTITION + 5).await;
    enqueue(&mut connection).await;
    age(&mut connection).await;
    assert!(held_by(&mut connection, 0).await.unwrap().contains("no sink has run"));
    assert!(dropped(&mut connection).await.is_empty(), "no sink ever ran");

    publish_all(&database, "one").await;
    let mut session = session(&database).await;
    claim_all(&mut session, "two", "me", Start::Beginning).await;
    let reason = held_by(&mut connection, 0).await.unwrap();
    assert!(reason.contains("`two`") && !reason.contains("`one`"), "{reason}");
    assert!(dropped(&mut connection).await.is_empty(), "sink two is behind");

    publish_all(&database, "two").await;
    assert_eq!(held_by(&mut connection, 0).await, None);
    sqlx::query("update oncebox.event set time = now() where seq = 1")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(held_by(&mut connection, 0).await.unwrap(), "the retention");
    assert!(dropped(&mut connection).await.is_empty(), "it is not old");
    age(&mut connection).await;
    assert_eq!(dropped(&mut connection).await, ["event_00000000"]);
    assert!(dropped(&mut connection).await.is_empty());
    let left: Vec<i64> = sqlx::query_scalar("select seq from oncebox.event")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, [PARTITION + 6]);
    let reason = held_by(&mut connection, 1).await.unwrap();
    assert!(reason.contains("being written"), "the last one stays: {reason}");
}

#[tokio::test]
async fn a_shard_without_a_cursor_and_a_sink_that_nobody_runs_hold_a_partition_and_are_named() {
    let database = database().await;
    let mut connection = database.connect().await.unwrap();
    jump_to(&mut connection, PARTITION + 5).await;
    enqueue(&mut connection).await;
    publish_all(&database, "gone").await;
    sqlx::query("delete from oncebox.cursor where shard = 3")
        .execute(&mut connection)
        .await
        .unwrap();
    let reason = held_by(&mut connection, 0).await.unwrap();
    assert!(reason.contains("15 of 16"), "{reason}");
    sqlx::query("delete from oncebox.relay")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("insert into oncebox.relay (id, sinks, term_ms) values ('r', '{other}', 1000)")
        .execute(&mut connection)
        .await
        .unwrap();
    let reason = held_by(&mut connection, 0).await.unwrap();
    assert!(
        reason.contains("delete from oncebox.cursor where sink = 'gone'"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_open_transaction_that_wrote_to_a_partition_holds_it() {
    let database = database().await;
    let (mut connection, mut writer) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let mut open = writer.begin().await.unwrap();
    enqueue(&mut open).await;
    jump_to(&mut connection, PARTITION + 5).await;
    publish_what_ended(&database, "tap").await;
    let reason = held_by(&mut connection, 0).await.unwrap();
    assert!(reason.contains("transactions that may be running"), "{reason}");
    assert!(dropped(&mut connection).await.is_empty());
    // Whatever the cursors say, a lock stands before what is not committed.
    sqlx::query("update oncebox.cursor set base_open_floor = base_seq, base_floors = '{}'")
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = sqlx::query("select oncebox.drop_partitions()")
        .execute(&mut connection)
        .await;
    let refused = refused.unwrap_err();
    let code = refused
        .as_database_error()
        .unwrap()
        .downcast_ref::<PgDatabaseError>()
        .code();
    assert_eq!(code, "55P03", "{refused}");
    open.commit().await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from oncebox.event")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn an_open_transaction_that_has_not_written_yet_holds_nothing_and_loses_nothing() {
    let database = database().await;
    let (mut connection, mut writer) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let mut open = writer.begin().await.unwrap();
    // It has its xid, so cursors know it as running, and has taken no seq.
    sqlx::query("select pg_current_xact_id()")
        .execute(&mut *open)
        .await
        .unwrap();
    enqueue(&mut connection).await;
    jump_to(&mut connection, PARTITION + 5).await;
    enqueue(&mut connection).await;
    age(&mut connection).await;
    publish_what_ended(&database, "tap").await;
    let reason = held_by(&mut connection, 0).await;
    assert!(
        reason.is_some_and(|reason| reason.contains("may be running")),
        "a cursor cannot tell that it has not written"
    );
    // As when the sink first looked after the position had passed: the floors are above the partition.
    sqlx::query("update oncebox.cursor set base_open_floor = base_seq, base_floors = array_fill(base_seq, array[cardinality(base_floors)])")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(dropped(&mut connection).await, ["event_00000000"]);
    enqueue(&mut open).await;
    open.commit().await.unwrap();
    let seqs: Vec<i64> = sqlx::query_scalar("select seq from oncebox.event order by seq")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(seqs, [PARTITION + 6, PARTITION + 7], "it took a seq above the position");
}

#[tokio::test]
async fn writers_wait_half_a_second_at_most_for_a_drop_that_cannot_be() {
    let database = database().await;
    let mut connection = database.connect().await.unwrap();
    jump_to(&mut connection, PARTITION + 5).await;
    publish_all(&database, "tap").await;
    let mut reader = database.connect().await.unwrap();
    let mut open = reader.begin().await.unwrap();
    enqueue(&mut open).await;
    let dropping = tokio::spawn(async move {
        sqlx::query("select oncebox.drop_partitions()")
            .execute(&mut connection)
            .await
    });
    until("the drop to wait", async || {
        ensure!(database.waiting_for_locks().await? > 0, "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let mut writer = database.connect().await.unwrap();
    sqlx::query("set lock_timeout = '3s'")
        .execute(&mut writer)
        .await
        .unwrap();
    system_tests::enqueue(&mut writer, Some("b")).await.unwrap();
    let refused = dropping.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("lock timeout"), "{refused}");
    open.commit().await.unwrap();
}

#[tokio::test]
async fn relays_drop_old_partitions_by_themselves_two_at_once_and_show_the_logs_size() {
    let stack = Stack::from_env().await.unwrap();
    let (database, queue) = (
        Database::create(&stack).await.unwrap(),
        Queue::standard(&stack).await.unwrap(),
    );
    let mut connection = database.connect().await.unwrap();
    for partition in 0..3 {
        jump_to(&mut connection, partition * PARTITION + 1).await;
        enqueue(&mut connection).await;
    }
    age(&mut connection).await;
    publish_all(&database, "all").await;
    sqlx::query("delete from oncebox.relay")
        .execute(&mut connection)
        .await
        .unwrap();
    let config = RelayConfig::new(&database).sink("all", EVERYTHING, &queue);
    let forever = RelayConfig::from_toml(&format!("retention_days = 0\n{}", config.toml()))
        .env("DATABASE_URL", database.url.as_str());
    let keeper = Relay::start(&forever).await.unwrap();
    until("the log's size to show", async || {
        let metrics = keeper.get("/metrics").await?;
        ensure!(metrics.contains("oncebox_log_partitions_ahead 16"), "{metrics}");
        ensure!(!metrics.contains("oncebox_log_size_bytes 0"), "{metrics}");
        Ok(())
    })
    .await
    .unwrap();
    let partitions = async |connection: &mut PgConnection| -> i64 {
        sqlx::query_scalar("select count(*) from oncebox.partition_status() where from_seq < $1")
            .bind(2 * PARTITION)
            .fetch_one(connection)
            .await
            .unwrap()
    };
    assert_eq!(partitions(&mut connection).await, 2, "0 keeps events for ever");
    keeper.stop().await.unwrap();
    let (one, two) = tokio::join!(Relay::start(&config), Relay::start(&config));
    let (_one, _two) = (one.unwrap(), two.unwrap());
    until("the old partitions to be dropped", async || {
        let left = partitions(&mut connection).await;
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_page_of_a_log_with_a_hundred_partitions_touches_the_one_that_it_reads() {
    let database = database().await;
    let mut connection = database.connect().await.unwrap();
    for partition in 0..6 {
        jump_to(&mut connection, partition * 16 * PARTITION + 1).await;
        sqlx::query("select oncebox.ensure_partitions()")
            .execute(&mut connection)
            .await
            .unwrap();
    }
    enqueue(&mut connection).await;
    let mut session = session(&database).await;
    let target = page::look(&mut session, 80 * PARTITION).await.unwrap();
    let run = Run {
        base: Base::beginning(),
        target,
    };
    session.begin_transaction().await.unwrap();
    let limits = PageLimits {
        span: 1_000,
        max_bytes: 1_000_000,
    };
    let page = page::read(&mut session, &run, &Selection::default(), 80 * PARTITION, limits).await;
    assert_eq!(page.unwrap().unwrap().rows.len(), 1);
    let locked: i64 = statement(
        "select count(distinct relation) from pg_locks l join pg_class c on c.oid = l.relation
          where pid = pg_backend_pid() and c.relname ~ '^event_[0-9]+$'",
    )
    .fetch_value(&mut session)
    .await
    .unwrap();
    let partitions: i64 = statement("select count(*) from oncebox.partition_status(null)")
        .fetch_value(&mut session)
        .await
        .unwrap();
    session.roll_back().await.unwrap();
    assert!(partitions >= 96, "{partitions}");
    assert_eq!(locked, 1, "partitions that the plan has to do with");
}

/// The second condition of `oncebox.partition_status` is left out: a partition goes though a cursor may still have a row in it.
const DROPS_TOO_EARLY: &str = "
    alter function oncebox.partition_status(interval) rename to sound_status;
    create function oncebox.partition_status(retention interval default '7 days')
    returns table (partition text, from_seq bigint, to_seq bigint, rows_estimate bigint, bytes bigint,
                   newest timestamptz, free_after timestamptz, held_by text)
    language sql stable security definer set search_path = pg_catalog, pg_temp as $$
      select partition, from_seq, to_seq, rows_estimate, bytes, newest, free_after,
             case when held_by like 'sink %' then null else held_by end
        from oncebox.sound_status(retention)
    $$";

/// What the ledger says of a sink that begins when a retention has run.
async fn found_behind_a_retention(drops_too_early: bool) -> Vec<&'static str> {
    let stack = Stack::from_env().await.unwrap();
    let (database, queue) = (
        Database::create(&stack).await.unwrap(),
        Queue::standard(&stack).await.unwrap(),
    );
    let mut connection = database.connect().await.unwrap();
    let mut history = History::default();
    history.consumer("late", ledger::Order::None);
    for transaction in 0..6 {
        if transaction == 5 {
            jump_to(&mut connection, PARTITION + 5).await;
        }
        let id = system_tests::enqueue(&mut connection, None).await.unwrap();
        let attempt = Attempt {
            key: None,
            wanted_by: vec!["late".to_owned()],
            payload: PayloadHash::of(b"{}"),
            transaction,
            outcome: Outcome::Committed { sequence: None },
        };
        history.attempt(id.parse().unwrap(), attempt);
    }
    age(&mut connection).await;
    let mut behind = session(&database).await;
    claim_all(&mut behind, "late", "me", Start::Beginning).await;
    drop(behind);
    sqlx::query("delete from oncebox.relay")
        .execute(&mut connection)
        .await
        .unwrap();
    if drops_too_early {
        sqlx::raw_sql(DROPS_TOO_EARLY).execute(&mut connection).await.unwrap();
    }
    dropped(&mut connection).await;

    let relay = Relay::start(&RelayConfig::new(&database).sink("late", EVERYTHING, &queue))
        .await
        .unwrap();
    let mut effects = Effects::default();
    until("all that is left to arrive", async || {
        ensure!(database.unpublished("late").await? == 0, "some are not published");
        for message in queue.take_batch().await? {
            let envelope = message.envelope()?;
            effects.record(Effect {
                consumer: "late".to_owned(),
                event: *envelope.id.as_uuid(),
                key: None,
                sequence: None,
                payload: PayloadHash::of(
                    envelope
                        .data
                        .map(|data| data.get().to_owned())
                        .unwrap_or_default()
                        .as_bytes(),
                ),
            });
        }
        ensure!(queue.depth().await? == 0, "some are in the queue");
        Ok(())
    })
    .await
    .unwrap();
    relay.stop().await.unwrap();
    let violations = ledger::check(&history, &effects, &SetAside::default());
    violations.iter().map(Violation::kind).collect()
}

#[tokio::test]
async fn a_partition_that_is_dropped_too_early_is_found_by_the_ledger() {
    assert_eq!(found_behind_a_retention(false).await, [""; 0]);
    assert_eq!(found_behind_a_retention(true).await, ["lost"; 5]);
}
