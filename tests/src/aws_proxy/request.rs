//! A request as the proxy sees it.

use axum::http::{HeaderMap, Method, Uri, header::CONTENT_TYPE};
use bytes::Bytes;
use serde_json::Value;

use super::sending::{Sending, form_of};

/// One request to AWS.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operation, such as `SendMessageBatch`; empty where neither a JSON protocol nor the query
    /// protocol names it.
    pub operation: String,
    /// The body; null when it is no JSON.
    pub body: Value,
    /// The entries of a `SendMessageBatch`, a `PublishBatch` or a `PutEvents`, else none.
    pub entries: Vec<Entry>,
    pub(super) sending: Option<Sending>,
    /// Whether it speaks the query protocol, and so wants its errors in XML.
    pub(super) is_query: bool,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

/// One message that a request hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `Id`, or the place from 0 where there is none; means something within its request only.
    pub entry_id: String,
    /// The name of the queue, topic or event bus.
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
    /// The events of a bundle, in its order; nothing else of them is told than id, key and sequence.
    pub bundled: Vec<Entry>,
}

impl Request {
    pub(super) fn new(method: Method, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_query = header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.contains("x-www-form-urlencoded"));
        let operation = if is_query {
            let form = form_of(&bytes);
            let action = form.into_iter().find(|(name, _)| name == "Action");
            action.map(|(_, action)| action).unwrap_or_default()
        } else {
            let target = header("x-amz-target").unwrap_or_default();
            target.rsplit('.').next().unwrap_or_default().to_owned()
        };
        let sending = Sending::of(&operation);
        Self {
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            entries: sending.map(|sending| sending.entries(&bytes)).unwrap_or_default(),
            operation,
            sending,
            is_query,
            method,
            uri,
            headers,
            bytes,
        }
    }

    /// Whether it hands messages to a target.
    #[must_use]
    pub fn is_send(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether it hands messages to the queue, topic or event bus of this name.
    #[must_use]
    pub fn is_send_to(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.queue == name)
    }

    /// Whether its body has this text somewhere, as in a bundle's event. Letters, digits and hyphens.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        let (bytes, text) = (&self.bytes, text.as_bytes());
        bytes.windows(text.len().max(1)).any(|window| window == text)
    }

    /// Whether it puts an object into a bucket.
    #[must_use]
    pub fn is_store(&self) -> bool {
        self.method == Method::PUT
    }

    /// Whether it carries an event with this key.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.as_deref() == Some(key))
    }

    /// The same request with some of its entries.
    pub(super) fn with_entries(&self, kept: impl Fn(&Entry) -> bool) -> Self {
        let keeps = |place: usize| self.entries.get(place).is_some_and(&kept);
        let bytes = match self.sending {
            Some(sending) => sending.keep(&self.bytes, keeps),
            None => self.bytes.clone(),
        };
        Self::new(self.method.clone(), self.uri.clone(), self.headers.clone(), bytes)
    }
}
