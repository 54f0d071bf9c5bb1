//! The relay's role.

use anyhow::ensure;
use system_tests::{
    AwsProxy, Bucket, Bus, Database, EVERYTHING, Queue, Relay, RelayCommand, RelayConfig, Stack, Topic,
    rights::{Calls, Explained, Roles},
    until,
};

use super::{assert_calls, assert_fits, operations::RELAY};
use crate::command::configured::written;

/// Amazon SQS Developer Guide, "Key management"; Amazon SNS Developer Guide, "Managing encryption keys"; Amazon S3 User
/// Guide, "Using server-side encryption with AWS KMS": the service asks for them with the sender's role.
const OF_ENCRYPTED_TARGETS: &[Explained] = &[
    Explained {
        action: "kms:Decrypt",
        why: "targets with a key of one's own",
    },
    Explained {
        action: "kms:GenerateDataKey",
        why: "targets with a key of one's own",
    },
];

#[tokio::test]
async fn the_relays_role_gives_what_the_relay_asks_for_and_no_more() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let proxy = AwsProxy::start(&stack).await.unwrap();
    let queue = Queue::fifo(&stack).await.unwrap();
    let topic = Topic::standard(&stack).await.unwrap();
    let bus = Bus::to_queue(&stack, r#"{ "source": ["nobody"] }"#, &queue)
        .await
        .unwrap();
    let bucket = Bucket::create(&stack).await.unwrap();
    // By name where there is one to be found out.
    let config = RelayConfig::new(&database)
        .sink_table(
            "queue",
            EVERYTHING,
            &format!(
                "sqs = {{ queue = \"{}\" }}\nclaim_check = {{ bucket = \"{}\", prefix = \"big\", above_bytes = 1024 }}",
                queue.name, bucket.name
            ),
        )
        .sink_table("topic", EVERYTHING, &format!("sns = {{ topic = \"{}\" }}", topic.name))
        .sink_table(
            "bus",
            EVERYTHING,
            &format!("eventbridge = {{ bus = \"{}\" }}", bus.name),
        )
        .env("AWS_ENDPOINT_URL", &proxy.endpoint);
    for bytes in [10, 5_000] {
        sqlx::query("select oncebox.enqueue('test.happened.v1', to_jsonb(repeat('x', $1)), key => 'k')")
            .bind(bytes)
            .execute(&database.pool)
            .await
            .unwrap();
    }
    let relay = Relay::start(&config).await.unwrap();
    until("two events at each of three targets", async || {
        let taken = proxy.taken().len();
        ensure!(taken == 6, "{taken}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(relay.stop().await.unwrap().code, Some(0));

    let file = written(&config);
    for sink in ["queue", "topic", "bus"] {
        let replay = RelayCommand::new(&["replay", "--yes", "--sink", sink, "--config"]);
        let replay = replay.arg(file.path().to_str().unwrap()).on(&database);
        replay.env("AWS_ENDPOINT_URL", &proxy.endpoint).done().await.unwrap();
    }
    let calls = proxy.calls();
    assert_calls(&calls, &[RELAY]);

    let objects = format!("arn:aws:s3:::{}/big/*", bucket.name);
    let parameters = [
        (
            "DatabaseSecretArn",
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:database",
        ),
        ("QueueArns", &queue.arn),
        ("TopicArns", &topic.arn),
        ("EventBusArns", &bus.arn),
        ("BucketObjectArns", &objects),
        ("TargetKeyArns", "arn:aws:kms:us-east-1:000000000000:key/targets"),
    ];
    let roles = Roles::of(&stack, "relay.yaml", &parameters).await.unwrap();
    assert_fits("TaskRole", roles.get("TaskRole").unwrap(), &calls, OF_ENCRYPTED_TARGETS);
}

/// What Fargate does for a task before it runs. No process of ours has this role.
const OF_FARGATE: &[(&str, &str)] = &[
    ("ecr:BatchCheckLayerAvailability", "pulls the image"),
    ("ecr:BatchGetImage", "pulls the image"),
    ("ecr:GetAuthorizationToken", "pulls the image"),
    ("ecr:GetDownloadUrlForLayer", "pulls the image"),
    ("kms:Decrypt", "reads the secret"),
    ("logs:CreateLogStream", "writes the log"),
    ("logs:PutLogEvents", "writes the log"),
    ("secretsmanager:GetSecretValue", "reads the secret"),
];

#[tokio::test]
async fn the_execution_role_gives_what_fargate_needs_for_the_task_and_no_more() {
    let stack = Stack::from_env().await.unwrap();
    let parameters = [
        (
            "DatabaseSecretArn",
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:database",
        ),
        ("SecretKeyArn", "arn:aws:kms:us-east-1:000000000000:key/secret"),
        (
            "ImageRepositoryArn",
            "arn:aws:ecr:us-east-1:000000000000:repository/relay",
        ),
    ];
    let roles = Roles::of(&stack, "relay.yaml", &parameters).await.unwrap();
    let explained: Vec<Explained> = OF_FARGATE
        .iter()
        .map(|(action, why)| Explained { action, why })
        .collect();
    let faults = system_tests::rights::compare(roles.get("ExecutionRole").unwrap(), &Calls::default(), &explained);
    assert!(faults.is_empty(), "{faults:?}");
    // Without targets, keys and registry there is nothing but the log and the secret.
    let roles = Roles::of(&stack, "relay.yaml", &parameters[..1]).await.unwrap();
    assert_eq!(roles.get("TaskRole").unwrap().grants().count(), 0);
    assert_eq!(roles.get("ExecutionRole").unwrap().grants().count(), 3);
}
