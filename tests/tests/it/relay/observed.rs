//! What can be seen of a running relay from outside.

use anyhow::ensure;
use system_tests::{Moment, Request, until};

use super::scene::{SINK, Scene};

#[tokio::test]
async fn metrics_tell_what_was_published_and_how_far_behind_a_sink_is() {
    let scene = Scene::standard().await;
    let relay = scene.relay().await;
    let (status, _) = relay.ask("/healthz").await.unwrap();
    assert_eq!(status, 200);
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, Request::is_send);
    let committed = scene.database.enqueue_many(Some("a"), 7).await.unwrap();
    gate.reached(1).await.unwrap();

    until("the lag to show", async || {
        let events = relay.metric("oncebox_sink_lag_events", SINK).await?;
        let seconds = relay.metric("oncebox_sink_lag_seconds", SINK).await?;
        ensure!(events == 7.0 && seconds > 0.0, "{events} events, {seconds} s");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(relay.metric("oncebox_sink_published_total", SINK).await.unwrap(), 0.0);

    gate.release();
    scene.published(&committed).await;
    relay.caught_up(SINK).await.unwrap();
    assert_eq!(relay.metric("oncebox_sink_published_total", SINK).await.unwrap(), 7.0);
}

#[tokio::test]
async fn a_message_carries_its_envelope_and_the_attributes_of_the_contract() {
    let scene = Scene::fifo().await;
    let _relay = scene.relay().await;
    let id = scene.database.enqueue(Some("order-7")).await.unwrap();

    let messages = scene.queue.take(1).await.unwrap();
    let envelope = messages[0].envelope().unwrap();
    assert_eq!(envelope.id.to_string(), id);
    assert_eq!(envelope.partition_key.unwrap().as_str(), "order-7");
    assert_eq!(envelope.sequence.unwrap().get(), 1);
    let attribute = |name: &str| messages[0].attributes.get(name).map(String::as_str);
    assert_eq!(attribute("ce-id"), Some(id.as_str()));
    assert_eq!(attribute("ce-type"), Some(system_tests::EVENT_TYPE));
    assert_eq!(attribute("ce-kind"), Some("event"));
    assert_eq!(attribute("ce-tenant"), Some("default"));
    assert_eq!(attribute("content-type"), Some("application/cloudevents+json"));
    assert_eq!(messages[0].group.as_deref(), Some("order-7"));
    assert_eq!(messages[0].deduplication_id.as_deref(), Some(id.as_str()));
}

#[tokio::test]
async fn each_sink_gets_what_its_filter_lets_through() {
    let scene = Scene::standard().await;
    let config = system_tests::RelayConfig::new(&scene.database)
        .sink(
            "commands",
            "{ type = \"invoice.create.*\", kind = \"command\" }",
            &scene.queue,
        )
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    let relay = system_tests::Relay::start(&config).await.unwrap();
    for (event_type, kind) in [
        ("invoice.create.v1", "event"),
        ("invoice.created.v1", "command"),
        ("invoice.create.v1", "command"),
    ] {
        sqlx::query("select oncebox.enqueue(type => $1, data => '{}', kind => $2, key => $1 || $2)")
            .bind(event_type)
            .bind(kind)
            .execute(&scene.database.pool)
            .await
            .unwrap();
    }
    relay.caught_up("commands").await.unwrap();
    until("the cursors to be past everything", async || {
        ensure!(scene.database.unpublished("commands").await? == 0, "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let keys: Vec<_> = scene.proxy.taken().into_iter().filter_map(|entry| entry.key).collect();
    assert_eq!(keys, ["invoice.create.v1command"]);
}

#[tokio::test]
async fn the_log_tells_each_sinks_state_as_the_alarms_read_it() {
    let scene = Scene::standard().await;
    let relay = scene.relay().await;
    relay.said("sink state").await.unwrap();
    let exit = relay.stop().await.unwrap();
    let lines = exit.printed.lines().map(|line| serde_json::from_str(line).unwrap());
    let fields = lines.map(|mut line: serde_json::Value| line["fields"].take());
    let state = fields.into_iter().find(|fields| fields["message"] == "sink state");
    let state = state.unwrap_or_else(|| panic!("no state in:\n{}", exit.printed));
    assert_eq!(state["sink"], SINK);
    assert!(state["lag_seconds"].is_number(), "{state}");

    let template = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/relay.yaml"));
    for read in [
        "$.fields.message = \"sink state\"",
        "$.fields.lag_seconds",
        "$.fields.parked",
    ] {
        assert!(template.contains(read), "infra/relay.yaml reads no {read}");
    }
}
