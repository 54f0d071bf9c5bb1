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
    assert_eq!(applied, 4);
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
