//! A target that refuses the relay's credentials: nobody's message is at fault.

use anyhow::ensure;
use system_tests::{Bus, Fault, Queue, Request, Topic, until};

use super::scene::{EVERY_EVENT, SINK, Scene};
use crate::relay::delivered::{assert_keys_in_order, duplicates, ids};

/// Status and code of a refusal.
type Refusal = (u16, &'static str);

/// Each refusal is counted as one of class `auth`, parks nothing and loses nothing; when it is over,
/// the relay goes on by itself.
async fn are_waited_for(scene: &Scene, lines: &str, refusals: [Refusal; 3]) {
    let relay = scene.relay(lines).await;
    let mut committed = Vec::new();
    for (status, code) in refusals {
        let (failed, taken) = (relay.failed(SINK, "auth").await.unwrap(), scene.proxy.taken().len());
        scene
            .proxy
            .inject(usize::MAX, Fault::Refused(status, code), Request::is_send);
        committed.extend(scene.database.enqueue_many(Some("a"), 3).await.unwrap());
        committed.extend(scene.database.enqueue_many(Some("b"), 3).await.unwrap());
        until("the refusal to be counted more than once", async || {
            let now = relay.failed(SINK, "auth").await?;
            ensure!(now > failed + 6.0, "{code}: {now}, before {failed}");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(scene.proxy.taken().len(), taken, "{code}");
        let parked: i64 = sqlx::query_scalar("select count(*) from oncebox.parked")
            .fetch_one(&scene.database.pool)
            .await
            .unwrap();
        assert_eq!(parked, 0, "{code} is no fault of an event");
        scene.proxy.heal();
        scene.taken(&committed).await;
    }
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(duplicates(&taken), 0);
    assert_eq!(relay.failed(SINK, "permanent").await.unwrap(), 0.0);
    assert_eq!(relay.failed(SINK, "transient").await.unwrap(), 0.0);
}

#[tokio::test]
async fn a_queue_that_refuses_the_credentials_is_waited_for() {
    let scene = Scene::new().await;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let lines = format!("sqs = {{ queue = \"{}\" }}", queue.name);
    let refusals = [
        (403, "AccessDenied"),
        (400, "ExpiredTokenException"),
        (403, "InvalidClientTokenId"),
    ];
    are_waited_for(&scene, &lines, refusals).await;
    assert_keys_in_order(&scene.proxy.taken());
}

#[tokio::test]
async fn a_topic_that_refuses_the_credentials_is_waited_for() {
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let lines = format!("sns = {{ topic = \"{}\" }}", topic.name);
    let refusals = [
        (403, "AuthorizationError"),
        (403, "ExpiredToken"),
        (400, "SignatureDoesNotMatch"),
    ];
    are_waited_for(&scene, &lines, refusals).await;
    assert_keys_in_order(&scene.proxy.taken());
}

#[tokio::test]
async fn a_bus_that_refuses_the_credentials_is_waited_for() {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let bus = Bus::to_queue(&scene.stack, EVERY_EVENT, &queue).await.unwrap();
    let lines = format!("eventbridge = {{ bus = \"{}\" }}", bus.name);
    let refusals = [
        (400, "AccessDeniedException"),
        (400, "ExpiredTokenException"),
        (400, "UnrecognizedClientException"),
    ];
    are_waited_for(&scene, &lines, refusals).await;
}
