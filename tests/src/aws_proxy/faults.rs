//! What can happen to a request.

use std::{fmt, sync::Arc};

use axum::{
    body::Body,
    http::{StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use serde_json::{Value, json};

use super::{Entry, Gate, Request};

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing: it goes through.
    None,
    /// Answered with this status and AWS's `InternalFailure` or `ServiceUnavailable`; not applied.
    Status(u16),
    /// Answered as AWS answers who asks too often; not applied.
    Throttled,
    /// Refused as AWS refuses whom a policy does not allow; not applied.
    AccessDenied,
    /// Refused with this status and code; not applied.
    Refused(u16, &'static str),
    /// As `Refused`, and the message quotes the request's body from this text on, as validation errors of AWS quote
    /// what they refuse; not applied.
    Quoted(u16, &'static str, String),
    /// Answered with 200; the chosen entries are `Failed` and not applied.
    FailEntries(Chosen),
    /// Answered with 200; the chosen entries are not applied and not mentioned (an EventBridge entry is
    /// answered with nothing).
    ForgetEntries(Chosen),
    /// Answered with 200; the chosen entries are `Failed` by their sender's fault and not applied.
    RefuseEntries(Chosen),
    /// Refused as a whole by its sender's fault, without a word about which entry is meant; not applied.
    RefuseRequest,
    /// Applied, and the connection is cut instead of an answer.
    LoseReply,
    /// Held until the test decides; see [`Gate`].
    Hold(Moment, Gate),
    /// Answered as if the target had taken all entries; LocalStack never sees them. For volume.
    Swallow,
}

/// When a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before AWS has it.
    BeforeApplied,
    /// After AWS has done it, before its caller knows.
    BeforeReply,
}

/// A choice among the entries of a batch.
#[derive(Clone)]
pub struct Chosen(Arc<dyn Fn(&Entry) -> bool + Send + Sync>);

impl Fault {
    /// `Failed` for the entries with this key.
    #[must_use]
    pub fn fail_key(key: &str) -> Self {
        let key = key.to_owned();
        Self::fail(move |entry| entry.key.as_ref() == Some(&key))
    }

    /// `Failed` for the entries that are chosen.
    #[must_use]
    pub fn fail(chosen: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        Self::FailEntries(Chosen(Arc::new(chosen)))
    }

    /// `Failed` for good for the entries that are chosen.
    #[must_use]
    pub fn refuse(chosen: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        Self::RefuseEntries(Chosen(Arc::new(chosen)))
    }

    /// No word about the entries that are chosen.
    #[must_use]
    pub fn forget(chosen: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        Self::ForgetEntries(Chosen(Arc::new(chosen)))
    }
}

impl Chosen {
    pub(super) fn has(&self, entry: &Entry) -> bool {
        (self.0)(entry)
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chosen")
    }
}

/// An error in the protocol that the request speaks.
pub(super) fn error(request: &Request, status: u16, code: &str) -> Response {
    error_that_says(request, status, code, "a test asked for this")
}

/// An error whose message quotes the request from this text on.
pub(super) fn quoting(request: &Request, status: u16, code: &str, from: &str) -> Response {
    let body = String::from_utf8_lossy(&request.bytes);
    let value = &body[body.find(from).unwrap_or_default()..];
    let quoted = format!("1 validation error detected: Value '{value}' at 'entries' failed to satisfy constraint");
    error_that_says(request, status, code, &quoted)
}

fn error_that_says(request: &Request, status: u16, code: &str, why: &str) -> Response {
    if request.is_query {
        let fault = if status < 500 { "Sender" } else { "Receiver" };
        let body = format!(
            "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>{fault}</Type>\
             <Code>{code}</Code><Message>{}</Message></Error></ErrorResponse>",
            why.replace('&', "&amp;").replace('<', "&lt;")
        );
        return xml_answer(status, body);
    }
    let body = json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": why });
    json_answer(status, &body)
}

pub(super) fn json_answer(status: u16, body: &Value) -> Response {
    answer(status, body.to_string(), "application/x-amz-json-1.0")
}

pub(super) fn xml_answer(status: u16, body: String) -> Response {
    answer(status, body, "text/xml")
}

fn answer(status: u16, body: String, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(content_type));
    response
}
