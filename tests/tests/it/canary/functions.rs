//! Functions: their log and metrics at every level, and what they write on dead letters.

use std::time::Duration;

use anyhow::ensure;
use oncebox_envelope::Event as _;
use serde_json::{Value, json};
use system_tests::{
    AwsProxy, Batch, Database, Fault, Function, OutboxTable, Queue, Record, Request, Stack, Tables, Topic, envelope,
    until,
};
use uuid::Uuid;

use super::{Canaries, relay::url_with_password};

struct Scene {
    canaries: Canaries,
    database: Database,
    proxy: AwsProxy,
    queue: Queue,
    dead_letters: Queue,
    tables: Tables,
    outbox: OutboxTable,
    _topic: Topic,
    variables: Vec<(String, String)>,
}

impl Scene {
    async fn new() -> Self {
        let stack = Stack::from_env().await.unwrap();
        let database = Database::create(&stack).await.unwrap();
        database.prepare_invoicing().await.unwrap();
        let proxy = AwsProxy::start(&stack).await.unwrap();
        let dead_letters = Queue::standard(&stack).await.unwrap();
        let tables = Tables::create(&stack).await.unwrap();
        let outbox = OutboxTable::create(&stack).await.unwrap();
        let topic = Topic::standard(&stack).await.unwrap();
        let mut canaries = Canaries::default();
        let url = url_with_password(&database, &canaries.plant("database's password")).await;
        let variables = [
            ("DATABASE_URL", url.to_string()),
            ("DEDUPE_TABLE", tables.dedupe.clone()),
            ("PAYMENTS_TABLE", tables.payments.clone()),
            ("AUDIT_TABLE", tables.audit.clone()),
            ("OUTBOX_TABLE", outbox.name.clone()),
            ("PAYMENT_EVENTS_TARGET", topic.arn.clone()),
            ("ONCEBOX_DLQ_URL", dead_letters.url.clone()),
            ("AWS_ENDPOINT_URL", proxy.endpoint.clone()),
            ("AWS_SECRET_ACCESS_KEY", canaries.plant("AWS secret access key")),
            ("AWS_SESSION_TOKEN", canaries.plant("AWS session token")),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1".to_owned()),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("authorization={}", canaries.plant("collector's token")),
            ),
            ("RUST_LOG", "trace".to_owned()),
        ];
        Self {
            queue: Queue::standard(&stack).await.unwrap(),
            variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
            canaries,
            database,
            proxy,
            dead_letters,
            tables,
            outbox,
            _topic: topic,
        }
    }

    async fn function(&self, name: &str) -> Function {
        let variables = self.variables.iter();
        let variables: Vec<(&str, &str)> = variables.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Function::start(name, &variables).await.unwrap()
    }

    /// Hands over one message; whether it goes back to the queue.
    async fn give(&self, function: &mut Function, body: impl Into<String>) -> bool {
        let mut batch = Batch::of(&self.queue.arn, [Record::new(body)]);
        batch.deadline = Duration::from_secs(10);
        !function.invoke(&batch).await.unwrap().failures().is_empty()
    }

    /// The log has this much, and neither it nor the attributes of these many dead letters have a canary.
    async fn assert_silent(&self, function: &Function, dead: usize, words: &[&str]) {
        let log = function.lines().join("\n");
        for word in words {
            assert!(log.contains(word), "nothing of {word}: {log}");
        }
        self.canaries.assert_absent("a function's log", &log);
        for message in self.dead_letters.take(dead).await.unwrap() {
            let attributes = format!("{:#?}", message.attributes);
            assert!(attributes.contains("oncebox-reason"), "{attributes}");
            self.canaries.assert_absent("a dead letter's attributes", &attributes);
        }
    }
}

/// An envelope with a key and an attribute of its own, whose data holds `secret` in each of these forms; none is one that
/// the handler takes.
fn poison(event_type: &str, kind: &str, secret: &str, header: &str, key: &str) -> Vec<String> {
    let whole = |data: Value| {
        let envelope = envelope(event_type, kind, &data);
        let mut envelope: Value = serde_json::from_str(&envelope).unwrap();
        envelope["partitionkey"] = json!(key);
        envelope["note"] = json!(header);
        envelope
    };
    let good = whole(json!({ "invoice_id": secret, secret: 1 }));
    let changed = |name: &str, value: Value| {
        let mut envelope = good.clone();
        envelope[name] = value;
        envelope.to_string()
    };
    vec![
        format!("{{\"secret\": {secret}"),
        format!("{secret} is no JSON"),
        json!(secret).to_string(),
        json!([secret, { "specversion": secret }]).to_string(),
        json!({ "specversion": "1.0", "data": secret, secret: secret }).to_string(),
        json!({ "Type": "Notification", "Message": secret }).to_string(),
        json!({ "version": "0", "detail-type": event_type, "source": "/tests", "detail": secret }).to_string(),
        good.to_string(),
        whole(json!(secret)).to_string(),
        whole(json!({ "invoice_id": Uuid::nil(), "customer_id": secret, "amount_cents": secret, "currency": secret }))
            .to_string(),
        whole(json!({ "invoice_id": Uuid::nil(), "customer_id": Uuid::nil(), "amount_cents": 1, "currency": secret }))
            .to_string(),
        changed("time", json!(header)),
        changed("sequence", json!(header)),
        changed("expirytime", json!(header)),
        changed("traceparent", json!(header)),
        changed("dataref", json!(format!("s3://bucket/{secret}"))),
        changed("partitionkey", json!([key])),
    ]
}

fn is_transaction(request: &Request) -> bool {
    request.operation == "TransactWriteItems"
}

