//! The functions' roles.

use std::time::Duration;

use oncebox_envelope::RawEnvelope;
use serde_json::json;
use system_tests::{
    AwsProxy, Batch, Database, Fault, Function, OutboxTable, Queue, Record, Request, Stack, Tables, Topic,
    create_invoice_message, envelope, invoice_created_message,
    rights::{Calls, Explained, Policy, Roles},
};
use uuid::Uuid;

use super::{
    assert_calls, assert_fits,
    operations::{FUNCTION, FUNCTION_THAT_EMITS, FUNCTION_WITH_TABLES},
};

/// What Lambda does with a function's role. AWS Lambda Developer Guide, "Creating and configuring an Amazon SQS event
/// source mapping" (its poller) and "Defining Lambda function permissions with an execution role" (its log).
const OF_LAMBDA: &[Explained] = &[
    Explained {
        action: "sqs:ReceiveMessage",
        why: "the mapping's poller",
    },
    Explained {
        action: "sqs:DeleteMessage",
        why: "the mapping's poller",
    },
    Explained {
        action: "sqs:GetQueueAttributes",
        why: "the mapping's poller",
    },
    Explained {
        action: "logs:CreateLogStream",
        why: "the function's log",
    },
    Explained {
        action: "logs:PutLogEvents",
        why: "the function's log",
    },
];

/// AWS Lambda Developer Guide, "Giving Lambda functions access to resources in an Amazon VPC"; EC2 takes no narrower
/// resource for them.
const OF_LAMBDA_IN_A_VPC: &[&str] = &[
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
];

struct Scene {
    stack: Stack,
    proxy: AwsProxy,
    queue: Queue,
    dead_letters: Queue,
    tables: Tables,
    outbox: OutboxTable,
    topic: Topic,
    database: Database,
}

impl Scene {
    async fn new() -> Self {
        let stack = Stack::from_env().await.unwrap();
        let database = Database::create(&stack).await.unwrap();
        database.prepare_invoicing().await.unwrap();
        Self {
            proxy: AwsProxy::start(&stack).await.unwrap(),
            queue: Queue::standard(&stack).await.unwrap(),
            dead_letters: Queue::standard(&stack).await.unwrap(),
            tables: Tables::create(&stack).await.unwrap(),
            outbox: OutboxTable::create(&stack).await.unwrap(),
            topic: Topic::standard(&stack).await.unwrap(),
            database,
            stack,
        }
    }

    async fn function(&self, name: &str, database_url: &str) -> Function {
        let variables = [
            ("DATABASE_URL", database_url),
            ("DEDUPE_TABLE", &self.tables.dedupe),
            ("PAYMENTS_TABLE", &self.tables.payments),
            ("AUDIT_TABLE", &self.tables.audit),
            ("OUTBOX_TABLE", &self.outbox.name),
            ("PAYMENT_EVENTS_TARGET", &self.topic.arn),
            ("ONCEBOX_DLQ_URL", &self.dead_letters.url),
            ("AWS_ENDPOINT_URL", &self.proxy.endpoint),
        ];
        Function::start(name, &variables).await.unwrap()
    }

    async fn give(&self, function: &mut Function, records: impl IntoIterator<Item = Record>) -> usize {
        let mut batch = Batch::of(&self.queue.arn, records);
        // What is refused again and again goes back when the time is over.
        batch.deadline = Duration::from_secs(10);
        function.invoke(&batch).await.unwrap().failures().len()
    }

    /// The role of a function whose own queues and tables these are.
    async fn role(&self, name: &str, more: &[(&str, &str)]) -> Policy {
        let (queue, dead) = (self.queue.arn.as_str(), self.dead_letters.arn.as_str());
        let queues = ["InvoiceCommands", "InvoiceEvents", "Audit"];
        let queues: Vec<[String; 2]> = queues.map(|of| [format!("{of}QueueArn"), format!("{of}DlqArn")]).into();
        let mut parameters = vec![
            ("Prefix", "test"),
            ("DedupeTable", &self.tables.dedupe),
            ("PaymentsTable", &self.tables.payments),
            ("AuditTable", &self.tables.audit),
            ("OutboxTable", &self.outbox.name),
            ("PaymentEventsTopicArn", &self.topic.arn),
        ];
        for [of_queue, of_dead] in &queues {
            parameters.extend([(of_queue.as_str(), queue), (of_dead.as_str(), dead)]);
        }
        parameters.extend(more);
        let roles = Roles::of(&self.stack, "functions.yaml", &parameters).await.unwrap();
        roles.get(name).unwrap().clone()
    }
}

