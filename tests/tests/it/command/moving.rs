//! What lies between a command's look and its deed: a question to a person, or a relay that goes on.

use anyhow::ensure;
use outbox_relay::{
    log::{
        moving::{self, MoveError},
        page,
        rebase::{self, RebaseError},
        relays::{self, Concerned, Relay, Watched},
        renaming::{self, RenameError},
    },
    parked::change::Outcome,
};
use sqlx::{Connection as _, PgConnection};
use system_tests::until;

use super::scene::Scene;

const SINK: &str = "all";

async fn until_somebody_waits(scene: &Scene) {
    until("a statement to wait for a lock", async || {
        let waiting = scene.database.waiting_for_locks().await?;
        ensure!(waiting == 1, "{waiting} wait");
        Ok(())
    })
    .await
    .unwrap();
}

/// The relays on the list, which stand still for as long as their term.
async fn silent(connection: &mut PgConnection) -> Vec<Relay> {
    match relays::watch(connection, Concerned::All).await.unwrap() {
        Watched::Silent(silent) => silent,
        Watched::Alive(relay) => panic!("{relay} lives"),
    }
}

async fn put_on_the_list(scene: &Scene, relay: &str) {
    scene
        .execute(&format!(
            "insert into oncebox.relay (id, sinks, term_ms) values ('{relay}', '{{{SINK}}}', 100)"
        ))
        .await;
}

#[tokio::test]
async fn a_reset_to_a_time_reads_the_log_without_a_lock_on_the_cursors() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    scene.database.enqueue_many(None, 3).await.unwrap();
    let mut held = scene.database.connect().await.unwrap();
    let mut held = held.begin().await.unwrap();
    sqlx::query("lock oncebox.event in access exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let reset = [
        "cursor",
        "reset",
        "--sink",
        SINK,
        "--to",
        "2026-01-01T00:00:00Z",
        "--yes",
        "--json",
    ];
    let command = scene.command(&reset).start().unwrap();
    until_somebody_waits(&scene).await;
    // It reads, and relays move their cursors.
    let mut relay = scene.database.connect().await.unwrap();
    let moved = sqlx::query("select from oncebox.cursor where sink = $1 for update nowait")
        .bind(SINK)
        .fetch_all(&mut relay)
        .await
        .unwrap();
    assert_eq!(moved.len(), 16);
    held.rollback().await.unwrap();
    let printed = command.ended().await.unwrap();
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(scene.number("select min(epoch) from oncebox.cursor").await, 1);
}

#[tokio::test]
async fn a_time_is_searched_for_over_many_pages() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    scene
        .execute("select oncebox.enqueue('a.v1', '1') from generate_series(1, 41000)")
        .await;
    scene
        .execute("update oncebox.event set time = '2026-01-01T00:00:00Z'")
        .await;
    for (seq, expected) in [(20_000, 19_999), (20_001, 20_000), (41_000, 40_999)] {
        scene
            .execute("update oncebox.event set time = '2026-01-01T00:00:00Z' where time > '2026-01-02'")
            .await;
        scene
            .execute(&format!(
                "update oncebox.event set time = '2026-01-03T00:00:00Z' where seq = {seq}"
            ))
            .await;
        let to = [
            "cursor",
            "reset",
            "--sink",
            SINK,
            "--to",
            "2026-01-02T00:00:00Z",
            "--dry-run",
        ];
        assert_eq!(scene.json(&to).await["to"], expected);
    }
}

