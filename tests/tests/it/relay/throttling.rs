//! A target that asks to slow down: fewer requests at once, and more again when it does not.

use anyhow::ensure;
use system_tests::{EVERYTHING, Fault, Moment, Relay, RelayConfig, Request, until};

use super::{
    delivered::{duplicates, ids},
    scene::{SINK, Scene},
};

const LIMIT: &str = "oncebox_sink_concurrency_limit";
const IN_FLIGHT: &str = "oncebox_sink_requests_in_flight";

/// Enqueues unkeyed events in one transaction; returns their ids.
async fn enqueue(scene: &Scene, events: i64) -> Vec<String> {
    sqlx::query_scalar("select oncebox.enqueue('test.happened.v1', '{}')::text from generate_series(1, $1)")
        .bind(events)
        .fetch_all(&scene.database.pool)
        .await
        .unwrap()
}

/// A lease that is long enough for a request to be held.
fn config(scene: &Scene) -> RelayConfig {
    let toml = RelayConfig::new(&scene.database)
        .sink(SINK, EVERYTHING, &scene.queue)
        .toml()
        .replace("lease_secs = 2", "lease_secs = 60");
    RelayConfig::from_toml(&toml)
        .env("DATABASE_URL", scene.database.url.as_str())
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint)
}

#[tokio::test]
async fn fewer_requests_go_at_once_while_a_target_throttles_and_more_again_when_it_does_not() {
    let scene = Scene::standard().await;
    let relay = Relay::start(&config(&scene)).await.unwrap();
    let limit_is = async |expected: f64| {
        until(&format!("the limit to be {expected}"), async || {
            let limit = relay.metric(LIMIT, SINK).await?;
            ensure!(limit == expected, "{limit}");
            Ok(())
        })
        .await
        .unwrap();
    };
    limit_is(16.0).await;
    scene.proxy.inject(usize::MAX, Fault::Throttled, Request::is_send);
    let mut committed = enqueue(&scene, 400).await;
    limit_is(1.0).await;
    assert!(relay.failed(SINK, "throttled").await.unwrap() > 0.0);
    assert!(scene.proxy.taken().is_empty());

    // One request goes, and while it has no answer no other does, whatever there is to send.
    scene.proxy.heal();
    let gate = scene.proxy.hold(1, Moment::BeforeApplied, Request::is_send);
    scene.proxy.inject(usize::MAX, Fault::Swallow, Request::is_send);
    gate.reached(1).await.unwrap();
    let sent = scene.proxy.sends().len();
    committed.extend(enqueue(&scene, 100).await);
    until("the relay to have seen the new events", async || {
        let lag = relay.metric("oncebox_sink_lag_events", SINK).await?;
        ensure!(lag == 500.0, "{lag} events behind");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(relay.metric(IN_FLIGHT, SINK).await.unwrap(), 1.0);
    assert_eq!(scene.proxy.sends().len(), sent);
    gate.release();

    // One more for each round of answers: some 140 requests of ten.
    committed.extend(enqueue(&scene, 2_500).await);
    limit_is(16.0).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(duplicates(&taken), 0);
}