fn is_transaction(request: &Request) -> bool {
    request.operation == "TransactWriteItems"
}

/// Drives a function with tables through effects, lost replies, throttling and poison.
async fn calls_with_tables(scene: &Scene, name: &str, message: impl Fn() -> String) -> Calls {
    let mut function = scene.function(name, "").await;
    let record = || Record::new(message());
    assert_eq!(scene.give(&mut function, [record(), record()]).await, 0);
    // Who wrote is asked of the table: of one item, and of many.
    for batch in [vec![record()], vec![record(), record()]] {
        scene.proxy.inject(usize::MAX, Fault::LoseReply, is_transaction);
        assert_eq!(scene.give(&mut function, batch).await, 0);
        scene.proxy.heal();
    }
    scene.proxy.inject(usize::MAX, Fault::Throttled, is_transaction);
    assert_eq!(scene.give(&mut function, [record()]).await, 1);
    scene.proxy.heal();
    assert_eq!(scene.give(&mut function, [Record::new("no JSON")]).await, 0);
    assert_eq!(scene.dead_letters.take(1).await.unwrap().len(), 1);
    scene.proxy.calls()
}

#[tokio::test]
async fn the_role_of_take_payment_gives_what_it_asks_for_and_no_more() {
    let scene = Scene::new().await;
    let message = || invoice_created_message(Uuid::new_v4()).unwrap();
    // Left by others: of the first parcel only one half arrives.
    let letters = [message(), message(), message()].map(|body| (scene.topic.arn.clone(), body));
    let refused = RawEnvelope::from_json(letters[0].1.as_bytes()).unwrap().id.to_string();
    scene.outbox.plant("take-payment", &letters[..2]).await.unwrap();
    scene.outbox.plant("take-payment", &letters[2..]).await.unwrap();
    let fails = Fault::fail(move |entry| entry.event_id == refused);
    scene
        .proxy
        .inject(1, fails, |request| request.operation == "PublishBatch");
    let calls = calls_with_tables(&scene, "take-payment", message).await;
    assert_eq!(scene.outbox.stored().await.unwrap().len(), 0);
    assert_calls(&calls, &[FUNCTION, FUNCTION_WITH_TABLES, FUNCTION_THAT_EMITS]);
    let role = scene.role("TakePaymentRole", &[]).await;
    assert_fits("TakePaymentRole", &role, &calls, OF_LAMBDA);
}

#[tokio::test]
async fn the_role_of_audit_tap_gives_what_it_asks_for_and_no_more() {
    let scene = Scene::new().await;
    let message = || envelope("any.thing.v1", "event", &json!({}));
    let calls = calls_with_tables(&scene, "audit-tap", message).await;
    assert_calls(&calls, &[FUNCTION, FUNCTION_WITH_TABLES]);
    let role = scene.role("AuditTapRole", &[]).await;
    assert_fits("AuditTapRole", &role, &calls, OF_LAMBDA);
}

#[tokio::test]
async fn the_role_of_create_invoice_gives_what_it_asks_for_and_no_more() {
    let scene = Scene::new().await;
    let record = || Record::new(create_invoice_message(Uuid::new_v4()).unwrap());
    let mut function = scene.function("create-invoice", scene.database.url.as_str()).await;
    assert_eq!(scene.give(&mut function, [record(), record()]).await, 0);
    assert_eq!(scene.give(&mut function, [Record::new("no JSON")]).await, 0);
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let mut function = scene.function("create-invoice", nowhere).await;
    assert_eq!(scene.give(&mut function, [record()]).await, 1);
    let calls = scene.proxy.calls();
    assert_calls(&calls, &[FUNCTION]);
    let role = scene.role("CreateInvoiceRole", &[]).await;
    assert_fits("CreateInvoiceRole", &role, &calls, OF_LAMBDA);

    let in_vpc = OF_LAMBDA_IN_A_VPC.iter().map(|action| Explained {
        action,
        why: "Lambda's way into the VPC",
    });
    let explained: Vec<Explained> = OF_LAMBDA.iter().copied().chain(in_vpc).collect();
    let role = scene.role("CreateInvoiceRole", &[("SubnetIds", "subnet-1")]).await;
    assert_fits("CreateInvoiceRole in a VPC", &role, &calls, &explained);
}
