//! `oncebox-consumer gap`.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
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

#[tokio::test]
async fn what_was_passed_by_is_given_up_by_a_person_where_there_is_no_room_for_another_one() {
    let scene = Scene::new().await;
    let consumer = scene.consumer();
    assert_eq!(deliver(&consumer, &Message::numbered("k", 1)).await, Outcome::Done);
    // As a thousand that were set aside leave it.
    let missed = (2..=1_001).map(|sequence: i64| sequence.to_string()).collect();
    let plant = scene.client.update_item().table_name(&scene.dedupe);
    plant
        .key("pk", AttributeValue::S(format!("{CONSUMER}#key#k")))
        .update_expression("SET missed = :missed, #last = :last")
        .expression_attribute_names("#last", "last")
        .expression_attribute_values(":missed", AttributeValue::Ns(missed))
        .expression_attribute_values(":last", AttributeValue::N("1001".to_owned()))
        .send()
        .await
        .unwrap();
    let skip = ["gap", "skip", "--key", "k", "--sequence", "1002", "--yes"];
    let full = scene.run(&skip).await;
    assert!(full.code == Some(1) && full.stderr.contains("gap forget"), "{full:?}");

    let forget = ["gap", "forget", "--key", "k"];
    let with = |more: &[&'static str]| [&forget[..], more].concat();
    for (wrong, code, said) in [
        (&["--yes"][..], 2, "--sequence"),
        (&["--sequence", "1", "--yes"], 1, "1 was not passed by"),
        (
            &["--sequence", "2", "--sequence", "1002", "--yes"],
            1,
            "1002 was not passed by",
        ),
        (&["--sequence", "2"], 2, "--yes"),
    ] {
        let refused = scene.run(&with(wrong)).await;
        assert!(
            refused.code == Some(code) && refused.stderr.contains(said),
            "{refused:?}"
        );
    }
    let dry = scene.json(&with(&["--all", "--dry-run"])).await;
    assert_eq!(
        (&dry["dry_run"], dry["forgotten"].as_array().unwrap().len()),
        (&json!(true), 1_000)
    );
    assert_eq!(dry["missed"].as_array().unwrap().len(), 1_000);

    let done = scene
        .json(&with(&["--sequence", "2", "--sequence", "3", "--yes"]))
        .await;
    assert_eq!(
        (&done["action"], &done["forgotten"]),
        (&json!("forget"), &json!([2, 3]))
    );
    assert_eq!(
        (&done["last"], done["missed"].as_array().unwrap().len()),
        (&json!(1_001), 998)
    );
    assert_eq!(scene.run(&skip).await.code, Some(0));
    assert_eq!(deliver(&consumer, &Message::numbered("k", 2)).await, Outcome::Duplicate);
    assert_eq!(deliver(&consumer, &Message::numbered("k", 4)).await, Outcome::Done);

    let all = scene.json(&with(&["--all", "--yes"])).await;
    assert_eq!(all["missed"], json!([]));
    assert_eq!(deliver(&consumer, &Message::numbered("k", 5)).await, Outcome::Duplicate);
    assert_eq!(deliver(&consumer, &Message::numbered("k", 1_003)).await, Outcome::Done);
    let none = scene.run(&with(&["--all", "--yes"])).await;
    assert!(
        none.code == Some(1) && none.stderr.contains("nothing was passed by"),
        "{none:?}"
    );
}

#[tokio::test]
async fn what_has_come_since_somebody_looked_is_not_given_up() {
    let scene = Scene::new().await;
    let consumer = scene.consumer();
    deliver(&consumer, &Message::numbered("k", 1)).await;
    let operator = Operator::new(scene.client.clone(), CONSUMER, &scene.dedupe);
    let first = operator.key("k").await.unwrap();
    let seen = operator.skip("k", 2, &first).await.unwrap();
    assert_eq!(deliver(&consumer, &Message::numbered("k", 2)).await, Outcome::Done);
    let given_up = operator.forget("k", &BTreeSet::from([2]), &seen).await;
    assert!(matches!(given_up, Err(OperatorError::Moved)), "{given_up:?}");
}
