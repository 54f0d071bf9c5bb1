//! A request → the rights that it asks for.
//!
//! The source of all of it is the Service Authorization Reference
//! (`docs.aws.amazon.com/service-authorization/latest/reference/`), one page for each service; where a call asks
//! for a right of another name, the line says where that is written.

use serde_json::Value;
use url::form_urlencoded;

use crate::Request;

/// A right: an action on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Such as `sqs:SendMessage`.
    pub action: String,
    /// An ARN; `*` for an action that takes no resource.
    pub resource: String,
    /// `DynamoDB`: the item's partition key up to its first `#`, which names the owner of the item.
    pub leading_key: Option<String>,
}

/// LocalStack's account. A role is compared as it would be there.
const ACCOUNT: &str = "000000000000";

impl Need {
    fn new(action: &str, resource: impl Into<String>) -> Self {
        Self {
            action: action.to_owned(),
            resource: resource.into(),
            leading_key: None,
        }
    }

    /// What a request asks for; nothing for a call that everybody may make.
    ///
    /// # Errors
    /// Nobody has written down what this call asks for; the message names it.
    pub fn of(request: &Request) -> Result<Vec<Self>, String> {
        let unknown = || request.full_operation();
        let scope = request.scope().ok_or_else(unknown)?;
        let operation = request.operation_name().ok_or_else(unknown)?;
        let (region, service) = (scope.region, scope.service);
        let arn = |resource: &str| format!("arn:aws:{service}:{region}:{ACCOUNT}:{resource}");
        let body = Body(request);
        let needs = match (service, operation) {
            // Amazon SQS: actions of the batch operations are those of the single ones (Developer Guide,
            // "Amazon SQS API permissions").
            ("sqs", "GetQueueUrl" | "GetQueueAttributes" | "SendMessage") => {
                vec![Self::new(&format!("sqs:{operation}"), arn(&body.queue()))]
            }
            ("sqs", "SendMessageBatch") => vec![Self::new("sqs:SendMessage", arn(&body.queue()))],
            ("sqs", "ChangeMessageVisibilityBatch") => {
                vec![Self::new("sqs:ChangeMessageVisibility", arn(&body.queue()))]
            }
            // Amazon SNS: "sns:Publish grants permission to both publish and publish batch" (Developer Guide,
            // "Amazon SNS API permissions").
            ("sns", "PublishBatch") => vec![Self::new("sns:Publish", body.form("TopicArn"))],
            ("sns", "GetTopicAttributes" | "ListSubscriptionsByTopic") => {
                vec![Self::new(&format!("sns:{operation}"), body.form("TopicArn"))]
            }
            // A subscription's ARN is its topic's with an id behind it; the right is one on the topic.
            ("sns", "GetSubscriptionAttributes") => {
                let subscription = body.form("SubscriptionArn");
                let topic = subscription.rsplit_once(':').map_or("", |(topic, _)| topic);
                vec![Self::new("sns:GetSubscriptionAttributes", topic)]
            }
            ("events", "PutEvents") => {
                let entries = request.body["Entries"].as_array();
                let buses = entries
                    .into_iter()
                    .flatten()
                    .map(|entry| bus(&text(&entry["EventBusName"])));
                buses.map(|bus| Self::new("events:PutEvents", arn(&bus))).collect()
            }
            ("events", "DescribeEventBus") => vec![Self::new("events:DescribeEventBus", arn(&bus(&body.text("Name"))))],
            // "Takes no resource".
            ("events", "ListRules") => vec![Self::new("events:ListRules", "*")],
            ("events", "ListTargetsByRule") => {
                let bus = bus(&body.text("EventBusName"));
                let bus = bus.trim_start_matches("event-bus/");
                let rule = arn(&format!("rule/{bus}/{}", body.text("Rule")));
                vec![Self::new("events:ListTargetsByRule", rule)]
            }
            // "No permissions are required to perform this operation" (AWS STS API Reference).
            ("sts", "GetCallerIdentity") => Vec::new(),
            // "Takes no resource".
            ("lambda", "ListEventSourceMappings") => vec![Self::new("lambda:ListEventSourceMappings", "*")],
            ("lambda", "GetFunctionConfiguration") => {
                vec![Self::new("lambda:GetFunctionConfiguration", body.function(region))]
            }
            ("s3", "PutObject" | "GetObject") => {
                let object = request.path_parts().join("/");
                vec![Self::new(&format!("s3:{operation}"), format!("arn:aws:s3:::{object}"))]
            }
            // "You must have the s3:ListBucket permission" (Amazon S3 API Reference, HeadBucket).
            ("s3", "HeadBucket") => {
                let bucket = request.path_parts().join("/");
                vec![Self::new("s3:ListBucket", format!("arn:aws:s3:::{bucket}"))]
            }
            ("dynamodb", _) => items(request, operation).ok_or_else(unknown)?,
            _ => return Err(unknown()),
        };
        Ok(needs)
    }

