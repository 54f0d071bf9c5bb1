use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use tokio::task::JoinSet;

use crate::database::Database;

const WRITERS: u64 = 8;
const ROUNDS: u64 = 60;
const KEYS: u64 = 5;

/// Writes to a few keys with rollbacks, savepoints and xids taken long before the key's lock.
/// Returns how many events were committed.
async fn write(mut connection: PgConnection, mut random: u64) -> u64 {
    let mut next = move |n: u64| {
        // xorshift64: the same run for the same seed.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let mut committed = 0;
    for _ in 0..ROUNDS {
        let mut transaction = connection.begin().await.unwrap();
        if next(3) == 0 {
            transaction.execute("select pg_current_xact_id()").await.unwrap();
        }
        let mut key = next(KEYS);
        let mut written = 0;
        for _ in 0..=next(3) {
            let is_lost = next(4) == 0;
            if is_lost {
                transaction.execute("savepoint s").await.unwrap();
            }
            sqlx::query("select oncebox.enqueue('a.v1', '{}', key => $1)")
                .bind(format!("key-{key}"))
                .execute(&mut *transaction)
                .await
                .unwrap();
            if is_lost {
                transaction.execute("rollback to savepoint s").await.unwrap();
            } else {
                written += 1;
            }
            // Rising keys within a transaction, so that no two writers wait for each other.
            key = (key + 1).min(KEYS - 1);
        }
        if next(4) == 0 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            committed += written;
        }
    }
    committed
}

#[tokio::test]
async fn the_events_of_a_key_are_numbered_without_a_gap_in_the_order_of_the_log() {
    let database = Database::migrated().await;
    let mut writers = JoinSet::new();
    for writer in 1..=WRITERS {
        writers.spawn(write(database.connect().await, writer * 7_919));
    }
    let committed: u64 = writers.join_all().await.into_iter().sum();
    let mut connection = database.connect().await;
    let rows = sqlx::query("select key, key_seq, bucket from oncebox.event order by seq")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(rows.len() as u64, committed);
    let mut keys: BTreeMap<String, (i64, i16)> = BTreeMap::new();
    for row in rows {
        let bucket: i16 = row.get("bucket");
        let (last, first_bucket) = keys.entry(row.get("key")).or_insert((0, bucket));
        assert_eq!(row.get::<i64, _>("key_seq"), *last + 1);
        assert_eq!(bucket, *first_bucket, "a key stays in its bucket");
        *last += 1;
    }
    assert_eq!(keys.len() as u64, KEYS);
    drop(connection);
    database.drop().await;
}

#[tokio::test]
async fn a_row_lies_above_the_sequence_as_it_was_before_its_transaction_had_an_xid() {
    // What the cursor's base_seq rests on: enqueue takes the xid first, then the number.
    let database = Database::migrated().await;
    let (mut writer, mut other) = (database.connect().await, database.connect().await);
    writer.execute("begin").await.unwrap();
    other.execute("select oncebox.enqueue('a.v1', '1')").await.unwrap();
    let before: i64 = sqlx::query_scalar("select last_value from oncebox.event_seq")
        .fetch_one(&mut other)
        .await
        .unwrap();
    writer
        .execute("select oncebox.enqueue('a.v1', '2', key => 'k')")
        .await
        .unwrap();
    writer.execute("commit").await.unwrap();
    let source: String = sqlx::query_scalar("select prosrc from pg_proc where oid = 'oncebox.enqueue'::regproc")
        .fetch_one(&mut other)
        .await
        .unwrap();
    let first_the_xid = "case when pg_catalog.txid_current() operator(pg_catalog.>) 0 then pg_catalog.nextval(";
    assert_eq!(
        (
            source.matches(first_the_xid).count(),
            source.matches("nextval(").count()
        ),
        (2, 2),
        "CASE is what makes Postgres take the xid before seq"
    );
    let seq: i64 = sqlx::query_scalar("select max(seq) from oncebox.event")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert!(seq > before);
    let cache: i64 =
        sqlx::query_scalar("select seqcache from pg_sequence where seqrelid = 'oncebox.event_seq'::regclass")
            .fetch_one(&mut other)
            .await
            .unwrap();
    assert_eq!(cache, 1, "no session may hold numbers in reserve");
    drop((writer, other));
    database.drop().await;
}

#[tokio::test]
async fn a_writer_that_waits_for_its_key_has_an_xid_and_no_seq_yet() {
    let database = Database::migrated().await;
    let (mut first, mut writer, mut other) = (
        database.connect().await,
        database.connect().await,
        database.connect().await,
    );
    first.execute("begin").await.unwrap();
    let keyed = "select oncebox.enqueue('a.v1', '1', key => 'k')";
    first.execute(keyed).await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut writer)
        .await
        .unwrap();
    let waiting = tokio::spawn(async move {
        writer.execute(keyed).await.unwrap();
    });
    let begin = Instant::now();
    let has_xid = loop {
        let state: (bool, bool) = sqlx::query_as(
            "select coalesce(wait_event_type = 'Lock', false), backend_xid is not null from pg_stat_activity where pid = $1",
        )
        .bind(pid)
        .fetch_one(&mut other)
        .await
        .unwrap();
        if state.0 {
            break state.1;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the writer does not wait");
    };
    let position: i64 = sqlx::query_scalar("select last_value from oncebox.event_seq")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!((has_xid, position), (true, 1), "xid, then the key's lock, then seq");
    first.execute("commit").await.unwrap();
    waiting.await.unwrap();
    drop((first, other));
    database.drop().await;
}

#[tokio::test]
async fn a_caller_that_numbers_its_own_events_is_taken_at_its_word() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    sqlx::query("select oncebox.enqueue('a.v1', '1', key => 'k', headers => '{\"sequence\": 41}')")
        .execute(&mut connection)
        .await
        .unwrap();
    let row = sqlx::query("select key_seq, headers::text from oncebox.event")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<String, _>(1)), (41, "{}".to_owned()));
    drop(connection);
    database.drop().await;
}
