//! `oncebox-consumer record`.

use std::time::{Duration, Instant};

use oncebox_consumer::Outcome;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::scene::{CONSUMER, Message, Scene, deliver};

#[tokio::test]
async fn the_record_of_an_event_is_shown_without_its_payload() {
    let scene = Scene::new().await;
    let message = Message::new();
    let id = message.id.to_string();
    let absent = scene.run(&["record", "show", &id]).await;
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert_eq!(deliver(&scene.consumer(), &message).await, Outcome::Done);
    let record = scene.json(&["record", "show", &id]).await;
    assert!(record["owner"].as_str().unwrap().parse::<Uuid>().is_ok());
    assert!(record["expires"].as_str().unwrap().contains('T'), "{record}");
    let expected = json!({
        "consumer": CONSUMER, "event_id": id, "state": "done", "owner": record["owner"], "fence": null, "beat": null,
        "lease_ms": null, "has_response": false, "expires": record["expires"],
    });
    assert_eq!(record, expected);
}

#[tokio::test]
async fn the_record_of_a_leased_event_tells_its_holder_while_it_works_and_that_there_is_an_answer_when_it_is_done() {
    let scene = Scene::new().await;
    let message = Message::new();
    let id = message.id.to_string();
    let hanging = scene.leased(false);
    let claimed = tokio::select! {
        outcome = deliver(&hanging, &message) => panic!("it has ended: {outcome:?}"),
        claimed = claimed(&scene, &id) => claimed,
    };
    assert!(claimed["owner"].as_str().unwrap().parse::<Uuid>().is_ok());
    assert!(claimed["beat"].is_u64() && claimed["expires"].is_string(), "{claimed}");
    let expected = json!({
        "consumer": CONSUMER, "event_id": id, "state": "claimed", "owner": claimed["owner"], "fence": 1,
        "beat": claimed["beat"], "lease_ms": 15_000, "has_response": false, "expires": claimed["expires"],
    });
    assert_eq!(claimed, expected);
    let text = scene.run(&["record", "show", &id]).await.stdout;
    assert!(
        text.contains("state     claimed") && text.contains("lease     15000 ms"),
        "{text}"
    );

    let other = Message::new();
    assert_eq!(deliver(&scene.leased(true), &other).await, Outcome::Done);
    let done = scene.json(&["record", "show", &other.id.to_string()]).await;
    assert_eq!(
        (&done["state"], &done["fence"], &done["has_response"]),
        (&json!("done"), &json!(1), &json!(true))
    );
}

#[tokio::test]
async fn an_end_that_nobody_knew_is_resolved_by_a_person_and_the_event_is_tried_again_or_a_duplicate() {
    let scene = Scene::new().await;
    for (state, then) in [("done", Outcome::Duplicate), ("released", Outcome::Done)] {
        let message = Message::new();
        let id = message.id.to_string();
        let resolve = ["record", "resolve", &id, "--as", state];
        let absent = scene.run(&[&resolve[..], &["--yes"]].concat()).await;
        assert!(
            absent.code == Some(1) && absent.stderr.contains("has no record"),
            "{absent:?}"
        );
        assert_eq!(deliver(&scene.parking(false), &message).await, Outcome::Permanent);
        // Without a person it stays so.
        assert_eq!(deliver(&scene.parking(true), &message).await, Outcome::Permanent);
        let before = scene.json(&["record", "show", &id]).await;
        assert_eq!(before["state"], "unknown");
        let nobody = scene.run(&resolve).await;
        assert!(nobody.code == Some(2) && nobody.stderr.contains("--yes"), "{nobody:?}");
        let dry = scene.json(&[&resolve[..], &["--dry-run"]].concat()).await;
        assert_eq!(
            (&dry["dry_run"], &dry["state"], &dry["resolved"]),
            (&json!(true), &json!("unknown"), &json!(state))
        );
        assert_eq!(scene.json(&["record", "show", &id]).await, before);

        let done = scene.json(&[&resolve[..], &["--yes"]].concat()).await;
        assert_eq!(
            (&done["dry_run"], &done["state"], &done["fence"]),
            (&json!(false), &json!(state), &before["fence"])
        );
        let mut after = scene.json(&["record", "show", &id]).await;
        assert_eq!(after["owner"], done["owner"]);
        after["state"] = before["state"].clone();
        after["owner"] = before["owner"].clone();
        assert_eq!(after, before, "nothing else has changed");
        let twice = scene.run(&[&resolve[..], &["--yes"]].concat()).await;
        assert!(
            twice.code == Some(1) && twice.stderr.contains(&format!("is `{state}`")),
            "{twice:?}"
        );
        assert_eq!(deliver(&scene.parking(true), &message).await, then);
    }
}

/// The event's record as soon as there is one.
async fn claimed(scene: &Scene, id: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let shown = scene.run(&["record", "show", id, "--json"]).await;
        match shown.code {
            Some(0) => return serde_json::from_str(&shown.stdout).unwrap(),
            _ => assert!(Instant::now() < deadline, "{shown:?}"),
        }
    }
}
