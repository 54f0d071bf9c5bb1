//! Traces of functions through OpenTelemetry.

use std::{collections::HashSet, process::Stdio};

use serde_json::{Value, json};
use system_tests::{Batch, Record, binary, invoice_created_message};
use tokio::{net::TcpListener, process::Command};
use uuid::Uuid;

use super::scene::{Mode, Scene, some_invoices};
use crate::collector::{Collector, Received};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SERVER: i32 = 2;
const CONSUMER: i32 = 5;
const LOST: &str = "traces could not be sent";

fn trace_parent(trace: u8, flags: &str) -> String {
    format!("00-{trace:032x}-{trace:016x}-{flags}")
}

/// The message of an invoice, from a producer with a trace.
fn traced(invoice: Uuid, trace_parent: &str) -> Record {
    let mut envelope: Value = serde_json::from_str(&invoice_created_message(invoice).unwrap()).unwrap();
    envelope["traceparent"] = json!(trace_parent);
    envelope["tracestate"] = json!("vendor=1");
    Record::new(envelope.to_string())
}

/// The one span of an invocation, and those of its events in no order.
fn apart(received: Vec<Received>) -> (Received, Vec<Received>) {
    let (mut invocations, events): (Vec<_>, Vec<_>) = received.into_iter().partition(|span| span.kind == SERVER);
    assert_eq!(invocations.len(), 1, "{invocations:?}");
    (invocations.remove(0), events)
}

fn of_message<'a>(events: &'a [Received], record: &Record) -> &'a Received {
    let is_its = |span: &&Received| span.attributes["messaging.message.id"] == record.message_id;
    events.iter().find(is_its).unwrap()
}

#[tokio::test]
async fn each_event_of_a_batch_has_a_span_linked_to_its_producer_before_the_invocation_is_answered() {
    let (scene, collector) = (Scene::of(Mode::Transactional).await, Collector::start().await);
    let mut function = scene.function_with(&[(ENDPOINT, &collector.endpoint)]).await;
    let invoices = some_invoices::<3>();
    let first = traced(invoices[0], &trace_parent(1, "01"));
    // A producer that is not sampled has a trace all the same.
    let second = traced(invoices[1], &trace_parent(2, "00"));
    let (copy, untraced, poison) = (
        first.copy(),
        scene.message(invoices[2]).again(),
        Record::new("{ no json"),
    );
    let records = [&first, &second, &copy, &untraced, &poison];
    let batch = scene.batch(records.map(Clone::clone));
    function.invoke(&batch).await.unwrap();

    // Now, not later: the process may be frozen.
    let (invocation, events) = apart(collector.received());
    assert_eq!(events.len(), 5, "{events:?}");
    assert_eq!(
        (invocation.name.as_str(), invocation.service.as_str()),
        ("take-payment", "take-payment")
    );
    assert_eq!((invocation.parent.as_str(), invocation.links.len()), ("", 0));
    for (name, value) in [
        ("faas.trigger", "pubsub"),
        ("messaging.batch.message_count", "5"),
        ("oncebox.consumer", "take-payment"),
    ] {
        assert_eq!(invocation.attributes[name], value);
    }
    assert!(invocation.attributes["faas.invocation_id"].parse::<Uuid>().is_ok());
    assert!(invocation.attributes["faas.coldstart"].contains("true"));
    for event in &events {
        assert_eq!(event.kind, CONSUMER);
        assert_eq!((&event.trace, &event.parent), (&invocation.trace, &invocation.id));
        assert_eq!(event.name, "process test");
        for (name, value) in [
            ("messaging.system", "aws_sqs"),
            ("messaging.destination.name", "test"),
            ("messaging.operation.type", "process"),
            ("oncebox.consumer", "take-payment"),
        ] {
            assert_eq!(event.attributes[name], value);
        }
    }
    let told = |record: &Record| {
        let span = of_message(&events, record);
        let of = |name: &str| span.attributes.get(name).map(String::as_str);
        (
            of("oncebox.outcome"),
            of("oncebox.attempt"),
            of("cloudevents.event_type"),
            span.is_error,
        )
    };
    let created = Some("invoice.created.v1");
    assert_eq!(told(&first), (Some("done"), Some("1"), created, false));
    assert_eq!(told(&second), (Some("done"), Some("1"), created, false));
    assert_eq!(told(&untraced), (Some("done"), Some("2"), created, false));
    assert_eq!(told(&copy), (Some("duplicate"), None, created, false));
    assert_eq!(told(&poison), (Some("permanent"), Some("1"), None, true));
    assert_eq!(of_message(&events, &poison).attributes["error.type"], "not_an_envelope");

    let link = |trace: u8| vec![(format!("{trace:032x}"), format!("{trace:016x}"), "vendor=1".to_owned())];
    assert_eq!(of_message(&events, &first).links, link(1));
    assert_eq!(of_message(&events, &copy).links, link(1));
    assert_eq!(of_message(&events, &second).links, link(2));
    assert_eq!(of_message(&events, &untraced).links, []);
    // Neither a payload nor a key.
    let shown = format!("{events:?}{invocation:?}");
    assert!(
        invoices.iter().all(|invoice| !shown.contains(&invoice.to_string())),
        "{shown}"
    );
    scene.assert_once(&invoices).await;

    // The next one is another trace, and not the first of its process.
    function.invoke(&scene.batch([untraced.again()])).await.unwrap();
    let received = collector.received();
    let traces: HashSet<&str> = received.iter().map(|span| span.trace.as_str()).collect();
    assert_eq!((received.len(), traces.len()), (8, 2));
    let starts = received.iter().filter_map(|span| span.attributes.get("faas.coldstart"));
    assert_eq!(starts.filter(|start| start.contains("true")).count(), 1);
}

