//! All roles are compared, and AWS knows all actions.

use std::collections::BTreeSet;

use system_tests::{
    Stack,
    rights::{Policy, Roles, reference},
};

/// The roles and managed policies that the tests of this module compare.
const COMPARED: &[&str] = &[
    "functions.yaml: AuditTapRole",
    "functions.yaml: CreateInvoiceRole",
    "functions.yaml: TakePaymentRole",
    "operator.yaml: ConsumerRepairs",
    "operator.yaml: ConsumerSweeps",
    "operator.yaml: RelayChecks",
    "relay.yaml: ExecutionRole",
    "relay.yaml: TaskRole",
];

#[tokio::test]
async fn every_role_of_the_templates_is_compared() {
    let stack = Stack::from_env().await.unwrap();
    let mut names = Roles::all_names(&stack).await.unwrap();
    names.sort();
    assert_eq!(names, COMPARED);
}

/// A value for every parameter that a role uses.
const PARAMETERS: &[(&str, &str)] = &[
    ("Prefix", "p"),
    ("DedupeTable", "t"),
    ("PaymentsTable", "t"),
    ("AuditTable", "t"),
    ("OutboxTable", "t"),
    ("PaymentEventsTopicArn", "arn:t"),
    ("InvoiceCommandsQueueArn", "arn:q"),
    ("InvoiceCommandsDlqArn", "arn:q"),
    ("InvoiceEventsQueueArn", "arn:q"),
    ("InvoiceEventsDlqArn", "arn:q"),
    ("AuditQueueArn", "arn:q"),
    ("AuditDlqArn", "arn:q"),
    ("SubnetIds", "subnet-1"),
    ("QueueArns", "arn:q"),
    ("TopicArns", "arn:t"),
    ("EventBusArns", "arn:b"),
    ("RuleArns", "arn:r"),
    ("BucketArns", "arn:b"),
    ("BucketObjectArns", "arn:o"),
    ("FunctionArns", "arn:f"),
    ("DedupeTableArns", "arn:t"),
    ("OutboxTableArns", "arn:t"),
    ("OutboxQueueArns", "arn:q"),
    ("OutboxTopicArns", "arn:t"),
    ("OutboxBusArns", "arn:b"),
    ("TargetKeyArns", "arn:k"),
    ("SecretKeyArn", "arn:k"),
    ("DatabaseSecretArn", "arn:s"),
    ("ImageRepositoryArn", "arn:i"),
];

#[tokio::test]
async fn aws_knows_every_action_of_the_templates_with_its_kind_of_resource() {
    let stack = Stack::from_env().await.unwrap();
    let mut policies: Vec<Policy> = Vec::new();
    for template in ["functions.yaml", "operator.yaml", "relay.yaml"] {
        let roles = Roles::of(&stack, template, PARAMETERS).await.unwrap();
        let names = COMPARED
            .iter()
            .filter_map(|name| name.strip_prefix(&format!("{template}: ")));
        policies.extend(names.map(|name| roles.get(name).unwrap().clone()));
    }
    assert_eq!(policies.len(), COMPARED.len());
    let grants = policies.iter().flat_map(Policy::grants);
    let grants: BTreeSet<(String, bool)> = grants
        .map(|(_, action, resource)| (action.to_owned(), resource == "*"))
        .collect();
    assert!(grants.len() > 20, "{grants:?}");
    let actions: Vec<String> = grants.iter().map(|(action, _)| action.clone()).collect();
    let known = reference(&stack, &actions).await.unwrap();
    for (action, on_all) in grants {
        let kinds = known.get(&action);
        let kinds = kinds.unwrap_or_else(|| panic!("AWS has no action {action}"));
        // Lambda's documentation asks for all network interfaces, though EC2 knows narrower ones.
        if !action.starts_with("ec2:") {
            assert_eq!(kinds.is_empty(), on_all, "{action} takes {kinds:?}");
        }
    }
    assert!(
        reference(&stack, &["sqs:SendMessages".to_owned()])
            .await
            .unwrap()
            .is_empty()
    );
}
