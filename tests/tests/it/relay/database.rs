//! What the relay needs of its database: rights, cursors of its own, valid rows.

use anyhow::ensure;
use sqlx::AssertSqlSafe;
use system_tests::{Relay, unique, until};

use super::scene::Scene;

#[tokio::test]
async fn the_documented_rights_are_enough_to_produce_and_to_publish() {
    let scene = Scene::standard().await;
    let pool = &scene.database.pool;
    let operations = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md")).unwrap();
    let (_, grants) = operations.split_once("```sql\n").unwrap();
    let (grants, _) = grants.split_once("```").unwrap();
    let role = |documented: &str| (documented.to_owned(), unique(documented).replace('-', "_"));
    let roles = [role("my_service"), role("my_relay"), role("my_function")];
    let mut grants = grants.to_owned();
    for (documented, role) in &roles {
        grants = grants.replace(documented, role);
        sqlx::query(AssertSqlSafe(format!("create role {role} login")))
            .execute(pool)
            .await
            .unwrap();
    }
    sqlx::raw_sql(AssertSqlSafe(grants)).execute(pool).await.unwrap();
    let [service, relay, function] = roles.map(|(_, role)| role);
    // Near the end of its partitions, so that the relay has to add some.
    sqlx::query("select setval('oncebox.event_seq', 15999990)")
        .execute(pool)
        .await
        .unwrap();

    let mut url = scene.database.url.clone();
    url.set_username(&relay).unwrap();
    let _relay = Relay::start(&scene.config().env("DATABASE_URL", url.as_str()))
        .await
        .unwrap();
    until("partitions to be added", async || {
        let partitions: i64 =
            sqlx::query_scalar("select count(*) from pg_inherits where inhparent = 'oncebox.event'::regclass")
                .fetch_one(pool)
                .await?;
        ensure!(partitions > 30, "{partitions} partitions");
        Ok(())
    })
    .await
    .unwrap();
    let mut producer = pool.acquire().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("set role {service}")))
        .execute(&mut *producer)
        .await
        .unwrap();
    let mut committed = Vec::new();
    for _ in 0..20 {
        committed.push(system_tests::enqueue(&mut producer, Some("a")).await.unwrap());
    }
    let around = sqlx::query("insert into oncebox.event select * from oncebox.event")
        .execute(&mut *producer)
        .await;
    assert!(around.is_err(), "enqueue is the only way into the log");
    sqlx::query("reset role").execute(&mut *producer).await.unwrap();
    drop(producer);
    scene.published(&committed).await;
    scene.settled().await;
    for role in [service, relay, function] {
        let drop = format!("drop owned by {role}; drop role {role}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(pool).await.unwrap();
    }
}

#[tokio::test]
async fn cursors_ahead_of_the_database_are_refused_and_not_followed() {
    let scene = Scene::standard().await;
    let relay = scene.relay().await;
    let before = scene.database.enqueue_many(None, 3).await.unwrap();
    scene.published(&before).await;
    relay.stop().await.unwrap();
    for ahead in [
        "base_next_xid = base_next_xid + 1000000",
        "base_seq = base_seq + 1000000",
    ] {
        sqlx::query(AssertSqlSafe(format!(
            "update oncebox.cursor set {ahead} where shard = 3"
        )))
        .execute(&scene.database.pool)
        .await
        .unwrap();
        let exit = Relay::spawn(&scene.config()).unwrap().ended().await.unwrap();
        assert_eq!(exit.code, Some(1), "{}", exit.printed);
        assert!(exit.printed.contains("outbox-relay cursor rebase"), "{}", exit.printed);
        let back = ahead.replace('+', "-");
        sqlx::query(AssertSqlSafe(format!(
            "update oncebox.cursor set {back} where shard = 3"
        )))
        .execute(&scene.database.pool)
        .await
        .unwrap();
    }
    // Nothing was moved: the next relay goes on where the first one ended.
    let _relay = scene.relay().await;
    let after = scene.database.enqueue_many(None, 3).await.unwrap();
    scene.published(&after).await;
    assert_eq!(scene.taken_ids().len(), 6);
}

#[tokio::test]
async fn a_row_that_is_no_valid_event_holds_up_its_key_and_no_other() {
    let scene = Scene::fifo().await;
    let pool = &scene.database.pool;
    // Somebody went around enqueue.
    sqlx::query(
        "insert into oncebox.event (seq, xid, bucket, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data)
         values (nextval('oncebox.event_seq'), pg_current_xact_id()::text::bigint, 1, 2, gen_random_uuid(),
                 'Not A Type', 'bad', 1, 'default', 'event', '/s', now(), '{}', '{}')",
    )
    .execute(pool)
    .await
    .unwrap();
    scene.database.enqueue_many(Some("bad"), 2).await.unwrap();
    let good = scene.database.enqueue_many(Some("good"), 5).await.unwrap();
    let relay = scene.relay().await;
    scene.published(&good).await;
    until("the row to be counted", async || {
        let failed = relay.get("/metrics").await?;
        ensure!(failed.contains("class=\"permanent\""), "no permanent failure");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(scene.taken_ids().len(), 5, "what follows the row in its key waits");
}

#[tokio::test]
async fn a_stuck_event_does_not_stop_what_is_committed_after_it() {
    let scene = Scene::fifo().await;
    let _relay = scene.relay().await;
    scene.proxy.inject(
        usize::MAX,
        system_tests::Fault::fail(|entry| entry.key.as_deref() == Some("stuck")),
        system_tests::Request::is_send,
    );
    let stuck = scene.database.enqueue_many(Some("stuck"), 1).await.unwrap();
    let mut committed = Vec::new();
    for n in 0..150 {
        // A look at the log between two commits: each is a run of its own.
        committed.extend(scene.database.enqueue_many(Some(&format!("key-{n}")), 1).await.unwrap());
        if n % 10 == 0 {
            scene.published(&committed).await;
        }
    }
    scene.published(&committed).await;
    scene.proxy.heal();
    scene.published(&stuck).await;
    scene.settled().await;
}
