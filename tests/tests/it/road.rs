//! The whole road on LocalStack: templates, event source mappings, redrive, the deployed functions.

use std::{collections::HashSet, fs};

use anyhow::ensure;
use invoicing_events::{InvoiceCreated, PaymentTaken};
use oncebox_envelope::{Event as _, RawEnvelope};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use system_tests::{
    Database, Deployment, OutboxTable, Parameters, Queue, Relay, RelayConfig, Stack, create_invoice_message, envelope,
    invoice_created_message, request_invoice, unique, until,
};
use uuid::Uuid;

const REQUESTS: usize = 20;

struct Road {
    stack: Stack,
    deployment: Deployment,
    database: Database,
}

impl Road {
    async fn new(parameters: &Parameters) -> Self {
        let stack = Stack::from_env().await.unwrap();
        let database = Database::create(&stack).await.unwrap();
        database.prepare_invoicing().await.unwrap();
        let deployment = Deployment::create(&stack, &database, parameters).await.unwrap();
        Self {
            stack,
            deployment,
            database,
        }
    }

    async fn relay(&self) -> Relay {
        let config = RelayConfig::new(&self.database)
            .sink(
                "commands",
                "{ type = \"invoice.create.*\", kind = \"command\" }",
                &self.deployment.commands(),
            )
            .sink(
                "events",
                "{ type = \"invoice.created.*\", kind = \"event\" }",
                &self.deployment.events(),
            )
            .sink("audit", "{ type = \"invoice.*\" }", &self.deployment.audit())
            .env("AWS_ENDPOINT_URL", &self.stack.endpoint);
        Relay::start(&config).await.unwrap()
    }

