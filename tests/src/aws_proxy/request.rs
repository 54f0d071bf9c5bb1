//! A request as the proxy sees it.

use axum::http::{HeaderMap, Method, Uri};
use bytes::Bytes;
use oncebox_envelope::RawEnvelope;
use serde_json::Value;

/// One request to AWS.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operation, such as `SendMessageBatch`; empty for what is no JSON protocol.
    pub operation: String,
    /// The body; null when it is no JSON.
    pub body: Value,
    /// The entries of a `SendMessageBatch`, else none.
    pub entries: Vec<Entry>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

/// One entry of a `SendMessageBatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `Id`, which means something within its request only.
    pub entry_id: String,
    /// The queue's name.
    pub queue: String,
    /// The envelope's id.
    pub event_id: String,
    /// The envelope's `partitionkey`.
    pub key: Option<String>,
    /// The envelope's `sequence`.
    pub sequence: Option<i64>,
    /// `MessageGroupId`.
    pub group: Option<String>,
    /// `MessageDeduplicationId`.
    pub deduplication_id: Option<String>,
}

impl Request {
    pub(super) fn new(method: Method, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Self {
        let target = headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok())
            .unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let entries = if operation == "SendMessageBatch" {
            entries(&body)
        } else {
            Vec::new()
        };
        Self {
            operation,
            body,
            entries,
            method,
            uri,
            headers,
            bytes,
        }
    }

    /// Whether it hands messages to SQS.
    #[must_use]
    pub fn is_send(&self) -> bool {
        self.operation == "SendMessageBatch"
    }

    /// Whether it carries an event with this key.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.as_deref() == Some(key))
    }

    /// The same request with some of its entries.
    pub(super) fn with_entries(&self, kept: impl Fn(&Entry) -> bool) -> Self {
        let ids: Vec<&str> = self
            .entries
            .iter()
            .filter(|entry| kept(entry))
            .map(|entry| entry.entry_id.as_str())
            .collect();
        let mut body = self.body.clone();
        if let Some(all) = body["Entries"].as_array_mut() {
            all.retain(|entry| entry["Id"].as_str().is_some_and(|id| ids.contains(&id)));
        }
        Self::new(
            self.method.clone(),
            self.uri.clone(),
            self.headers.clone(),
            body.to_string().into(),
        )
    }
}

fn entries(body: &Value) -> Vec<Entry> {
    let queue = text(&body["QueueUrl"]).unwrap_or_default();
    let queue = queue.rsplit('/').next().unwrap_or_default();
    let sent = body["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    sent.iter().map(|entry| read_entry(queue, entry)).collect()
}

fn read_entry(queue: &str, entry: &Value) -> Entry {
    let body = text(&entry["MessageBody"]).unwrap_or_default();
    let envelope = RawEnvelope::from_json(body.as_bytes()).ok();
    Entry {
        entry_id: text(&entry["Id"]).unwrap_or_default(),
        queue: queue.to_owned(),
        event_id: envelope
            .as_ref()
            .map(|envelope| envelope.id.to_string())
            .unwrap_or_default(),
        key: envelope
            .as_ref()
            .and_then(|envelope| Some(envelope.partition_key.as_ref()?.to_string())),
        sequence: envelope.as_ref().and_then(|envelope| Some(envelope.sequence?.get())),
        group: text(&entry["MessageGroupId"]),
        deduplication_id: text(&entry["MessageDeduplicationId"]),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}
