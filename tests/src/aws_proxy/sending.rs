//! The three operations that hand over messages: how their entries are read, and how they are answered.

use axum::response::Response;
use bytes::Bytes;
use oncebox_envelope::{Batch, RawEnvelope};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Entry,
    faults::{json_answer, xml_answer},
};

/// An operation that hands over messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// SQS: JSON; entries are answered by their `Id`.
    SendMessageBatch,
    /// SNS: the query protocol, a form and XML; entries are answered by their `Id`.
    PublishBatch,
    /// EventBridge: JSON; entries are answered by their place.
    PutEvents,
}

/// What a test lets be said of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// By the target's fault.
    Failed,
    /// By the sender's fault.
    Refused,
    Unmentioned,
}

impl Verdict {
    /// Code and `SenderFault` of an entry that was not taken.
    fn fault(self) -> Option<(&'static str, bool)> {
        match self {
            Self::Failed => Some(("InternalError", false)),
            Self::Refused => Some(("InvalidMessageContents", true)),
            Self::Taken | Self::Unmentioned => None,
        }
    }
}

impl Sending {
    pub(super) fn of(operation: &str) -> Option<Self> {
        match operation {
            "SendMessageBatch" => Some(Self::SendMessageBatch),
            "PublishBatch" => Some(Self::PublishBatch),
            "PutEvents" => Some(Self::PutEvents),
            _ => None,
        }
    }

    /// The entries of a request.
    pub(super) fn entries(self, body: &Bytes) -> Vec<Entry> {
        match self {
            Self::SendMessageBatch => {
                let body = json_of(body);
                let queue = text(&body["QueueUrl"]).unwrap_or_default();
                list(&body["Entries"]).map(|entry| sqs_entry(&queue, entry)).collect()
            }
            Self::PublishBatch => {
                let form = form_of(body);
                let topic = field(&form, "TopicArn").unwrap_or_default();
                let members = (1..).map_while(|number| sns_entry(&topic, &form, number));
                members.collect()
            }
            Self::PutEvents => {
                let body = json_of(body);
                let entries = list(&body["Entries"]).enumerate();
                entries.map(|(place, entry)| event_entry(place, entry)).collect()
            }
        }
    }

    /// The body with the entries at the places that are kept.
    pub(super) fn keep(self, body: &Bytes, kept: impl Fn(usize) -> bool) -> Bytes {
        match self {
            Self::SendMessageBatch | Self::PutEvents => {
                let mut body = json_of(body);
                if let Some(entries) = body["Entries"].as_array_mut() {
                    let mut places = 0..;
                    entries.retain(|_| places.next().is_some_and(&kept));
                }
                body.to_string().into()
            }
            Self::PublishBatch => {
                let form = form_of(body);
                let places: Vec<usize> = (0..10).filter(|place| kept(*place)).collect();
                let mut rest = form_urlencoded::Serializer::new(String::new());
                for (name, value) in &form {
                    let Some((place, field)) = member(name) else {
                        rest.append_pair(name, value);
                        continue;
                    };
                    if let Some(new) = places.iter().position(|kept| *kept == place) {
                        rest.append_pair(&format!("{MEMBER}{}.{field}", new + 1), value);
                    }
                }
                rest.finish().into()
            }
        }
    }

    /// Which entries of a request a reply of AWS says it took.
    pub(super) fn taken(self, sent: &[Entry], reply: &Bytes) -> Vec<Entry> {
        let ids: Vec<String> = match self {
            Self::SendMessageBatch => {
                let said = json_of(reply);
                list(&said["Successful"])
                    .filter_map(|entry| text(&entry["Id"]))
                    .collect()
            }
            Self::PublishBatch => {
                let said = String::from_utf8_lossy(reply).into_owned();
                let successful = said.split("<Successful>").nth(1).unwrap_or_default();
                let successful = successful.split("</Successful>").next().unwrap_or_default();
                let ids = successful.split("<Id>").skip(1);
                ids.filter_map(|id| id.split("</Id>").next().map(ToOwned::to_owned))
                    .collect()
            }
            Self::PutEvents => {
                let said = json_of(reply);
                let entries = list(&said["Entries"]).enumerate();
                let taken = entries.filter(|(_, entry)| text(&entry["EventId"]).is_some());
                taken.map(|(place, _)| place.to_string()).collect()
            }
        };
        sent.iter()
            .filter(|entry| ids.contains(&entry.entry_id))
            .cloned()
            .collect()
    }

