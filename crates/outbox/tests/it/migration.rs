use sqlx::{Executor as _, Row as _};

use crate::database::Database;

#[tokio::test]
async fn migrating_twice_and_from_two_sides_at_once_changes_nothing_more() {
    let database = Database::empty().await;
    let (mut one, mut two) = (database.connect().await, database.connect().await);
    let (first, second) = tokio::join!(oncebox_outbox::migrate(&mut one), oncebox_outbox::migrate(&mut two));
    first.unwrap();
    second.unwrap();
    oncebox_outbox::migrate(&mut one).await.unwrap();
    let applied: i64 = sqlx::query_scalar("select count(*) from oncebox.migration")
        .fetch_one(&mut one)
        .await
        .unwrap();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    assert_eq!(usize::try_from(applied).unwrap(), files.count());
    let foreign: bool = sqlx::query_scalar("select to_regclass('public._sqlx_migrations') is null")
        .fetch_one(&mut one)
        .await
        .unwrap();
    assert!(foreign, "the service's own migrations table is not touched");
    drop((one, two));
    database.drop().await;
}

#[tokio::test]
async fn the_printed_sql_makes_the_same_schema_and_may_run_twice() {
    let (printed, migrated) = (Database::empty().await, Database::migrated().await);
    let mut connection = printed.connect().await;
    for _ in 0..2 {
        connection
            .execute(sqlx::AssertSqlSafe(oncebox_outbox::migration_sql()))
            .await
            .unwrap();
    }
    oncebox_outbox::migrate(&mut connection).await.unwrap();
    let schema = "select table_name::text, column_name::text, data_type::text, is_nullable::text
                  from information_schema.columns where table_schema = 'oncebox' order by 1, ordinal_position";
    let mut other = migrated.connect().await;
    let describe = |rows: Vec<sqlx::postgres::PgRow>| -> Vec<String> {
        rows.iter()
            .map(|row| (0..4).map(|i| row.get::<String, _>(i)).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let by_hand = describe(sqlx::query(schema).fetch_all(&mut connection).await.unwrap());
    let by_us = describe(sqlx::query(schema).fetch_all(&mut other).await.unwrap());
    assert!(by_us.len() > 20);
    assert_eq!(by_hand, by_us);
    drop((connection, other));
    printed.drop().await;
    migrated.drop().await;
}

#[tokio::test]
async fn partitions_are_added_ahead_of_the_end_while_a_writer_is_open() {
    let database = Database::migrated().await;
    let (mut writer, mut keeper) = (database.connect().await, database.connect().await);
    writer
        .execute("select setval('oncebox.event_seq', 5999998)")
        .await
        .unwrap();
    writer.execute("begin").await.unwrap();
    writer.execute("select oncebox.enqueue('a.v1', '1')").await.unwrap();
    keeper.execute("set lock_timeout = '5s'").await.unwrap();
    let added: i32 = sqlx::query_scalar("select oncebox.ensure_partitions()")
        .fetch_one(&mut keeper)
        .await
        .unwrap();
    assert_eq!(
        added, 5,
        "from 17 to 22: the end is in partition 5 and 16 are kept ahead"
    );
    writer.execute("select oncebox.enqueue('a.v1', '2')").await.unwrap();
    writer.execute("commit").await.unwrap();
    let seqs: Vec<i64> = sqlx::query_scalar("select seq from oncebox.event order by seq")
        .fetch_all(&mut keeper)
        .await
        .unwrap();
    assert_eq!(seqs, [5_999_999, 6_000_000], "on both sides of a partition's edge");
    drop((writer, keeper));
    database.drop().await;
}

#[tokio::test]
async fn a_log_without_a_partition_left_says_what_to_do() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    connection
        .execute("select setval('oncebox.event_seq', 16999999)")
        .await
        .unwrap();
    let outbox = crate::transaction::outbox();
    let event = crate::transaction::asked;
    let refused = outbox.enqueue(&mut connection, event()).await.unwrap_err();
    assert!(
        matches!(refused, oncebox_outbox::EnqueueError::NoPartition),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("select oncebox.ensure_partitions()"));
    connection.execute("select oncebox.ensure_partitions()").await.unwrap();
    outbox.enqueue(&mut connection, event()).await.unwrap();
    drop(connection);
    database.drop().await;
}

#[tokio::test]
async fn the_printed_rights_are_those_that_are_given_and_a_name_cannot_leave_its_quotes() {
    let sql = oncebox_outbox::relay_grants("a\"; drop schema oncebox; --");
    assert!(sql.contains("to \"a\"\"; drop schema oncebox; --\";"), "{sql}");
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let role = format!("relay_{}", uuid::Uuid::new_v4().simple());
    let missing = oncebox_outbox::grant_to_relay(&mut connection, &role).await;
    assert!(missing.unwrap_err().to_string().contains("does not exist"));
    connection
        .execute(sqlx::AssertSqlSafe(format!("create role {role}")))
        .await
        .unwrap();
    for _ in 0..2 {
        oncebox_outbox::grant_to_relay(&mut connection, &role).await.unwrap();
    }
    let may: Vec<bool> = sqlx::query_scalar(
        "select has_table_privilege($1, t, p) from (values ('oncebox.event', 'select'), ('oncebox.parked', 'delete'),
           ('oncebox.event', 'insert'), ('oncebox.cursor', 'delete'), ('oncebox.inbox', 'select')) v (t, p)",
    )
    .bind(&role)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(may, [true, true, false, false, false]);
    connection
        .execute(sqlx::AssertSqlSafe(format!("drop owned by {role}; drop role {role}")))
        .await
        .unwrap();
    drop(connection);
    database.drop().await;
}

#[tokio::test]
async fn a_row_of_no_shard_is_refused_by_every_partition_also_in_a_log_that_has_such_a_row() {
    const INSERT: &str =
        "insert into oncebox.event (seq, xid, bucket, bytes, id, type, tenant, kind, source, time, headers, data)
         select nextval('oncebox.event_seq'), pg_current_xact_id()::text::bigint, $1, 1, gen_random_uuid(), 'a.v1',
                'default', 'event', '/x', now(), '{}', '1'";
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    connection
        .execute("alter table oncebox.event drop constraint event_bucket_is_a_byte")
        .await
        .unwrap();
    // From before there was the constraint: a migration must neither fail on it nor read the whole log.
    sqlx::query(INSERT)
        .bind(300_i16)
        .execute(&mut connection)
        .await
        .unwrap();
    connection
        .execute(sqlx::AssertSqlSafe(oncebox_outbox::migration_sql()))
        .await
        .unwrap();
    // In a partition that was there, and in one that was made afterwards.
    for end in [None, Some(16_000_005_i64), Some(17_000_005)] {
        if let Some(end) = end {
            sqlx::query("select setval('oncebox.event_seq', $1), oncebox.ensure_partitions()")
                .bind(end)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        for bucket in [-1_i16, 256] {
            let refused = sqlx::query(INSERT)
                .bind(bucket)
                .execute(&mut connection)
                .await
                .unwrap_err();
            let constraint = refused
                .as_database_error()
                .and_then(|error| error.constraint().map(String::from));
            assert_eq!(constraint.as_deref(), Some("event_bucket_is_a_byte"), "{refused}");
        }
        for bucket in [0_i16, 255] {
            sqlx::query(INSERT).bind(bucket).execute(&mut connection).await.unwrap();
        }
    }
    drop(connection);
    database.drop().await;
}
