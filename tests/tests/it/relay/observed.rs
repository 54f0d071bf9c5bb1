//! What can be seen of a running relay from outside.

use anyhow::ensure;
use system_tests::{Fault, Moment, Request, until};

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
    assert!(
        template.contains("$.fields.message = \"sink state\""),
        "infra/relay.yaml reads other lines"
    );
    let read = template.split("$.fields.").skip(1);
    let read: Vec<&str> = read
        .filter_map(|rest| rest.split(|c: char| c != '_' && !c.is_ascii_alphabetic()).next())
        .collect();
    for needed in ["sink", "lag_seconds", "parked", "ready"] {
        assert!(read.contains(&needed), "infra/relay.yaml reads no {needed}");
    }
    for field in read {
        assert!(
            !state[field].is_null(),
            "infra/relay.yaml reads {field}, which the line has not: {state}"
        );
    }
}

#[tokio::test]
async fn every_number_of_the_metrics_adds_up_with_what_the_target_saw() {
    let scene = Scene::standard().await;
    let relay = scene.relay().await;
    let becomes = async |name: &str, expected: f64| {
        until(&format!("{name} to be {expected}"), async || {
            let value = relay.metric(&format!("oncebox_sink_{name}"), SINK).await?;
            ensure!(value == expected, "it is {value}");
            Ok(())
        })
        .await
        .unwrap();
    };
    becomes("shards", 16.0).await;
    becomes("concurrency_limit", 16.0).await;

    // Nothing has failed yet: what SQS counts as a message's size is what was sent.
    let clean = scene.database.enqueue_many(Some("clean"), 3).await.unwrap();
    scene.published(&clean).await;
    scene.settled().await;
    let size = |message: &system_tests::Message| {
        let of_attributes = message.attributes.iter();
        message.body.len()
            + of_attributes
                .map(|(name, value)| name.len() + "String".len() + value.len())
                .sum::<usize>()
    };
    let bytes: usize = scene.queue.take(3).await.unwrap().iter().map(size).sum();
    becomes("sent_bytes_total", f64::from(u32::try_from(bytes).unwrap())).await;

    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_send);
    let held = vec![scene.database.enqueue(Some("held")).await.unwrap()];
    gate.reached(1).await.unwrap();
    becomes("requests_in_flight", 1.0).await;
    gate.release();
    scene.published(&held).await;
    becomes("requests_in_flight", 0.0).await;

    let is = |key: &'static str| move |request: &Request| request.has_key(key);
    scene.proxy.inject(1, Fault::fail_key("flaky"), is("flaky"));
    scene.proxy.inject(1, Fault::AccessDenied, is("denied"));
    let refused = |entry: &system_tests::Entry| entry.key.as_deref() == Some("bad");
    scene.proxy.inject(1, Fault::refuse(refused), is("bad"));
    for key in ["flaky", "denied", "bad"] {
        scene.database.enqueue(Some(key)).await.unwrap();
        scene.settled().await;
    }
    becomes("parked", 1.0).await;
    // Throttling lowers the limit, to a half at most.
    scene.proxy.inject(1, Fault::Throttled, is("slow"));
    let slow = vec![scene.database.enqueue(Some("slow")).await.unwrap()];
    until("the limit to be lowered", async || {
        let limit = relay.metric("oncebox_sink_concurrency_limit", SINK).await?;
        ensure!((1.0..16.0).contains(&limit), "{limit}");
        Ok(())
    })
    .await
    .unwrap();
    scene.published(&slow).await;
    scene.settled().await;

    let sends = scene.proxy.sends();
    let of_all = |count: fn(&system_tests::Send) -> usize| {
        f64::from(u32::try_from(sends.iter().map(count).sum::<usize>()).unwrap())
    };
    let (requests, messages) = (of_all(|_| 1), of_all(|send| send.entries.len()));
    becomes("requests_total", requests).await;
    becomes("request_duration_seconds_count", requests).await;
    becomes("messages_total", messages).await;
    becomes("sent_events_total", messages).await;
    becomes("published_total", of_all(|send| send.taken.unwrap_or(0))).await;
    becomes("published_total", 7.0).await;
    becomes("failed_total", 4.0).await;
    becomes("lag_events", 0.0).await;
    becomes("lag_seconds", 0.0).await;
    becomes("ready", 1.0).await;
    let text = relay.get("/metrics").await.unwrap();
    for class in ["transient", "throttled", "auth", "permanent"] {
        let line = format!("oncebox_sink_failed_total{{sink=\"{SINK}\",class=\"{class}\"}} 1");
        assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
    }
    let seconds = relay
        .metric("oncebox_sink_request_duration_seconds_sum", SINK)
        .await
        .unwrap();
    assert!(seconds > 0.0, "{seconds}");

    // Leases: another relay gets its half.
    let other = scene.relay().await;
    becomes("shards", 8.0).await;
    other.stop().await.unwrap();
    becomes("shards", 16.0).await;
}
