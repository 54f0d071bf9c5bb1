//! Looking at the functions that consume what a target passes on, for the traps of their deployment.
//!
//! Reads only, and never fails: what may not be read is a remark that names the permission. Queues are
//! found behind a topic's subscriptions and a bus's rules, too; each list is read to its end.

mod facts;

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName as Name;

use self::facts::{Function, Queue, RedrivePolicy};
use super::{
    Target, TargetKind,
    clients::Clients,
    inspect::Remark,
    listing::{self, Listed},
    resolve::Arn,
};

/// Looks at each Lambda function that consumes from a queue of this target.
///
/// # Cancel safety
/// Reads only.
pub async fn inspect_consumers(clients: &Clients, target: &Target) -> Vec<Remark> {
    let (queues, mut remarks) = match target.kind() {
        TargetKind::Queue | TargetKind::FifoQueue => (vec![target.arn().to_owned()], Vec::new()),
        TargetKind::Topic | TargetKind::FifoTopic => behind_topic(clients, target.arn()).await,
        TargetKind::EventBus => behind_bus(clients, target.arn()).await,
    };
    for arn in queues {
        if target.kind() == TargetKind::FifoTopic && !arn.ends_with(".fifo") {
            remarks.push(Remark::warning(format!(
                "queue {arn}: is a standard queue behind a FIFO topic, so the order of keys ends there; subscribe a FIFO queue"
            )));
        }
        remarks.extend(of_queue(clients, &arn, arn != target.arn()).await);
    }
    remarks
}

/// That a list cannot be read, the target's own inspection says, which reads it, too.
async fn behind_topic(clients: &Clients, arn: &str) -> (Vec<String>, Vec<Remark>) {
    let listed = listing::subscriptions(&clients.sns, arn).await;
    let queues = listed.elements.into_iter().filter(|one| one.protocol() == Some("sqs"));
    let queues = queues.filter_map(|subscription| subscription.endpoint);
    (queues.collect(), Vec::new())
}

async fn behind_bus(clients: &Clients, arn: &str) -> (Vec<String>, Vec<Remark>) {
    let mut queues = Vec::new();
    let mut remarks = Vec::new();
    for rule in listing::rules(&clients.eventbridge, arn).await.elements {
        let Some(name) = rule.name else { continue };
        let Listed { elements, error } = listing::targets(&clients.eventbridge, arn, &name).await;
        let arns = elements.into_iter().map(|target| target.arn);
        queues.extend(arns.filter(|arn| Arn::of("sqs", arn).is_some()));
        if let Some(error) = error {
            remarks.push(Remark::unread(
                "the targets of its rules",
                "events:ListTargetsByRule",
                &error,
            ));
            break;
        }
    }
    queues.sort();
    queues.dedup();
    (queues, remarks)
}

/// `is_behind`: nobody else looks at the queue itself.
async fn of_queue(clients: &Clients, arn: &str, is_behind: bool) -> Vec<Remark> {
    let queue = match queue(clients, arn).await {
        Ok(queue) => queue,
        Err((permission, error)) => {
            return vec![Remark::unread(
                &format!("queue {arn}: its attributes"),
                permission,
                &error,
            )];
        }
    };
    let Listed {
        elements: mappings,
        error,
    } = listing::mappings(&clients.lambda, arn).await;
    let mut remarks = if is_behind { queue.judge() } else { Vec::new() };
    if let Some(error) = error {
        let what = format!("queue {arn}: its functions");
        remarks.push(Remark::unread(&what, "lambda:ListEventSourceMappings", &error));
    } else if mappings.is_empty() {
        remarks.push(Remark::ok(format!("queue {arn}: no Lambda function consumes it here")));
    }
    for mapping in mappings {
        let name = mapping.function_arn.unwrap_or_default();
        let asked = clients.lambda.get_function_configuration().function_name(&name);
        let configuration = match asked.send().await {
            Ok(configuration) => configuration,
            Err(error) => {
                let what = format!("function {name}: its configuration");
                remarks.push(Remark::unread(&what, "lambda:GetFunctionConfiguration", &error));
                continue;
            }
        };
        let variables = configuration.environment.and_then(|environment| environment.variables);
        let reports = mapping.function_response_types.unwrap_or_default();
        let function = Function {
            name: name.rsplit(':').next().unwrap_or_default().to_owned(),
            is_enabled: matches!(
                mapping.state.as_deref(),
                Some("Enabled" | "Enabling" | "Creating" | "Updating")
            ),
            reports_failures: !reports.is_empty(),
            timeout_secs: u64::try_from(configuration.timeout.unwrap_or(3)).unwrap_or(3),
            variables: variables.unwrap_or_default(),
        };
        remarks.extend(function.judge(&queue));
    }
    remarks
}

/// The permission that may be missing, and what SQS said.
type Unread = (&'static str, aws_sdk_sqs::Error);

async fn queue(clients: &Clients, arn: &str) -> Result<Queue, Unread> {
    let attributes = attributes(clients, arn).await?;
    let redrive = attributes.get(&Name::RedrivePolicy);
    let redrive: Option<RedrivePolicy> = redrive.and_then(|policy| serde_json::from_str(policy).ok());
    let dead_retention_secs = match &redrive {
        // One that cannot be read is the queue's own inspection's to tell.
        Some(policy) => self::attributes(clients, &policy.dead_letter_target_arn)
            .await
            .ok()
            .map(|attributes| number(&attributes, &Name::MessageRetentionPeriod, 345_600)),
        None => None,
    };
    Ok(Queue {
        arn: arn.to_owned(),
        visibility_secs: number(&attributes, &Name::VisibilityTimeout, 30),
        retention_secs: number(&attributes, &Name::MessageRetentionPeriod, 345_600),
        redrive,
        dead_retention_secs,
    })
}

async fn attributes(clients: &Clients, arn: &str) -> Result<HashMap<Name, String>, Unread> {
    let (account, name) = Arn::of("sqs", arn).map_or(("", arn), |arn| (arn.account, arn.resource));
    let asked = clients.sqs.get_queue_url().queue_name(name);
    let asked = asked.queue_owner_aws_account_id(account).send().await;
    let found = asked.map_err(|error| ("sqs:GetQueueUrl on it", error.into()))?;
    let asked = clients
        .sqs
        .get_queue_attributes()
        .queue_url(found.queue_url.unwrap_or_default())
        .attribute_names(Name::All);
    let found = asked.send().await;
    let found = found.map_err(|error| ("sqs:GetQueueAttributes on it", error.into()))?;
    Ok(found.attributes.unwrap_or_default())
}

/// The defaults are those of the Amazon SQS API reference, `SetQueueAttributes`.
fn number(attributes: &HashMap<Name, String>, name: &Name, default: u64) -> u64 {
    attributes
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}
