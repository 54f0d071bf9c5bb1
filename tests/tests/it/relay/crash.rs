//! The relay killed by SIGKILL, each time at an exact moment.

use system_tests::Moment;

use super::{
    delivered::{assert_keys_in_order, duplicates, ids},
    scene::Scene,
};

/// Five events for each of four keys, in turn.
async fn commit_some(scene: &Scene) -> Vec<String> {
    let mut committed = Vec::new();
    for _ in 0..5 {
        for key in ["a", "b", "c", "d"] {
            committed.push(scene.database.enqueue(Some(key)).await.unwrap());
        }
    }
    committed
}

/// Holds up key `a` at `moment` while other keys are published and the cursor is saved; then kills
/// the relay. Returns all that was committed.
async fn killed_while_a_is_held(scene: &Scene, moment: Moment) -> Vec<String> {
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(usize::MAX, moment, |request| request.has_key("a"));
    let held = scene.database.enqueue(Some("a")).await.unwrap();
    gate.reached(1).await.unwrap();
    let behind_it = scene.database.enqueue_many(Some("a"), 4).await.unwrap();
    let others = scene.database.enqueue_many(Some("b"), 8).await.unwrap();
    scene.published(&others).await;
    let last = saved_once_more(scene).await;
    relay.kill().await.unwrap();
    gate.discard();
    scene.proxy.heal();
    [vec![held], behind_it, others, vec![last]].concat()
}

/// Publishes one more event and waits until the cursor has been written after that.
async fn saved_once_more(scene: &Scene) -> String {
    let before: String = sqlx::query_scalar("select clock_timestamp()::text")
        .fetch_one(&scene.database.pool)
        .await
        .unwrap();
    let id = scene.database.enqueue(Some("b")).await.unwrap();
    scene.published(std::slice::from_ref(&id)).await;
    system_tests::until("the cursor to be written", async || {
        let written = sqlx::query("select 1 from oncebox.cursor where updated_at > $1::timestamptz limit 1");
        let written = written.bind(&before).fetch_optional(&scene.database.pool).await?;
        anyhow::ensure!(written.is_some(), "not since {before}");
        Ok(())
    })
    .await
    .unwrap();
    id
}

#[tokio::test]
async fn killed_before_its_request_is_applied_it_loses_nothing() {
    let scene = Scene::fifo().await;
    let committed = killed_while_a_is_held(&scene, Moment::BeforeApplied).await;
    assert_eq!(
        scene.sequences("a"),
        [0_i64; 0],
        "nothing of the held key may have arrived yet"
    );

    let _relay = scene.relay().await;
    scene.published(&committed).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(
        scene.sequences("a"),
        [1, 2, 3, 4, 5],
        "what never arrived cannot come twice"
    );
}

#[tokio::test]
async fn killed_between_send_and_cursor_it_repeats_only_what_was_sent() {
    let scene = Scene::fifo().await;
    let committed = killed_while_a_is_held(&scene, Moment::BeforeReply).await;
    let sent_before = scene.proxy.taken().len();
    // Once, or again where the relay has given its answer up before it was killed.
    let mut of_the_held_key = scene.sequences("a");
    of_the_held_key.dedup();
    assert_eq!(
        of_the_held_key,
        [1],
        "the held request was applied, those behind it were not sent"
    );

    let _relay = scene.relay().await;
    scene.published(&committed).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert!(
        duplicates(&taken) <= sent_before,
        "{} copies of {sent_before} events",
        duplicates(&taken)
    );
}

#[tokio::test]
async fn what_a_killed_relay_had_handed_over_may_arrive_late_and_is_then_a_duplicate() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(1, Moment::BeforeApplied, |request| request.is_send());
    let first = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    gate.reached(1).await.unwrap();
    relay.kill().await.unwrap();

    let _relay = scene.relay().await;
    let later = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&[first, later].concat()).await;
    gate.release();
    system_tests::until("the latecomer to arrive", async || {
        let copies = duplicates(&scene.proxy.taken());
        anyhow::ensure!(copies == 1, "{copies} copies");
        Ok(())
    })
    .await
    .unwrap();
    // SQS FIFO drops the latecomer by its deduplication id: six messages, in order.
    let messages = scene.queue.take(6).await.unwrap();
    let sequences: Vec<i64> = messages
        .iter()
        .map(|m| m.envelope().unwrap().sequence.unwrap().get())
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
    assert_eq!(scene.queue.depth().await.unwrap(), 0, "more than six messages");
    assert_keys_in_order(&scene.proxy.taken());
}

#[tokio::test]
async fn killed_after_its_cursor_moved_it_repeats_nothing() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let before = commit_some(&scene).await;
    scene.published(&before).await;
    scene.settled().await;
    relay.kill().await.unwrap();

    let _relay = scene.relay().await;
    let after = commit_some(&scene).await;
    scene.published(&after).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), before.into_iter().chain(after).collect());
    assert_eq!(duplicates(&taken), 0);
}
