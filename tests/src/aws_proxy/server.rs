//! The proxy's HTTP side.

use std::{
    panic,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header},
    response::Response,
};
use bytes::Bytes;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    Entry, Fault, Moment, Request, Rule,
    faults::{error, json_answer, quoting},
    gate::Decision,
    record::Record,
    sending::Verdict,
};

pub(super) struct Inner {
    upstream: String,
    client: reqwest::Client,
    pub(super) rules: Mutex<Vec<Rule>>,
    pub(super) record: Mutex<Record>,
}

/// What becomes of a request.
enum Answer {
    Reply(Response),
    /// The connection is cut.
    Cut,
}

impl Inner {
    pub(super) fn new(upstream: String) -> Self {
        Self {
            upstream,
            client: reqwest::Client::new(),
            rules: Mutex::default(),
            record: Mutex::default(),
        }
    }

    /// Does what the rules say. Runs to its end even when the caller is gone: what a killed process
    /// had handed over may still arrive.
    async fn handle(&self, request: Request) -> Answer {
        self.record().calls.add(&request);
        let send = request.is_send().then(|| self.record().begin(&request.entries));
        let done = self.carry_out(&request, send).await;
        if let Some(send) = send {
            self.record().end(send);
        }
        done.unwrap_or_else(|problem| {
            eprintln!("the proxy could not forward {}: {problem:#}", request.operation);
            Answer::Reply(error(&request, 502, "ServiceUnavailable"))
        })
    }

    async fn carry_out(&self, request: &Request, send: Option<usize>) -> Result<Answer> {
        let reply = match self.fault_for(request) {
            Fault::None => self.forward(request, send).await?.0,
            Fault::Status(status) => error(
                request,
                status,
                if status == 503 {
                    "ServiceUnavailable"
                } else {
                    "InternalFailure"
                },
            ),
            Fault::Throttled => error(request, 400, "RequestThrottled"),
            Fault::AccessDenied => error(request, 403, "AccessDeniedException"),
            Fault::Refused(status, code) => error(request, status, code),
            Fault::Quoted(status, code, from) => quoting(request, status, code, &from),
            Fault::FailEntries(chosen) => {
                self.forward_without(request, send, |entry| chosen.has(entry), Verdict::Failed)
                    .await?
            }
            Fault::ForgetEntries(chosen) => {
                self.forward_without(request, send, |entry| chosen.has(entry), Verdict::Unmentioned)
                    .await?
            }
            Fault::RefuseEntries(chosen) => {
                self.forward_without(request, send, |entry| chosen.has(entry), Verdict::Refused)
                    .await?
            }
            Fault::RefuseRequest => error(request, 400, "InvalidParameterValue"),
            Fault::LoseReply => {
                self.forward(request, send).await?;
                return Ok(Answer::Cut);
            }
            Fault::Hold(Moment::BeforeApplied, gate) => match gate.pass().await {
                Decision::GoOn => self.forward(request, send).await?.0,
                Decision::Discard => error(request, 503, "ServiceUnavailable"),
            },
            Fault::Hold(Moment::BeforeReply, gate) => {
                let (reply, _) = self.forward(request, send).await?;
                match gate.pass().await {
                    Decision::GoOn => reply,
                    Decision::Discard => return Ok(Answer::Cut),
                }
            }
            Fault::Swallow => {
                if let Some(send) = send {
                    self.record().take(send, &request.entries);
                }
                say(request, |_| Verdict::Taken)
            }
        };
        Ok(Answer::Reply(reply))
    }

    /// Forwards; returns the reply, and the entries that AWS took by it.
    async fn forward(&self, request: &Request, send: Option<usize>) -> Result<(Response, Vec<Entry>)> {
        let (status, headers, body) = self.ask_upstream(request).await?;
        let mut taken = Vec::new();
        if let (Some(send), Some(sending), true) = (send, request.sending, status.is_success()) {
            taken = sending.taken(&request.entries, &body);
            self.record().take(send, &taken);
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok((response, taken))
    }

    /// Forwards the entries that are not `left_out`, and says `verdict` of the others.
    async fn forward_without(
        &self,
        request: &Request,
        send: Option<usize>,
        left_out: impl Fn(&Entry) -> bool,
        verdict: Verdict,
    ) -> Result<Response> {
        let rest = request.with_entries(|entry| !left_out(entry));
        let mut taken = Vec::new();
        if !rest.entries.is_empty() {
            let (response, entries) = self.forward(&rest, send).await?;
            if !response.status().is_success() {
                return Ok(response);
            }
            taken = entries;
        }
        // Entries are known by their event: an id or a place means another one in the smaller request.
        let is_taken = |entry: &Entry| taken.iter().any(|taken| taken.event_id == entry.event_id);
        Ok(say(request, |entry| {
            if left_out(entry) {
                verdict
            } else if !is_taken(entry) {
                Verdict::Failed
            } else {
                Verdict::Taken
            }
        }))
    }

    async fn ask_upstream(&self, request: &Request) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let asked = self
            .client
            .request(request.method.clone(), format!("{}{path}", self.upstream));
        let headers = without(
            &request.headers,
            &[header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING],
        );
        let response = asked
            .headers(headers)
            .body(request.bytes.clone())
            .send()
            .await
            .context("asking LocalStack")?;
        let status = response.status();
        let headers = without(
            response.headers(),
            &[header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION],
        );
        Ok((status, headers, response.bytes().await?))
    }
}

/// A 200 that says of each entry what is chosen for it.
fn say(request: &Request, verdict: impl Fn(&Entry) -> Verdict) -> Response {
    let entries: Vec<(&Entry, Verdict)> = request.entries.iter().map(|entry| (entry, verdict(entry))).collect();
    match request.sending {
        Some(sending) => sending.answer(&entries),
        None => json_answer(200, &json!({})),
    }
}

/// Serves on a free port until the set is dropped.
pub(super) async fn serve(inner: Arc<Inner>) -> Result<(String, JoinSet<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let router = Router::new().fallback(handle).with_state(inner);
    let mut server = JoinSet::new();
    server.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    Ok((endpoint, server))
}

async fn handle(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let request = Request::new(method, uri, headers, bytes);
    let work = tokio::spawn(async move { inner.handle(request).await });
    match work.await {
        Ok(Answer::Reply(response)) => response,
        // Ends the connection's task, and with it the connection, without a word on stderr.
        Ok(Answer::Cut) => panic::resume_unwind(Box::new("the reply is lost")),
        Err(_) => json_answer(500, &json!({ "__type": "InternalFailure" })),
    }
}

fn without(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut kept = headers.clone();
    for name in names {
        kept.remove(name);
    }
    kept
}