    fn of_item(request: &Request, action: &str, table: &Value, key: &Value) -> Self {
        let table = text(table);
        let resource = match table.starts_with("arn:") {
            true => table,
            false => {
                let region = request.scope().map_or("", |scope| scope.region);
                format!("arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table}")
            }
        };
        // Every table here has the partition key `pk`.
        let key = key["pk"]["S"].as_str();
        let owner = key.map(|key| key.split_inclusive('#').next().unwrap_or_default().to_owned());
        Self {
            leading_key: owner,
            ..Self::new(&format!("dynamodb:{action}"), resource)
        }
    }
}

/// A transaction asks for the right of each of its actions (Amazon DynamoDB Developer Guide, "Using IAM with DynamoDB
/// transactions").
fn items(request: &Request, operation: &str) -> Option<Vec<Need>> {
    let body = &request.body;
    let need = |action: &str, of: &Value, key: &Value| Need::of_item(request, action, &of["TableName"], key);
    match operation {
        "GetItem" => Some(vec![need("GetItem", body, &body["Key"])]),
        "Query" => {
            // The partition is a value of the condition on the key; `:v0` or whatever it is called.
            let values = body["ExpressionAttributeValues"].as_object()?;
            let key = serde_json::json!({ "pk": values.values().next()? });
            Some(vec![need("Query", body, &key)])
        }
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object()?;
            let keys = tables.iter().flat_map(|(table, asked)| {
                let keys = asked["Keys"].as_array().into_iter().flatten();
                keys.map(move |key| (Value::from(table.as_str()), key))
            });
            Some(
                keys.map(|(table, key)| Need::of_item(request, "BatchGetItem", &table, key))
                    .collect(),
            )
        }
        "TransactWriteItems" => {
            let actions = body["TransactItems"].as_array()?;
            let action = |action: &Value| {
                let (name, of) = action.as_object()?.iter().next()?;
                match name.as_str() {
                    "Put" => Some(need("PutItem", of, &of["Item"])),
                    "Update" => Some(need("UpdateItem", of, &of["Key"])),
                    "Delete" => Some(need("DeleteItem", of, &of["Key"])),
                    "ConditionCheck" => Some(need("ConditionCheckItem", of, &of["Key"])),
                    _ => None,
                }
            };
            actions.iter().map(action).collect()
        }
        _ => None,
    }
}

struct Body<'a>(&'a Request);

impl Body<'_> {
    fn text(&self, name: &str) -> String {
        text(&self.0.body[name])
    }

    fn form(&self, name: &str) -> String {
        let mut form = form_urlencoded::parse(&self.0.bytes);
        let found = form.find(|(found, _)| found == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    fn queue(&self) -> String {
        let url = self.text("QueueUrl");
        match url.rsplit_once('/') {
            Some((_, name)) => name.to_owned(),
            None => self.text("QueueName"),
        }
    }

    /// The path has a name or an ARN, with `:` as `%3A`.
    fn function(&self, region: &str) -> String {
        let path = self.0.path_parts();
        let name = path.get(2).copied().unwrap_or_default().replace("%3A", ":");
        match name.starts_with("arn:") {
            true => name,
            false => format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"),
        }
    }
}

/// A bus is named by its name or its ARN.
fn bus(name: &str) -> String {
    let name = name.rsplit_once("event-bus/").map_or(name, |(_, name)| name);
    format!("event-bus/{name}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