    /// A 200 that says this of each entry.
    pub(super) fn answer(self, entries: &[(&Entry, Verdict)]) -> Response {
        const WHY: &str = "a test asked for this";
        let of = |wanted: Verdict| entries.iter().filter(move |(_, verdict)| *verdict == wanted);
        let faults = entries
            .iter()
            .filter_map(|(entry, verdict)| Some((*entry, verdict.fault()?)));
        let id = uuid::Uuid::new_v4;
        match self {
            Self::SendMessageBatch => {
                let taken = of(Verdict::Taken).map(
                    |(entry, _)| json!({ "Id": entry.entry_id, "MessageId": id(), "MD5OfMessageBody": "0".repeat(32) }),
                );
                let failed = faults.map(|(entry, (code, sender_fault))| {
                    json!({ "Id": entry.entry_id, "Code": code, "Message": WHY, "SenderFault": sender_fault })
                });
                let said = json!({ "Successful": taken.collect::<Value>(), "Failed": failed.collect::<Value>() });
                json_answer(200, &said)
            }
            Self::PublishBatch => {
                let taken = of(Verdict::Taken).map(|(entry, _)| {
                    format!(
                        "<member><Id>{}</Id><MessageId>{}</MessageId></member>",
                        entry.entry_id,
                        id()
                    )
                });
                let failed = faults.map(|(entry, (code, sender_fault))| {
                    format!(
                        "<member><Id>{}</Id><Code>{code}</Code><Message>{WHY}</Message>\
                         <SenderFault>{sender_fault}</SenderFault></member>",
                        entry.entry_id
                    )
                });
                let (taken, failed) = (taken.collect::<String>(), failed.collect::<String>());
                xml_answer(
                    200,
                    format!(
                        "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
                         <Successful>{taken}</Successful><Failed>{failed}</Failed></PublishBatchResult>\
                         </PublishBatchResponse>"
                    ),
                )
            }
            Self::PutEvents => {
                let say = |(_, verdict): &(&Entry, Verdict)| match verdict {
                    Verdict::Taken => json!({ "EventId": id() }),
                    Verdict::Failed => json!({ "ErrorCode": "InternalFailure", "ErrorMessage": WHY }),
                    Verdict::Refused => json!({ "ErrorCode": "InvalidArgument", "ErrorMessage": WHY }),
                    Verdict::Unmentioned => json!({}),
                };
                let said: Value = entries.iter().map(say).collect();
                let failed = faults.count();
                json_answer(200, &json!({ "Entries": said, "FailedEntryCount": failed }))
            }
        }
    }
}

const MEMBER: &str = "PublishBatchRequestEntries.member.";

/// The place and the rest of a form field of an entry.
fn member(name: &str) -> Option<(usize, &str)> {
    let (number, field) = name.strip_prefix(MEMBER)?.split_once('.')?;
    Some((number.parse::<usize>().ok()?.checked_sub(1)?, field))
}

fn sqs_entry(queue_url: &str, entry: &Value) -> Entry {
    Entry {
        group: text(&entry["MessageGroupId"]),
        deduplication_id: text(&entry["MessageDeduplicationId"]),
        ..entry_of(
            text(&entry["Id"]).unwrap_or_default(),
            queue_url.rsplit('/').next().unwrap_or_default(),
            &text(&entry["MessageBody"]).unwrap_or_default(),
        )
    }
}

fn sns_entry(topic_arn: &str, form: &[(String, String)], number: usize) -> Option<Entry> {
    let field = |name: &str| field(form, &format!("{MEMBER}{number}.{name}"));
    Some(Entry {
        group: field("MessageGroupId"),
        deduplication_id: field("MessageDeduplicationId"),
        ..entry_of(
            field("Id")?,
            topic_arn.rsplit(':').next().unwrap_or_default(),
            &field("Message").unwrap_or_default(),
        )
    })
}

fn event_entry(place: usize, entry: &Value) -> Entry {
    let bus = text(&entry["EventBusName"]).unwrap_or_default();
    let name = bus.rsplit('/').next().unwrap_or_default();
    entry_of(place.to_string(), name, &text(&entry["Detail"]).unwrap_or_default())
}

fn entry_of(entry_id: String, place: &str, body: &str) -> Entry {
    let bundle = if body.starts_with('[') {
        Batch::from_json(body.as_bytes()).ok()
    } else {
        None
    };
    let elements = bundle.into_iter().flat_map(|bundle| bundle.elements);
    let bundled = elements.filter_map(|element| Some(of_envelope(String::new(), place, Some(&element.envelope.ok()?))));
    let bundled = bundled.collect();
    let envelope = RawEnvelope::from_json(body.as_bytes()).ok();
    Entry {
        bundled,
        ..of_envelope(entry_id, place, envelope.as_ref())
    }
}

fn of_envelope(entry_id: String, place: &str, envelope: Option<&RawEnvelope>) -> Entry {
    Entry {
        entry_id,
        queue: place.to_owned(),
        event_id: envelope.map(|envelope| envelope.id.to_string()).unwrap_or_default(),
        key: envelope.and_then(|envelope| Some(envelope.partition_key.as_ref()?.to_string())),
        sequence: envelope.and_then(|envelope| Some(envelope.sequence?.get())),
        group: None,
        deduplication_id: None,
        bundled: Vec::new(),
    }
}

fn json_of(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

pub(super) fn form_of(bytes: &Bytes) -> Vec<(String, String)> {
    form_urlencoded::parse(bytes).into_owned().collect()
}

fn field(form: &[(String, String)], name: &str) -> Option<String> {
    let found = form.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.clone())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}
