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