#[tokio::test]
async fn a_function_with_tables_says_no_secret_at_any_level() {
    let mut scene = Scene::new().await;
    let [secret, header, key] = ["data", "header", "key"].map(|place| scene.canaries.plant(place));
    let mut function = scene.function("take-payment").await;
    // One that succeeds, and one with its id and other data. Both its ids are secret here.
    let customer = Uuid::new_v4();
    scene.canaries.keep("customer", &customer.to_string());
    let invoice = Uuid::new_v4();
    scene.canaries.keep("invoice", &invoice.to_string());
    let data = json!({ "invoice_id": invoice, "customer_id": customer, "amount_cents": 1, "currency": "EUR" });
    let good = || envelope(invoicing_events::InvoiceCreated::TYPE, "event", &data);
    let quoted = |status, code| Fault::Quoted(status, code, invoice.to_string());
    let first = good();
    assert!(!scene.give(&mut function, &first).await);
    let forged = first.replace("\"amount_cents\":1", "\"amount_cents\":2");
    assert_ne!(first, forged);
    assert!(!scene.give(&mut function, forged).await);
    // DynamoDB refuses, quotes, throttles, and answers nothing.
    for fault in [
        quoted(400, "ValidationException"),
        quoted(500, "InternalServerError"),
        Fault::AccessDenied,
        Fault::Throttled,
    ] {
        scene.proxy.inject(usize::MAX, fault.clone(), is_transaction);
        scene.give(&mut function, good()).await;
        scene.proxy.heal();
    }
    scene.proxy.inject(usize::MAX, Fault::LoseReply, is_transaction);
    assert!(!scene.give(&mut function, good()).await);
    scene.proxy.heal();
    // What it emits is refused, by a topic that quotes it: it stays where it is.
    let refused = Fault::Quoted(400, "InvalidParameter", format!("{invoice}"));
    scene.proxy.inject(usize::MAX, refused, Request::is_send);
    assert!(!scene.give(&mut function, good()).await);
    assert!(!scene.outbox.stored().await.unwrap().is_empty());
    scene.proxy.heal();
    let poison = poison(invoicing_events::InvoiceCreated::TYPE, "event", &secret, &header, &key);
    for body in &poison {
        assert!(!scene.give(&mut function, body).await, "{body}");
    }
    // A dead-letter queue that refuses and quotes.
    let is_dead_letter = |request: &Request| request.operation == "SendMessage";
    scene.proxy.inject(
        usize::MAX,
        Fault::Quoted(400, "InvalidMessageContents", secret.clone()),
        is_dead_letter,
    );
    assert!(scene.give(&mut function, &poison[0]).await);
    scene.proxy.heal();
    assert_eq!(scene.tables.bookings().await.unwrap()[&invoice.to_string()], 3);
    let words = [
        "\"_aws\"",
        "payload_mismatch",
        "emitted events were not sent yet",
        "wrong_schema",
        "not_an_envelope",
        "retryable",
    ];
    scene.assert_silent(&function, poison.len() + 1, &words).await;
}

#[tokio::test]
async fn a_function_with_postgres_says_no_secret_at_any_level() {
    let mut scene = Scene::new().await;
    let [secret, header, key] = ["data", "header", "key"].map(|place| scene.canaries.plant(place));
    let mut function = scene.function("create-invoice").await;
    // Postgres shows the whole row that it refuses.
    let customer = Uuid::new_v4();
    scene.canaries.keep("customer", &customer.to_string());
    let command = |cents: u32| {
        let data =
            json!({ "invoice_id": Uuid::new_v4(), "customer_id": customer, "amount_cents": cents, "currency": "EUR" });
        envelope(invoicing_events::CreateInvoice::TYPE, "command", &data)
    };
    assert!(!scene.give(&mut function, command(1)).await);
    sqlx::query("alter table invoicing.invoice add check (amount_cents <> 2)")
        .execute(&scene.database.pool)
        .await
        .unwrap();
    assert!(scene.give(&mut function, command(2)).await, "a check is violated");
    let poison = poison(invoicing_events::CreateInvoice::TYPE, "command", &secret, &header, &key);
    for body in &poison {
        assert!(!scene.give(&mut function, body).await, "{body}");
    }
    // The connection is cut under it.
    scene.database.cut_connections_of_others().await.unwrap();
    scene.give(&mut function, command(1)).await;
    let words = ["\"_aws\"", "check violation", "not_an_envelope"];
    scene.assert_silent(&function, poison.len(), &words).await;
}

#[tokio::test]
async fn a_function_that_cannot_start_says_no_secret() {
    let mut scene = Scene::new().await;
    let secret = scene.canaries.plant("value");
    let password = scene.canaries.text("database's password");
    for (name, variable, value) in [
        (
            "create-invoice",
            "DATABASE_URL",
            format!("postgres://u:{password}@[bad"),
        ),
        (
            "create-invoice",
            "DATABASE_URL",
            format!("postgres://u:{password}@h:port/d"),
        ),
        ("create-invoice", "DATABASE_URL", password.clone()),
        ("create-invoice", "ONCEBOX_DLQ_URL", secret.clone()),
        ("create-invoice", "ONCEBOX_MAX_RECEIVE_COUNT", secret.clone()),
        ("take-payment", "ONCEBOX_DEDUPE_DAYS", secret.clone()),
    ] {
        let mut variables = scene.variables.clone();
        variables.push((variable.to_owned(), value));
        let mut function = Function::launch(name.to_owned(), variables).await.unwrap();
        until(&format!("{name} to end for its {variable}, or to ask"), async || {
            ensure!(function.has_ended()? || function.is_asking(), "it starts");
            Ok(())
        })
        .await
        .unwrap();
        let log = function.lines().join("\n");
        scene
            .canaries
            .assert_absent(&format!("what {name} says of {variable}"), &log);
    }
}
