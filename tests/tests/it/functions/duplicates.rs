//! The same message again and again has one effect, in both modes.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{Connection as _, Executor as _};
use system_tests::Moment;
use uuid::Uuid;

use super::scene::{Mode, Scene, some_invoices};

/// The same messages delivered again (same message ids), and sent again (new ones).
async fn again_and_again(mode: Mode) {
    let scene = Scene::of(mode).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<3>();
    let first = scene.batch(invoices.map(|id| scene.message(id)));
    let delivered_twice = first.again();
    let records = invoices.map(|id| scene.message(id));

    assert_eq!(function.invoke(&first).await.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
    for batch in [&delivered_twice, &delivered_twice.again()] {
        assert_eq!(function.invoke(batch).await.unwrap().failures(), [""; 0]);
        scene.assert_once(&invoices).await;
    }
    assert_eq!(
        function.outcomes(),
        [["done"; 3], ["duplicate"; 3], ["duplicate"; 3]].concat()
    );
    // Other events about the same invoices are no copies: the effect is per event, not per invoice.
    function.invoke(&scene.batch(records)).await.unwrap();
    assert!(
        scene.effects().await.values().all(|effects| *effects == 2),
        "{:?}",
        scene.effects().await
    );
}

async fn all_copies_in_one_batch(mode: Mode) {
    let scene = Scene::of(mode).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<2>();
    let [twice, thrice] = invoices.map(|id| scene.message(id));
    let batch = scene.batch([
        thrice.clone(),
        twice.clone(),
        thrice.copy(),
        twice.copy(),
        thrice.copy(),
    ]);

    assert_eq!(function.invoke(&batch).await.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
    let mut outcomes = function.outcomes();
    outcomes.sort();
    assert_eq!(outcomes, ["done", "done", "duplicate", "duplicate", "duplicate"]);
}

#[tokio::test]
async fn a_duplicate_is_known_for_as_many_days_as_the_function_is_told_and_for_35_without() {
    const DAY_SECS: u64 = 24 * 60 * 60;
    for (variables, days) in [(&[][..], 35), (&[("ONCEBOX_DEDUPE_DAYS", "18")][..], 18)] {
        let scene = Scene::of(Mode::Transactional).await;
        let mut function = scene.function_with(variables).await;
        let now_secs = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let before = now_secs();
        function
            .invoke(&scene.batch([scene.message(Uuid::new_v4())]))
            .await
            .unwrap();
        let kept_until = scene.kept_until().await;
        let expected = before + days * DAY_SECS..=now_secs() + days * DAY_SECS;
        assert_eq!(kept_until.len(), 1);
        assert!(
            expected.contains(&kept_until[0]),
            "{kept_until:?} is not in {expected:?}"
        );
    }
}

#[tokio::test]
async fn a_message_delivered_three_times_has_one_effect_in_postgres() {
    again_and_again(Mode::Postgres).await;
}

#[tokio::test]
async fn a_message_delivered_three_times_has_one_effect_in_dynamodb() {
    again_and_again(Mode::Transactional).await;
}

#[tokio::test]
async fn copies_in_one_batch_have_one_effect_in_postgres() {
    all_copies_in_one_batch(Mode::Postgres).await;
}

#[tokio::test]
async fn copies_in_one_batch_have_one_effect_in_dynamodb() {
    all_copies_in_one_batch(Mode::Transactional).await;
}

#[tokio::test]
async fn two_processes_with_one_message_at_the_same_moment_have_one_effect_in_postgres() {
    let scene = Scene::of(Mode::Postgres).await;
    let (mut one, mut other) = (scene.function().await, scene.function().await);
    let invoices = some_invoices::<1>();
    let record = scene.message(invoices[0]);
    let (here, there) = (scene.batch([record.clone()]), scene.batch([record.copy()]));

    // Nobody can look into the inbox until both stand before it.
    let mut keeper = scene.database.connect().await.unwrap();
    let mut lock = keeper.begin().await.unwrap();
    lock.execute("lock table oncebox.inbox in access exclusive mode")
        .await
        .unwrap();
    let both_wait = async {
        system_tests::until("both processes to stand before the inbox", async || {
            let waiting = scene.database.waiting_for_locks().await?;
            anyhow::ensure!(waiting == 2, "{waiting} wait");
            Ok(())
        })
        .await
        .unwrap();
        lock.commit().await.unwrap();
    };
    let (one_said, other_said, ()) = tokio::join!(one.invoke(&here), other.invoke(&there), both_wait);

    assert_eq!(one_said.unwrap().failures(), [""; 0]);
    assert_eq!(other_said.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
    let mut outcomes = [one.outcomes(), other.outcomes()].concat();
    outcomes.sort();
    assert_eq!(outcomes, ["done", "duplicate"]);
}

#[tokio::test]
async fn two_processes_with_one_message_at_the_same_moment_have_one_effect_in_dynamodb() {
    let scene = Scene::of(Mode::Transactional).await;
    let (mut one, mut other) = (scene.function().await, scene.function().await);
    let invoices = some_invoices::<1>();
    let record = scene.message(invoices[0]);
    let (here, there) = (scene.batch([record.clone()]), scene.batch([record.copy()]));

    // Both have read that nobody has done it, and both are about to write.
    let gate = scene.proxy.hold(2, Moment::BeforeApplied, |request| {
        request.operation == "TransactWriteItems"
    });
    let both_write = async {
        gate.reached(2).await.unwrap();
        gate.release();
    };
    let (one_said, other_said, ()) = tokio::join!(one.invoke(&here), other.invoke(&there), both_write);

    assert_eq!(one_said.unwrap().failures(), [""; 0]);
    assert_eq!(other_said.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
    let mut outcomes = [one.outcomes(), other.outcomes()].concat();
    outcomes.sort();
    assert_eq!(outcomes, ["done", "duplicate"]);
}
