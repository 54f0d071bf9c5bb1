//! The policies of people: what the commands ask for that they run.

use std::process::Stdio;

use oncebox_envelope::RawEnvelope;
use system_tests::{
    Bucket, Bus, EVERYTHING, Fault, OutboxTable, Queue, Tables, Topic, binary, invoice_created_message,
    rights::{Explained, Roles},
};
use tokio::process::Command;
use uuid::Uuid;

use super::{
    assert_calls, assert_fits,
    operations::{CHECK, CONSUMER_COMMANDS, SWEEPS},
};
use crate::command::{
    check_functions::{function, queue_with_dead_letters},
    configured::Configured,
};

const NOTHING: &[Explained] = &[];

#[tokio::test]
async fn the_policy_for_checks_gives_what_a_check_asks_for_and_no_more() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let (queue, dead) = queue_with_dead_letters(&scene, 20).await;
    let name = function(&scene, &queue, 10, true, &[]).await;
    let topic = Topic::standard(stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let bus = Bus::to_queue(stack, "{\"source\": [{\"prefix\": \"/\"}]}", &queue)
        .await
        .unwrap();
    let bucket = Bucket::create(stack).await.unwrap();
    for target in [
        format!(
            "sqs = {{ queue = \"{}\" }}\nclaim_check = {{ bucket = \"{}\" }}",
            queue.name, bucket.name
        ),
        format!("sns = {{ topic = \"{}\" }}", topic.name),
        format!("eventbridge = {{ bus = \"{}\" }}", bus.name),
    ] {
        let file = scene.file(EVERYTHING, &target);
        scene.command(&file, &["check"]).done().await.unwrap();
    }
    let calls = scene.proxy.calls();
    assert_calls(&calls, &[CHECK]);

    let queues = format!("{},{}", queue.arn, dead.arn);
    let rule = format!("{}/all", bus.arn.replace(":event-bus/", ":rule/"));
    let parameters = [
        ("QueueArns", queues.as_str()),
        ("TopicArns", &topic.arn),
        ("EventBusArns", &bus.arn),
        ("RuleArns", &rule),
        ("BucketArns", &format!("arn:aws:s3:::{}", bucket.name)),
        (
            "FunctionArns",
            &format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"),
        ),
    ];
    let roles = Roles::of(stack, "operator.yaml", &parameters).await.unwrap();
    assert_fits("RelayChecks", roles.get("RelayChecks").unwrap(), &calls, NOTHING);
}

#[tokio::test]
async fn the_policy_for_repairs_gives_what_oncebox_consumer_asks_for_and_no_more() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let tables = Tables::create(stack).await.unwrap();
    let record = Uuid::now_v7().to_string();
    for (arguments, code) in [
        (vec!["gap", "show", "--key", "order-7"], 0),
        (vec!["gap", "skip", "--key", "order-7", "--sequence", "1", "--yes"], 0),
        (vec!["record", "show", &record], 1),
    ] {
        let run = Command::new(binary("oncebox-consumer").unwrap())
            .args(&arguments)
            .args(["--consumer", "c", "--table", &tables.dedupe])
            .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let run = run.await.unwrap();
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {run:?}");
    }
    let calls = scene.proxy.calls();
    assert_calls(&calls, &[CONSUMER_COMMANDS]);
    let table = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{}", tables.dedupe);
    let roles = Roles::of(stack, "operator.yaml", &[("DedupeTableArns", &table)])
        .await
        .unwrap();
    assert_fits(
        "ConsumerRepairs",
        roles.get("ConsumerRepairs").unwrap(),
        &calls,
        NOTHING,
    );
}

#[tokio::test]
async fn the_policy_for_sweeps_gives_what_oncebox_consumer_outbox_asks_for_and_no_more() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let outbox = OutboxTable::create(stack).await.unwrap();
    let queue = Queue::standard(stack).await.unwrap();
    let topic = Topic::standard(stack).await.unwrap();
    let bus = Bus::to_queue(stack, "{\"source\": [{\"prefix\": \"/\"}]}", &queue)
        .await
        .unwrap();
    let letters = [&queue.url, &queue.url, &topic.arn, &bus.arn];
    let letters = letters.map(|to| (to.clone(), invoice_created_message(Uuid::new_v4()).unwrap()));
    // Of the first parcel only one half arrives at once.
    let refused = RawEnvelope::from_json(letters[0].1.as_bytes()).unwrap().id.to_string();
    for parcel in [&letters[..2], &letters[2..3], &letters[3..]] {
        outbox.plant("c", parcel).await.unwrap();
    }
    let fails = Fault::fail(move |entry| entry.event_id == refused);
    scene
        .proxy
        .inject(1, fails, |request| request.operation == "SendMessageBatch");
    for arguments in [["list", "--json"], ["sweep", "--yes"]] {
        let run = Command::new(binary("oncebox-consumer").unwrap())
            .arg("outbox")
            .args(arguments)
            .args(["--consumer", "c", "--table", &outbox.name])
            .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let run = run.await.unwrap();
        assert!(run.status.success(), "{arguments:?}: {run:?}");
    }
    assert_eq!(outbox.stored().await.unwrap().len(), 0);
    let calls = scene.proxy.calls();
    assert_calls(&calls, &[SWEEPS]);
    let table = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{}", outbox.name);
    let parameters = [
        ("OutboxTableArns", table.as_str()),
        ("OutboxQueueArns", &queue.arn),
        ("OutboxTopicArns", &topic.arn),
        ("OutboxBusArns", &bus.arn),
    ];
    let roles = Roles::of(stack, "operator.yaml", &parameters).await.unwrap();
    assert_fits("ConsumerSweeps", roles.get("ConsumerSweeps").unwrap(), &calls, NOTHING);
}