/// A function whose collector does not take its spans.
async fn without_a_collector(endpoint: &str) {
    let scene = Scene::of(Mode::Transactional).await;
    let variables = [(ENDPOINT, endpoint), ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")];
    let mut function = scene.function_with(&variables).await;
    let invoices = some_invoices::<4>();
    let batches: [Batch; 2] = [
        scene.batch([scene.message(invoices[0]), scene.message(invoices[1])]),
        scene.batch([scene.message(invoices[2]), scene.message(invoices[3])]),
    ];
    for batch in &batches {
        assert_eq!(function.invoke(batch).await.unwrap().failures(), [""; 0]);
    }
    scene.assert_once(&invoices).await;
    let lines = function.lines();
    let told = lines.iter().filter(|line| line.contains(LOST)).count();
    assert_eq!(told, 1, "once for all events of all invocations: {lines:?}");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_no_invocation_beyond_the_bound() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    without_a_collector(&format!("http://{}", deaf.local_addr().unwrap())).await;
    let (_asked, _) = deaf.accept().await.unwrap();
}

#[tokio::test]
async fn a_collector_that_is_not_there_fails_no_invocation() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    without_a_collector(&format!("http://{gone}")).await;
}

#[tokio::test]
async fn nothing_is_traced_unless_a_collector_is_named_and_wanted() {
    let (scene, collector) = (Scene::of(Mode::Transactional).await, Collector::start().await);
    let silent = [
        vec![("OTEL_SERVICE_NAME", "mine")],
        vec![
            (ENDPOINT, collector.endpoint.as_str()),
            ("OTEL_TRACES_EXPORTER", "none"),
        ],
        vec![
            (ENDPOINT, collector.endpoint.as_str()),
            ("OTEL_TRACES_SAMPLER", "always_off"),
        ],
    ];
    for variables in silent {
        let mut function = scene.function_with(&variables).await;
        let [invoice] = some_invoices();
        let batch = scene.batch([traced(invoice, &trace_parent(1, "01"))]);
        assert_eq!(function.invoke(&batch).await.unwrap().failures(), [""; 0]);
    }
    assert_eq!(collector.received().len(), 0);
}

#[tokio::test]
async fn a_function_that_is_asked_for_another_protocol_does_not_start_and_names_the_variable() {
    let ended = Command::new(binary("take-payment").unwrap())
        .env("DEDUPE_TABLE", "dedupe")
        .env("PAYMENTS_TABLE", "payments")
        .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")
        .env(ENDPOINT, "http://127.0.0.1:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("OTEL_EXPORTER_OTLP_PROTOCOL"), "{said}");
}
