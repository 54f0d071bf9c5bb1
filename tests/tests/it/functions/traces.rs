//! Traces of functions through OpenTelemetry.

use std::{collections::HashSet, process::Stdio};

use serde_json::{Value, json};
use system_tests::{Batch, OutboxTable, Queue, Record, Stack, binary, invoice_created_message};
use tokio::{net::TcpListener, process::Command};
use uuid::Uuid;

use super::scene::{Mode, Scene, some_invoices};
use crate::collector::{Collector, Received};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SERVER: i32 = 2;
const PRODUCER: i32 = 4;
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

/// An outbox, and a queue for what `take-payment` emits.
async fn emitting() -> (OutboxTable, Queue) {
    let stack = Stack::from_env().await.unwrap();
    (
        OutboxTable::create(&stack).await.unwrap(),
        Queue::standard(&stack).await.unwrap(),
    )
}

#[tokio::test]
async fn what_a_handler_emits_continues_its_span_and_is_sent_below_it_though_another_process_sends_it() {
    let (scene, collector) = (Scene::of(Mode::Transactional).await, Collector::start().await);
    let (outbox, target) = emitting().await;
    // Left by somebody else, in a trace of its own.
    let mut left: Value = serde_json::from_str(&invoice_created_message(Uuid::new_v4()).unwrap()).unwrap();
    left["traceparent"] = json!(trace_parent(7, "01"));
    let letter = (target.url.clone(), left.to_string());
    outbox.plant("take-payment", &[letter]).await.unwrap();
    let variables = [
        (ENDPOINT, collector.endpoint.as_str()),
        ("OUTBOX_TABLE", &outbox.name),
        ("PAYMENT_EVENTS_TARGET", &target.url),
    ];
    let mut function = scene.function_with(&variables).await;
    let [invoice] = some_invoices();
    let cause = traced(invoice, &trace_parent(1, "01"));
    function.invoke(&scene.batch([cause.clone()])).await.unwrap();

    let received = collector.received();
    let one = |name: &str| {
        let found: Vec<&Received> = received.iter().filter(|span| span.name.starts_with(name)).collect();
        assert_eq!(found.len(), 1, "{name}: {received:?}");
        found[0]
    };
    let (invocation, handled, sweep) = (one("take-payment"), one("process"), one("sweep outbox"));
    assert_eq!((&sweep.trace, &sweep.parent), (&invocation.trace, &invocation.id));
    assert_eq!(
        (sweep.attributes["oncebox.sweep.sent"].as_str(), sweep.is_error),
        ("1", false)
    );
    let sent: Vec<&Received> = received.iter().filter(|span| span.kind == PRODUCER).collect();
    assert_eq!(sent.len(), 2, "{received:?}");
    let messages = target.take(2).await.unwrap();
    for span in sent {
        assert_eq!(span.name, format!("send {}", target.name));
        assert_eq!(span.attributes["messaging.destination.name"], target.name);
        let id = &span.attributes["cloudevents.event_id"];
        let message = messages
            .iter()
            .find(|message| message.attributes["ce-id"] == *id)
            .unwrap();
        let envelope = message.envelope().unwrap();
        let parent = envelope.trace_parent.unwrap().to_string();
        let is_left = *id == left["id"].as_str().unwrap();
        let expected = match is_left {
            true => (format!("{:032x}", 7), format!("{:016x}", 7)),
            false => (handled.trace.clone(), handled.id.clone()),
        };
        assert_eq!((&span.trace, &span.parent), (&expected.0, &expected.1));
        assert_eq!(parent, format!("00-{}-{}-01", expected.0, expected.1));
        assert_eq!(envelope.trace_state, None);
    }
    scene.assert_once(&[invoice]).await;

    // Delivered again it is a duplicate: a span, but not that one.
    function.invoke(&scene.batch([cause.again()])).await.unwrap();
    let ids: Vec<String> = collector.received().into_iter().map(|span| span.id).collect();
    let distinct: HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[tokio::test]
async fn where_a_handlers_span_is_not_recorded_what_it_emits_carries_its_producers_context() {
    let collector = Collector::start().await;
    let never = [
        (ENDPOINT, collector.endpoint.as_str()),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ];
    for more in [&never[..], &[]] {
        let scene = Scene::of(Mode::Transactional).await;
        let (outbox, target) = emitting().await;
        let to = [
            ("OUTBOX_TABLE", outbox.name.as_str()),
            ("PAYMENT_EVENTS_TARGET", &target.url),
        ];
        let mut function = scene.function_with(&[&to, more].concat()).await;
        let [invoice] = some_invoices();
        let cause = traced(invoice, &trace_parent(1, "01"));
        function.invoke(&scene.batch([cause])).await.unwrap();
        let emitted = target.take(1).await.unwrap().remove(0).envelope().unwrap();
        let context = (
            emitted.trace_parent.unwrap().to_string(),
            emitted.trace_state.unwrap().as_str().to_owned(),
        );
        assert_eq!(context, (trace_parent(1, "01"), "vendor=1".to_owned()));
    }
    assert!(collector.received().is_empty());
}