    /// Waits until each of these invoices has been paid.
    async fn paid(&self, invoices: &HashSet<String>) {
        until("all invoices to be paid", async || {
            let paid: HashSet<String> = self.deployment.tables().bookings().await?.into_keys().collect();
            ensure!(paid.is_superset(invoices), "{} of {}", paid.len(), invoices.len());
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Waits until a deployed function has said `outcome` so many times.
    async fn said(&self, function: &str, outcome: &str, times: usize) {
        let path = self.stack.function_log(function);
        let words = format!("\"outcome\":\"{outcome}\"");
        until(&format!("{function} to say {outcome} {times} times"), async || {
            let said = fs::read_to_string(&path)?
                .lines()
                .filter(|line| line.contains(&words))
                .count();
            ensure!(said >= times, "{said} times");
            Ok(())
        })
        .await
        .unwrap();
    }
}

async fn nothing_left_in(queue: &Queue) {
    until(&format!("{} to be empty", queue.name), async || {
        let depth = queue.depth().await?;
        ensure!(depth == 0, "{depth} messages");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn each_committed_request_is_created_paid_and_audited_once_though_messages_come_twice() {
    let road = Road::new(&Parameters::default()).await;
    let _relay = road.relay().await;
    let mut client = road.database.connect().await.unwrap();
    let (mut invoices, mut commands, mut rolled_back) = (HashSet::new(), Vec::new(), Vec::new());
    for n in 0..REQUESTS {
        let mut transaction = client.begin().await.unwrap();
        let request = request_invoice(&mut transaction, Uuid::from_u128(1 + n as u128 % 4))
            .await
            .unwrap();
        if n % 5 == 4 {
            transaction.rollback().await.unwrap();
            rolled_back.push(request.command_id.to_string());
        } else {
            transaction.commit().await.unwrap();
            invoices.insert(request.invoice_id.to_string());
            commands.push(request.command_id.to_string());
        }
    }
    road.paid(&invoices).await;

    // The same messages once more, from whoever did not hear that they had arrived.
    let outputs = &road.deployment.outputs;
    let copies = copies_of_published(&road.database).await;
    assert_eq!(copies.len(), 2 * invoices.len());
    for (is_command, key, body) in &copies {
        if *is_command {
            road.deployment
                .commands()
                .send(body, Some(key), Some(&unique("copy")))
                .await
                .unwrap();
        } else {
            road.deployment.events().send(body, None, None).await.unwrap();
            road.deployment.audit().send(body, None, None).await.unwrap();
        }
    }
    for function in [
        &outputs.create_invoice_function,
        &outputs.take_payment_function,
        &outputs.audit_tap_function,
    ] {
        road.said(function, "duplicate", invoices.len()).await;
    }
    let events = road.database.events_of(InvoiceCreated::TYPE).await.unwrap();
    let audited: HashSet<String> = commands.into_iter().chain(events).collect();
    until("every command and event to be audited", async || {
        let notes = road.deployment.tables().audit_copies().await?;
        ensure!(notes.len() >= audited.len(), "{} of {}", notes.len(), audited.len());
        Ok(())
    })
    .await
    .unwrap();
    for queue in [
        road.deployment.commands(),
        road.deployment.events(),
        road.deployment.audit(),
    ] {
        nothing_left_in(&queue).await;
    }

    let once = |ids: &HashSet<String>| ids.iter().map(|id| (id.clone(), 1)).collect();
    assert_eq!(road.database.invoices().await.unwrap(), once(&invoices));
    assert_eq!(road.deployment.tables().bookings().await.unwrap(), once(&invoices));
    assert_eq!(road.deployment.tables().audit_copies().await.unwrap(), once(&audited));
    assert!(rolled_back.iter().all(|id| !audited.contains(id)));
}

/// Whether it is a command, its key, and its body as the relay wrote it.
async fn copies_of_published(database: &Database) -> Vec<(bool, String, String)> {
    let rows: Vec<(bool, String, String)> = sqlx::query_as(
        "select kind = 'command', key, jsonb_build_object(
            'specversion', '1.0', 'id', id, 'source', source, 'type', type, 'tenant', tenant, 'kind', kind,
            'time', to_char(time at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'partitionkey', key,
            'sequence', lpad(key_seq::text, 20, '0'), 'data', data)::text
         from oncebox.event order by seq",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert!(
        rows.iter()
            .all(|(_, _, body)| RawEnvelope::from_json(body.as_bytes()).is_ok())
    );
    rows
}

#[tokio::test]
async fn poison_reaches_its_dead_letter_queue_with_its_reason_and_holds_up_nobody() {
    let road = Road::new(&Parameters::default()).await;
    let (commands, events) = (road.deployment.commands(), road.deployment.events());
    let good = [Uuid::new_v4(), Uuid::new_v4()];
    let poison = [
        ("no JSON".to_owned(), "not_an_envelope"),
        (envelope("nobody.knows.v1", "event", &json!({})), "unknown_type"),
        (
            envelope("invoice.create.v1", "command", &json!({ "invoice_id": 7 })),
            "wrong_schema",
        ),
    ];
    // All in one FIFO group: the poison stands in the way of the good ones.
    let mut number = 0;
    let mut send = async |body: &str| {
        number += 1;
        commands
            .send(body, Some("one-group"), Some(&format!("n{number}")))
            .await
            .unwrap();
    };
    send(&create_invoice_message(good[0]).unwrap()).await;
    for (body, _) in &poison {
        send(body).await;
    }
    send(&create_invoice_message(good[1]).unwrap()).await;
    events.send("no JSON either", None, None).await.unwrap();
    events
        .send(&invoice_created_message(good[0]).unwrap(), None, None)
        .await
        .unwrap();

    let dead = road.deployment.commands_dlq().take(poison.len()).await.unwrap();
    let found: Vec<(Value, &str)> = dead
        .iter()
        .map(|message| (meaning(&message.body), message.attributes["oncebox-reason"].as_str()))
        .collect();
    let expected: Vec<(Value, &str)> = poison.iter().map(|(body, reason)| (meaning(body), *reason)).collect();
    assert_eq!(found, expected, "in order, each with its own body and reason");
    let dead = road.deployment.events_dlq().take(1).await.unwrap();
    assert_eq!(
        (dead[0].body.as_str(), dead[0].attributes["oncebox-reason"].as_str()),
        ("no JSON either", "not_an_envelope")
    );

    road.paid(&HashSet::from([good[0].to_string()])).await;
    nothing_left_in(&commands).await;
    nothing_left_in(&events).await;
    let rows: Vec<Uuid> = sqlx::query_scalar("select invoice_id from invoicing.invoice order by id")
        .fetch_all(&road.database.pool)
        .await
        .unwrap();
    assert_eq!(rows, good);
}

/// LocalStack writes JSON bodies anew on their way to a function: same JSON, other bytes.
fn meaning(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| json!(body))
}

#[tokio::test]
async fn what_fails_for_a_while_is_delivered_again_in_the_order_of_its_key() {
    // A short timeout makes a short visibility timeout: six seconds.
    let road = Road::new(&Parameters {
        function_timeout_secs: 1,
        max_receive_count: 50,
    })
    .await;
    let [first, second, third, other] = [(); 4].map(|()| Uuid::new_v4());
    let mut connection = road.database.connect().await.unwrap();
    let refuse = format!(
        "create function invoicing.refuse() returns trigger language plpgsql as $$
         begin raise exception 'not now' using errcode = 'serialization_failure'; end $$;
         create trigger refuse before insert on invoicing.invoice
         for each row when (new.invoice_id = '{second}') execute function invoicing.refuse()"
    );
    connection.execute(sqlx::AssertSqlSafe(refuse)).await.unwrap();
    let commands = road.deployment.commands();
    for (invoice, group) in [(first, "a"), (second, "a"), (third, "a"), (other, "b")] {
        let body = create_invoice_message(invoice).unwrap();
        commands
            .send(&body, Some(group), Some(&invoice.to_string()))
            .await
            .unwrap();
    }
    road.said(&road.deployment.outputs.create_invoice_function, "retryable", 1)
        .await;
    until("the neighbours to be created", async || {
        let created = road.database.invoices().await?;
        ensure!(
            created.contains_key(&first.to_string()) && created.contains_key(&other.to_string()),
            "{created:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
    assert!(
        !road.database.invoices().await.unwrap().contains_key(&third.to_string()),
        "it overtook its predecessor"
    );

    connection
        .execute("drop trigger refuse on invoicing.invoice")
        .await
        .unwrap();
    until("the rest to be created", async || {
        let created = road.database.invoices().await?;
        ensure!(created.len() == 4, "{} of 4", created.len());
        Ok(())
    })
    .await
    .unwrap();
    let group_a: Vec<Uuid> =
        sqlx::query_scalar("select invoice_id from invoicing.invoice where invoice_id <> $1 order by id")
            .bind(other)
            .fetch_all(&road.database.pool)
            .await
            .unwrap();
    assert_eq!(group_a, [first, second, third]);
    assert!(road.database.invoices().await.unwrap().values().all(|rows| *rows == 1));
}

#[tokio::test]
async fn what_a_deployed_function_emits_arrives_and_its_schedule_sends_what_was_left() {
    let road = Road::new(&Parameters::default()).await;
    let outputs = &road.deployment.outputs;
    let subscriber = Queue::standard(&road.stack).await.unwrap();
    let subscribe = road
        .stack
        .sns()
        .subscribe()
        .topic_arn(&outputs.payment_events_topic_arn);
    let subscribe = subscribe.protocol("sqs").endpoint(&subscriber.arn);
    subscribe.attributes("RawMessageDelivery", "true").send().await.unwrap();
    let (first, left) = (Uuid::new_v4(), Uuid::new_v4());
    let of = |invoice| invoice_created_message(invoice).unwrap();
    road.deployment.events().send(&of(first), None, None).await.unwrap();
    let told = subscriber.take(1).await.unwrap().remove(0).envelope().unwrap();
    let told = told.typed::<PaymentTaken>().unwrap();
    assert_eq!((told.data.invoice_id, told.source.as_str()), (first, "take-payment"));

    // Whoever has stored this is gone.
    let outbox = OutboxTable::existing(&road.stack, &outputs.outbox_table);
    until("the outbox to be empty", async || {
        ensure!(outbox.stored().await?.is_empty(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let letter = (outputs.payment_events_topic_arn.clone(), of(left));
    outbox.plant("take-payment", &[letter]).await.unwrap();
    let rules = road.stack.eventbridge();
    let rule = rules
        .describe_rule()
        .name(&outputs.take_payment_sweep_rule)
        .send()
        .await
        .unwrap();
    assert_eq!(rule.schedule_expression(), Some("rate(5 minutes)"));
    let targets = rules.list_targets_by_rule().rule(&outputs.take_payment_sweep_rule);
    let targets = targets.send().await.unwrap().targets.unwrap();
    let [target] = targets.as_slice() else {
        panic!("{targets:?}");
    };
    // What the rule does, now.
    let lambda = aws_sdk_lambda::Client::new(road.stack.aws());
    let invoke = lambda.invoke().function_name(target.arn());
    let input = target.input().unwrap().as_bytes().to_vec();
    let invoked = invoke
        .payload(aws_sdk_lambda::primitives::Blob::new(input))
        .send()
        .await
        .unwrap();
    assert_eq!(invoked.function_error(), None);
    let swept = subscriber.take(1).await.unwrap().remove(0).envelope().unwrap();
    assert_eq!(swept.typed::<InvoiceCreated>().unwrap().data.invoice_id, left);
    assert!(outbox.stored().await.unwrap().is_empty());
}