#[tokio::test]
async fn a_reset_beside_a_relay_that_moves_its_cursor_is_not_refused() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    let mut relay = scene.database.connect().await.unwrap();
    let mut holder = relay.begin().await.unwrap();
    sqlx::query("select from oncebox.cursor for update")
        .execute(&mut *holder)
        .await
        .unwrap();
    let reset = ["cursor", "reset", "--sink", SINK, "--to", "beginning", "--yes"];
    let command = scene.command(&reset).start().unwrap();
    until_somebody_waits(&scene).await;
    scene.database.enqueue_many(None, 3).await.unwrap();
    let mut looker = scene.database.connect().await.unwrap();
    let now = page::look_on(&mut looker, 0).await.unwrap();
    sqlx::query("update oncebox.cursor set base_next_xid = $1, base_seq = $2")
        .bind(now.next_xid)
        .bind(now.seq_after)
        .execute(&mut *holder)
        .await
        .unwrap();
    holder.commit().await.unwrap();
    let printed = command.ended().await.unwrap();
    assert_eq!(printed.code, Some(0), "{printed:?}");
}

#[tokio::test]
async fn cursors_are_not_deleted_or_renamed_when_a_relay_has_come_since_it_was_looked() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    let mut connection = scene.database.connect().await.unwrap();
    put_on_the_list(&scene, "dead").await;
    scene.execute("update oncebox.cursor set owner = 'dead'").await;
    let watched = silent(&mut connection).await;
    assert_eq!(watched.len(), 1);

    // While somebody reads the question, one beats after all; then another one joins.
    for come in [
        "update oncebox.relay set beat = beat + 1 where id = 'dead'",
        "insert into oncebox.relay (id, sinks, term_ms) values ('new', '{all}', 100)",
    ] {
        scene.execute(come).await;
        let refused = moving::delete(&mut connection, SINK, false, &watched, Outcome::Keep).await;
        assert!(matches!(refused, Err(MoveError::Lives { .. })), "{come}: {refused:?}");
        let refused = renaming::rename(&mut connection, SINK, "other", &watched, Outcome::Keep).await;
        assert!(
            matches!(refused, Err(RenameError::Started { .. })),
            "{come}: {refused:?}"
        );
        scene.execute("update oncebox.relay set beat = 0").await;
    }
    scene.execute("delete from oncebox.relay where id = 'new'").await;
    scene.park(SINK, None, "permanent", "Code").await;
    let refused = moving::delete(&mut connection, SINK, false, &watched, Outcome::Keep).await;
    assert!(
        matches!(refused, Err(MoveError::Parked { parked: 1, .. })),
        "{refused:?}"
    );
    assert_eq!(scene.number("select count(*) from oncebox.cursor").await, 16);
    let deleted = moving::delete(&mut connection, SINK, true, &watched, Outcome::Keep).await;
    assert_eq!(deleted.unwrap(), (16, 1));
}

#[tokio::test]
async fn a_relay_that_has_the_sink_and_holds_no_shard_keeps_its_cursors_from_being_deleted() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    scene
        .execute("insert into oncebox.relay (id, sinks, term_ms) values ('standing-by', '{all}', 60000)")
        .await;
    let pool = scene.database.pool.clone();
    let beating = tokio::spawn(async move {
        while sqlx::query("update oncebox.relay set beat = beat + 1")
            .execute(&pool)
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    });
    let delete = ["cursor", "delete", "--sink", SINK, "--yes"];
    scene.refused(&delete, 1, &["relay standing-by lives"]).await;
    beating.abort();
    let _ = beating.await;
}

#[tokio::test]
async fn nothing_is_rebased_or_adopted_when_a_relay_has_come_since_it_was_looked() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    let mut connection = scene.database.connect().await.unwrap();
    let watched = silent(&mut connection).await;
    put_on_the_list(&scene, "new").await;
    let refused = rebase::rebase(&mut connection, &watched, Outcome::Keep).await;
    assert!(matches!(refused, Err(RebaseError::Lives(_))), "{refused:?}");
    let refused = rebase::adopt(&mut connection, &watched, Outcome::Keep).await;
    assert!(matches!(refused, Err(RebaseError::Lives(_))), "{refused:?}");
    assert_eq!(scene.number("select sum(epoch)::bigint from oncebox.cursor").await, 0);
    let watched = silent(&mut connection).await;
    rebase::rebase(&mut connection, &watched, Outcome::Keep).await.unwrap();
    assert_eq!(scene.number("select count(*) from oncebox.relay").await, 0);
}
