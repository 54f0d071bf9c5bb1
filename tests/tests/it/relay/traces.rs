//! Traces through OpenTelemetry.

use std::collections::HashSet;

use anyhow::ensure;
use serde_json::json;
use system_tests::{Database, Fault, RelayConfig, Request, until};
use tokio::net::TcpListener;

use super::scene::{SINK, Scene};
use crate::collector::{Collector, Received};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

async fn enqueue(database: &Database, trace_parent: Option<&str>) -> String {
    let headers = trace_parent.map_or_else(|| json!({}), |value| json!({"traceparent": value}));
    let enqueued: uuid::Uuid =
        sqlx::query_scalar("select oncebox.enqueue('test.happened.v1', '{}', headers => $1::jsonb)")
            .bind(headers.to_string())
            .fetch_one(&database.pool)
            .await
            .unwrap();
    enqueued.to_string()
}

/// Towards `collector`, without the five seconds that the SDK gathers spans for by default.
fn traced(config: RelayConfig, collector: &str) -> RelayConfig {
    config
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

async fn spans(collector: &Collector, at_least: usize) -> Vec<Received> {
    until(&format!("{at_least} spans to arrive"), async || {
        let received = collector.received();
        ensure!(received.len() >= at_least, "{received:?}");
        Ok(received)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn each_attempt_at_an_event_is_a_span_in_its_producers_trace() {
    let (scene, collector) = (Scene::standard().await, Collector::start().await);
    let relay = system_tests::Relay::start(&traced(scene.config(), &collector.endpoint))
        .await
        .unwrap();
    scene.proxy.inject(1, Fault::Status(500), Request::is_send);
    let id = enqueue(&scene.database, Some(SAMPLED)).await;

    let [failed, confirmed] = spans(&collector, 2).await.try_into().unwrap();
    for span in [&failed, &confirmed] {
        assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, PARENT));
        assert_eq!(span.name, format!("publish {}", scene.queue.name));
        assert_eq!(span.service, "outbox-relay");
        assert_eq!(span.kind, 4, "PRODUCER in opentelemetry/proto/trace/v1");
        assert!(span.nanoseconds > 0);
        for (name, value) in [
            ("messaging.system", "aws_sqs"),
            ("messaging.destination.name", scene.queue.name.as_str()),
            ("messaging.message.id", id.as_str()),
            ("oncebox.sink", SINK),
        ] {
            assert_eq!(span.attributes[name], value);
        }
        assert!(span.attributes["oncebox.age_ms"].parse::<i64>().unwrap() >= 0);
    }
    let told = |span: &Received| ["oncebox.attempt", "oncebox.outcome"].map(|name| span.attributes[name].clone());
    assert_eq!(
        (told(&failed), failed.is_error),
        (["1", "transient"].map(str::to_owned), true)
    );
    assert_eq!(
        (told(&confirmed), confirmed.is_error),
        (["2", "confirmed"].map(str::to_owned), false)
    );

    let message = &scene.queue.take(1).await.unwrap()[0];
    let trace_parent = message.envelope().unwrap().trace_parent.unwrap();
    assert_eq!(
        trace_parent.as_str(),
        SAMPLED,
        "what the producer wrote reaches the consumer"
    );
    assert_eq!(message.attributes["traceparent"], SAMPLED);
    drop(relay);
}

#[tokio::test]
async fn each_event_of_a_bundle_is_traced_though_they_share_a_message() {
    let (scene, collector) = (Scene::standard().await, Collector::start().await);
    let bundling = scene
        .config()
        .toml()
        .replace("\nsqs = ", "\nbundle = { max_events = 3, linger_ms = 10000 }\nsqs = ");
    let config = RelayConfig::from_toml(&bundling)
        .env("DATABASE_URL", scene.database.url.as_str())
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    let _relay = system_tests::Relay::start(&traced(config, &collector.endpoint))
        .await
        .unwrap();
    let mut ids = HashSet::new();
    for _ in 0..3 {
        ids.insert(enqueue(&scene.database, Some(SAMPLED)).await);
    }
    let received = spans(&collector, 3).await;
    let traced = received
        .iter()
        .map(|span| span.attributes["messaging.message.id"].clone());
    assert_eq!(traced.collect::<HashSet<_>>(), ids);
    assert!(
        received
            .iter()
            .all(|span| span.parent == PARENT && span.attributes["oncebox.attempt"] == "1")
    );
    assert_eq!(scene.proxy.sends().len(), 1);
}

#[tokio::test]
async fn what_a_stopping_relay_has_published_is_still_traced_and_what_nobody_traces_is_not() {
    let (scene, collector) = (Scene::standard().await, Collector::start().await);
    // So long that only the end sends what is gathered.
    let config = traced(scene.config(), &collector.endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .env("OTEL_SERVICE_NAME", "my-relay");
    let relay = system_tests::Relay::start(&config).await.unwrap();
    let mut ids = Vec::new();
    for trace_parent in [None, Some(NOT_SAMPLED), Some(SAMPLED)] {
        ids.push(enqueue(&scene.database, trace_parent).await);
    }
    scene.published(&ids).await;
    assert_eq!(collector.received().len(), 0);
    let exit = relay.stop().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.printed);

    let received = collector.received();
    let traced: Vec<&str> = received
        .iter()
        .map(|span| span.attributes["messaging.message.id"].as_str())
        .collect();
    assert_eq!(traced, [ids[2].as_str()]);
    assert_eq!(received[0].service, "my-relay");
}

#[tokio::test]
async fn nothing_is_traced_unless_a_collector_is_named_and_wanted() {
    let (scene, collector) = (Scene::standard().await, Collector::start().await);
    let silent = [
        scene.config().env("OTEL_SERVICE_NAME", "my-relay"),
        traced(scene.config(), &collector.endpoint).env("OTEL_TRACES_EXPORTER", "none"),
    ];
    for config in silent {
        let relay = system_tests::Relay::start(&config).await.unwrap();
        let id = enqueue(&scene.database, Some(SAMPLED)).await;
        scene.published(&[id]).await;
        let exit = relay.stop().await.unwrap();
        assert_eq!(exit.code, Some(0), "{}", exit.printed);
        assert!(!exit.printed.contains("publishing is traced"), "{}", exit.printed);
    }
    assert_eq!(collector.received().len(), 0);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_publishing_nor_the_end() {
    let scene = Scene::standard().await;
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", deaf.local_addr().unwrap());
    let config = traced(scene.config(), &endpoint)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "2")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1");
    let relay = system_tests::Relay::start(&config).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(enqueue(&scene.database, Some(SAMPLED)).await);
    }
    let (_asked, _) = deaf.accept().await.unwrap();
    scene.published(&ids).await;
    scene.settled().await;
    let exit = relay.stop().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.printed);
    assert!(
        exit.printed.contains("the last traces could not be sent"),
        "{}",
        exit.printed
    );
}

#[tokio::test]
async fn variables_that_ask_for_another_protocol_are_refused_at_the_start() {
    let scene = Scene::standard().await;
    let config = traced(scene.config(), "http://127.0.0.1:4317").env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let exit = system_tests::Relay::spawn(&config).unwrap().ended().await.unwrap();
    assert_eq!(exit.code, Some(2), "{}", exit.printed);
    assert!(exit.printed.contains("OTEL_EXPORTER_OTLP_PROTOCOL"), "{}", exit.printed);
}
