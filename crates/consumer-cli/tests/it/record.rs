//! `oncebox-consumer record`.

use oncebox_consumer::Outcome;
use serde_json::json;
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
