//! `outbox-relay check` on the functions that consume what a target passes on.

use std::collections::HashMap;

use aws_sdk_lambda::types::{Environment, FunctionCode, FunctionResponseType, Runtime};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;
use system_tests::{Bus, EVERYTHING, Fault, Queue, Topic, unique};

use super::{
    check::{TARGET, assert_said, checked},
    configured::Configured,
};

/// A zip file of nothing: only the settings are looked at.
const EMPTY_ZIP: &[u8] = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A function that consumes a queue; the stack is thrown away with it.
pub(crate) async fn function(
    scene: &Configured,
    queue: &Queue,
    timeout_secs: i32,
    reports: bool,
    variables: &[(&str, &str)],
) -> String {
    let client = aws_sdk_lambda::Client::new(scene.scene.stack.aws());
    let name = unique("f");
    let variables: HashMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let code = FunctionCode::builder().zip_file(EMPTY_ZIP.to_vec().into());
    let create = client
        .create_function()
        .function_name(&name)
        .runtime(Runtime::Providedal2023)
        .handler("bootstrap");
    let create = create
        .role("arn:aws:iam::000000000000:role/none")
        .timeout(timeout_secs)
        .environment(Environment::builder().set_variables(Some(variables)).build())
        .code(code.build());
    create.send().await.unwrap();
    let mut map = client
        .create_event_source_mapping()
        .function_name(&name)
        .event_source_arn(&queue.arn);
    if reports {
        map = map.function_response_types(FunctionResponseType::ReportBatchItemFailures);
    }
    map.send().await.unwrap();
    name
}

async fn set(scene: &Configured, queue: &Queue, name: QueueAttributeName, value: &str) {
    let set = scene.scene.stack.sqs().set_queue_attributes().queue_url(&queue.url);
    set.attributes(name, value).send().await.unwrap();
}

pub(crate) async fn queue_with_dead_letters(scene: &Configured, max_receive_count: u32) -> (Queue, Queue) {
    let stack = &scene.scene.stack;
    let (queue, dead) = (
        Queue::standard(stack).await.unwrap(),
        Queue::standard(stack).await.unwrap(),
    );
    let policy = json!({ "deadLetterTargetArn": dead.arn, "maxReceiveCount": max_receive_count }).to_string();
    set(scene, &queue, QueueAttributeName::RedrivePolicy, &policy).await;
    set(scene, &dead, QueueAttributeName::MessageRetentionPeriod, "1209600").await;
    set(scene, &queue, QueueAttributeName::VisibilityTimeout, "60").await;
    (queue, dead)
}

#[tokio::test]
async fn a_function_as_it_should_be_is_no_warning_behind_a_queue_a_topic_and_a_bus() {
    let scene = Configured::new().await;
    let (queue, dead) = queue_with_dead_letters(&scene, 20).await;
    let variables = [
        ("ONCEBOX_DLQ_URL", dead.url.as_str()),
        ("ONCEBOX_MAX_RECEIVE_COUNT", "20"),
    ];
    let name = function(&scene, &queue, 10, true, &variables).await;
    let stack = &scene.scene.stack;
    let topic = Topic::standard(stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let bus = Bus::to_queue(stack, "{\"source\": [{\"prefix\": \"/\"}]}", &queue)
        .await
        .unwrap();
    for target in [
        format!("sqs = {{ queue = \"{}\" }}", queue.name),
        format!("sns = {{ topic = \"{}\" }}", topic.name),
        format!("eventbridge = {{ bus = \"{}\" }}", bus.name),
    ] {
        let (code, report) = checked(&scene, &scene.file(EVERYTHING, &target)).await;
        assert_eq!((code, &report["faults"]), (Some(0), &json!(0)), "{report:#}");
        assert_said(
            &report,
            "ok",
            TARGET,
            &[&format!("function {name} consumes"), &queue.arn],
        );
    }
}

#[tokio::test]
async fn each_trap_of_a_functions_deployment_is_told_with_its_fix() {
    let scene = Configured::new().await;
    let (queue, _dead) = queue_with_dead_letters(&scene, 1).await;
    let variables = [
        ("ONCEBOX_DLQ_URL", "https://sqs/1/other.fifo"),
        ("ONCEBOX_DEDUPE_DAYS", "7"),
        ("DATABASE_URL", "postgres://secret"),
    ];
    let name = function(&scene, &queue, 20, false, &variables).await;
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.name));
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(2), "{report:#}");
    let name = format!("function {name}");
    for (level, words) in [
        ("fault", ["ReportBatchItemFailures", "set it"]),
        ("fault", ["ONCEBOX_DLQ_URL is of another kind", "the same kind"]),
        (
            "warning",
            ["visibility timeout of 60 s", "set VisibilityTimeout to 120"],
        ),
        ("warning", ["maxReceiveCount is 1", "set it to 20"]),
        ("warning", ["ONCEBOX_MAX_RECEIVE_COUNT", "set it to 1"]),
        ("warning", ["dedupe records go before", "set ONCEBOX_DEDUPE_DAYS to 18"]),
    ] {
        assert_said(&report, level, TARGET, &[&name, words[0], words[1]]);
    }
    assert!(!report.to_string().contains("secret"));
}

#[tokio::test]
async fn a_permission_that_is_missing_is_a_warning_that_names_it() {
    let scene = Configured::new().await;
    let (queue, _dead) = queue_with_dead_letters(&scene, 20).await;
    function(&scene, &queue, 10, true, &[]).await;
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.name));
    // Lambda's operations stand in no header.
    let is_lambda = |request: &system_tests::Request| request.operation.is_empty();
    scene.proxy.inject(1, Fault::AccessDenied, is_lambda);
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "warning", TARGET, &["allow lambda:ListEventSourceMappings"]);
}

#[tokio::test]
async fn a_queue_behind_a_topic_is_looked_at_itself() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let (topic, queue) = (Topic::fifo(stack).await.unwrap(), Queue::standard(stack).await.unwrap());
    topic.subscribe(&queue).await.unwrap();
    let file = scene.file(EVERYTHING, &format!("sns = {{ topic = \"{}\" }}", topic.name));
    let (_, report) = checked(&scene, &file).await;
    assert_said(
        &report,
        "warning",
        TARGET,
        &[&queue.arn, "no dead-letter queue", "RedrivePolicy"],
    );
    assert_said(&report, "warning", TARGET, &[&queue.arn, "subscribe a FIFO queue"]);
}
