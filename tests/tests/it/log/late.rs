//! What commits late is searched for by stretches that grow: its cost is that of its rows.

use outbox_relay::{
    database::{session::Session, statement::statement},
    log::{
        Seq,
        cursor::Run,
        page::{self, Selection},
    },
};
use sqlx::{Connection as _, PgConnection};

use super::{Reader, WIDE, database, enqueue};

/// What there is to read now.
async fn next_run(reader: &mut Reader) -> Run {
    let target = page::look(&mut reader.session, reader.seq_before).await.unwrap();
    Run {
        base: reader.base.clone(),
        target,
    }
}

/// Blocks of the log's partitions that were read so far, from wherever.
async fn blocks_read(session: &mut Session, other: &mut PgConnection) -> i64 {
    statement("select pg_stat_force_next_flush()::text")
        .fetch_all(session)
        .await
        .unwrap();
    sqlx::query_scalar(
        "select sum(heap_blks_read + heap_blks_hit)::bigint from pg_statio_user_tables where schemaname = 'oncebox' and relname ~ '^event_'",
    )
    .fetch_one(other)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_page_of_a_large_late_transaction_costs_as_much_at_its_end_as_at_its_beginning() {
    let database = database().await;
    let (mut late, mut other) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let mut reader = Reader::at_the_beginning(&database).await;
    // As in a partition that is younger than its first autovacuum.
    sqlx::query("do $$ declare p text; begin for p in select inhrelid::regclass::text from pg_inherits where inhparent = 'oncebox.event'::regclass loop execute 'alter table ' || p || ' set (autovacuum_enabled = off)'; end loop; end $$")
        .execute(&mut other)
        .await
        .unwrap();
    let mut transaction = late.begin().await.unwrap();
    enqueue(&mut transaction, 1, 1).await;
    enqueue(&mut other, 1, 1).await;
    assert_eq!(reader.read(&Selection::default(), WIDE).await.len(), 1);
    enqueue(&mut transaction, 30_000, 200).await;
    enqueue(&mut other, 1, 1).await;
    assert_eq!(reader.read(&Selection::default(), WIDE).await.concat().len(), 1);
    // From now on the log's end is known from before the look.
    assert!(reader.read(&Selection::default(), WIDE).await.is_empty());
    transaction.commit().await.unwrap();
    // What the writer has read counts now, and not in the middle of the reader's pages.
    for writer in [&mut late, &mut other] {
        sqlx::query("select pg_stat_force_next_flush()")
            .execute(writer)
            .await
            .unwrap();
    }

    let run = next_run(&mut reader).await;
    let (mut position, mut rows, mut costs) = (run.start(), 0, Vec::new());
    let mut before = blocks_read(&mut reader.session, &mut other).await;
    while let Some(page) = page::read(&mut reader.session, &run, &Selection::default(), position, WIDE)
        .await
        .unwrap()
    {
        position = page.read_to;
        rows += page.rows.len();
        let after = blocks_read(&mut reader.session, &mut other).await;
        costs.push(after - before);
        before = after;
    }
    assert_eq!(rows, 30_001);
    let (least, most) = (costs.iter().min().unwrap(), costs.iter().max().unwrap());
    assert!(
        *most < 300 && costs.len() > 25,
        "a page of a thousand rows reads the blocks in which they lie: {least} to {most} of {costs:?}"
    );
    assert!(*most > 10, "the statistics count: {costs:?}");
}

#[tokio::test]
async fn late_rows_far_apart_are_found_in_a_few_statements() {
    let database = database().await;
    let (mut late, mut other) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let mut reader = Reader::at_the_beginning(&database).await;
    let mut late = late.begin().await.unwrap();
    let mut expected = Vec::new();
    for gap in [1, 3_000, 900_000, 2_500_000] {
        sqlx::query("select setval('oncebox.event_seq', (select last_value from oncebox.event_seq) + $1)")
            .bind(gap)
            .execute(&mut other)
            .await
            .unwrap();
        enqueue(&mut late, 2, 1).await;
        let last: Seq = sqlx::query_scalar("select last_value from oncebox.event_seq")
            .fetch_one(&mut other)
            .await
            .unwrap();
        expected.extend([last - 1, last]);
    }
    enqueue(&mut other, 1, 1).await;
    assert_eq!(reader.read(&Selection::default(), WIDE).await.concat().len(), 1);
    // From now on the log's end is known from before the look.
    assert!(reader.read(&Selection::default(), WIDE).await.is_empty());
    late.commit().await.unwrap();
    let run = next_run(&mut reader).await;
    let (mut position, mut found, mut pages) = (run.start(), Vec::new(), 0);
    while let Some(page) = page::read(&mut reader.session, &run, &Selection::default(), position, WIDE)
        .await
        .unwrap()
    {
        (position, pages) = (page.read_to, pages + 1);
        found.extend(page.rows.iter().map(|row| row.seq));
    }
    assert_eq!(found, expected);
    assert!(pages < 10, "{pages} pages for 3.4 million positions");
}
