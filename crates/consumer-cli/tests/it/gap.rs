//! `oncebox-consumer gap`.

use oncebox_consumer::{
    Outcome,
    operator::{Operator, OperatorError},
};
use serde_json::json;

use crate::scene::{CONSUMER, Message, Scene, deliver, take_moved_at};

#[tokio::test]
async fn a_lost_predecessor_is_skipped_by_a_person_and_its_successors_go_on() {
    let scene = Scene::new().await;
    let consumer = scene.consumer();
    let [first, lost, third] = [1, 2, 3].map(|sequence| Message::numbered("order-7", sequence));
    assert_eq!(deliver(&consumer, &first).await, Outcome::Done);
    assert_eq!(deliver(&consumer, &third).await, Outcome::Held);

    let mut standing = scene.json(&["gap", "show", "--key", "order-7"]).await;
    take_moved_at(&mut standing);
    let expected = json!({
        "action": "show", "dry_run": false, "consumer": CONSUMER, "key": "order-7",
        "last": 1, "first": 1, "awaited": 2, "missed": [], "skipped": null,
    });
    assert_eq!(standing, expected);

    let mut skipped = scene
        .json(&["gap", "skip", "--key", "order-7", "--sequence", "2", "--yes"])
        .await;
    take_moved_at(&mut skipped);
    let expected = json!({
        "action": "skip", "dry_run": false, "consumer": CONSUMER, "key": "order-7",
        "last": 2, "first": 1, "awaited": 3, "missed": [2], "skipped": 2,
    });
    assert_eq!(skipped, expected);
    assert_eq!(deliver(&consumer, &third).await, Outcome::Done);
    // It was not lost after all.
    assert_eq!(deliver(&consumer, &lost).await, Outcome::Done);
    assert_eq!(deliver(&consumer, &lost).await, Outcome::Duplicate);
    let standing = scene.json(&["gap", "show", "--key", "order-7"]).await;
    assert_eq!((&standing["last"], &standing["missed"]), (&json!(3), &json!([])));
}

#[tokio::test]
async fn nothing_is_skipped_by_a_dry_run_without_a_yes_or_when_another_one_is_awaited() {
    let scene = Scene::new().await;
    let consumer = scene.consumer();
    deliver(&consumer, &Message::numbered("k", 1)).await;
    let skip = |more: &'static [&'static str]| [&["gap", "skip", "--key", "k"][..], more].concat();

    let told = scene.json(&skip(&["--sequence", "2", "--dry-run"])).await;
    assert_eq!(
        (&told["dry_run"], &told["skipped"], &told["last"]),
        (&json!(true), &json!(2), &json!(1))
    );
    let asked = scene.run(&skip(&["--sequence", "2"])).await;
    assert_eq!(asked.code, Some(2), "{asked:?}");
    for wrong in ["1", "3"] {
        let refused = scene
            .run(&["gap", "skip", "--key", "k", "--yes", "--sequence", wrong])
            .await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("waits for sequence 2, not for"), "{refused:?}");
    }
    assert_eq!(scene.json(&["gap", "show", "--key", "k"]).await["last"], json!(1));
    assert_eq!(deliver(&consumer, &Message::numbered("k", 3)).await, Outcome::Held);
}

#[tokio::test]
async fn of_a_key_that_nobody_has_seen_the_first_can_be_skipped() {
    let scene = Scene::new().await;
    let consumer = scene.consumer();
    let second = Message::numbered("new", 2);
    assert_eq!(deliver(&consumer, &second).await, Outcome::Held);
    let standing = scene.json(&["gap", "show", "--key", "new"]).await;
    assert_eq!((&standing["last"], &standing["awaited"]), (&json!(null), &json!(1)));
    assert_eq!(standing["moved_at"], json!(null));
    scene
        .json(&["gap", "skip", "--key", "new", "--sequence", "1", "--yes"])
        .await;
    assert_eq!(deliver(&consumer, &second).await, Outcome::Done);
}

#[tokio::test]
async fn a_table_that_is_not_there_is_told_with_exit_code_3() {
    let mut scene = Scene::new().await;
    scene.dedupe = "no-such-table".to_owned();
    let shown = scene.run(&["gap", "show", "--key", "k"]).await;
    assert_eq!(shown.code, Some(3), "{shown:?}");
    assert!(shown.stderr.contains("`no-such-table`"), "{shown:?}");
}

#[tokio::test]
async fn what_has_come_since_somebody_looked_is_not_skipped() {
    let scene = Scene::new().await;
    let consumer = scene.consumer();
    deliver(&consumer, &Message::numbered("k", 1)).await;
    let operator = Operator::new(scene.client.clone(), CONSUMER, &scene.dedupe);
    let seen = operator.key("k").await.unwrap();
    assert_eq!(deliver(&consumer, &Message::numbered("k", 2)).await, Outcome::Done);
    let skipped = operator.skip("k", seen.awaited, &seen).await;
    assert!(matches!(skipped, Err(OperatorError::Moved)), "{skipped:?}");
    assert!(operator.key("k").await.unwrap().missed.is_empty());
}
