//! Every operation of AWS that Oncebox calls, by who calls it.

/// `outbox-relay run` and `outbox-relay replay`.
pub(crate) const RELAY: &[&str] = &[
    "events:DescribeEventBus",
    "events:PutEvents",
    "s3:PutObject",
    "sns:GetTopicAttributes",
    "sns:PublishBatch",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:SendMessageBatch",
    "sts:GetCallerIdentity",
];

/// `outbox-relay check`.
pub(crate) const CHECK: &[&str] = &[
    "events:DescribeEventBus",
    "events:ListRules",
    "events:ListTargetsByRule",
    "lambda:GetFunctionConfiguration",
    "lambda:ListEventSourceMappings",
    "s3:HeadBucket",
    "sns:GetSubscriptionAttributes",
    "sns:GetTopicAttributes",
    "sns:ListSubscriptionsByTopic",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sts:GetCallerIdentity",
];

/// Any function.
pub(crate) const FUNCTION: &[&str] = &["sqs:ChangeMessageVisibilityBatch", "sqs:SendMessage"];

/// A function whose effect is in `DynamoDB`.
pub(crate) const FUNCTION_WITH_TABLES: &[&str] = &[
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:TransactWriteItems",
];

/// A function that emits events to a topic.
pub(crate) const FUNCTION_THAT_EMITS: &[&str] = &["dynamodb:Query", "sns:PublishBatch"];

/// Features of the consumer library that no deployed function uses. Their rights stand in the docs:
/// claim checks in `crates/consumer/src/claim_check/s3.rs`, other targets of emitted events in `docs/effect-modes.md`.
pub(crate) const OTHER_FEATURES: &[&str] = &["events:PutEvents", "s3:GetObject", "sqs:SendMessageBatch"];

/// `oncebox-consumer outbox`.
pub(crate) const SWEEPS: &[&str] = &[
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:TransactWriteItems",
    "events:PutEvents",
    "sns:PublishBatch",
    "sqs:SendMessageBatch",
];

/// `oncebox-consumer` without `outbox`.
pub(crate) const CONSUMER_COMMANDS: &[&str] = &["dynamodb:GetItem", "dynamodb:TransactWriteItems"];
