//! Lambda's Runtime API (version 2018-06-01) for one process and one test.
//!
//! Source of the rules: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, anyhow, ensure};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, StatusCode},
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    task::JoinSet,
};

/// What the process answered, and the way to acknowledge it.
pub(super) type Answered = (Result<Value>, oneshot::Sender<()>);

/// The server's side that a test holds.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    pub(super) address: String,
    desk: Arc<Desk>,
}

/// An invocation on its way to the process.
#[derive(Debug)]
pub(super) struct Handover {
    request_id: String,
    payload: String,
    deadline: Duration,
}

#[derive(Debug)]
struct Desk {
    max_concurrency: usize,
    books: Mutex<Books>,
    handed_over: Notify,
}

#[derive(Debug, Default)]
struct Books {
    /// When it first asked.
    asked_at: Option<Instant>,
    waiting: VecDeque<Handover>,
    open: HashMap<String, oneshot::Sender<Answered>>,
}

impl Handover {
    pub(super) fn new(payload: String, deadline: Duration) -> Self {
        Self {
            request_id: uuid::Uuid::new_v4().to_string(),
            payload,
            deadline,
        }
    }
}

impl RuntimeApi {
    pub(super) async fn serve(max_concurrency: usize) -> Result<(Self, JoinSet<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let desk = Arc::new(Desk {
            max_concurrency,
            books: Mutex::default(),
            handed_over: Notify::new(),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            // An extension that registers for no events: then Lambda sends SIGTERM before it stops a process.
            .route("/2020-01-01/extension/register", post(register))
            .route(
                "/2020-01-01/extension/event/next",
                get(std::future::pending::<StatusCode>),
            )
            .with_state(desk.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok((Self { address, desk }, server))
    }

    /// Whether the process has asked for its first invocation.
    pub(super) fn is_asked(&self) -> bool {
        self.desk.books().asked_at.is_some()
    }

    /// When it asked for its first invocation; now, if it has not.
    pub(super) fn asked_at(&self) -> Instant {
        self.desk.books().asked_at.unwrap_or_else(Instant::now)
    }

    /// Gives the process its next invocation; the receiver gets its answer.
    pub(super) fn hand_over(&self, handover: Handover) -> Result<oneshot::Receiver<Answered>> {
        let (answer, answered) = oneshot::channel();
        let mut books = self.desk.books();
        ensure!(
            books.open.len() < self.desk.max_concurrency,
            "the execution environment has no room for another invocation"
        );
        books.open.insert(handover.request_id.clone(), answer);
        books.waiting.push_back(handover);
        self.desk.handed_over.notify_one();
        Ok(answered)
    }
}

impl Desk {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the answer to the test and waits until the test acknowledges it.
    async fn finish(&self, id: &str, answer: Result<Value>) -> StatusCode {
        let open = self.books().open.remove(id);
        let Some(answered) = open else {
            return StatusCode::BAD_REQUEST;
        };
        let (acknowledge, acknowledged) = oneshot::channel();
        let _ = answered.send((answer, acknowledge));
        // A test that lets go without a word means to kill the process: it gets no answer.
        match acknowledged.await {
            Ok(()) => StatusCode::ACCEPTED,
            Err(_) => std::future::pending().await,
        }
    }
}

async fn register() -> Response {
    let mut response = Response::new(Body::from(
        r#"{"functionName":"test","functionVersion":"$LATEST","handler":"bootstrap"}"#,
    ));
    let headers = response.headers_mut();
    headers.insert("lambda-extension-identifier", HeaderValue::from_static("test"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    response
}

async fn next(State(desk): State<Arc<Desk>>) -> Response {
    desk.books().asked_at.get_or_insert_with(Instant::now);
    let handover = loop {
        let handed_over = desk.handed_over.notified();
        if let Some(handover) = desk.books().waiting.pop_front() {
            break handover;
        }
        handed_over.await;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut response = Response::new(Body::from(handover.payload));
    let headers = [
        ("lambda-runtime-aws-request-id", handover.request_id),
        (
            "lambda-runtime-deadline-ms",
            (now + handover.deadline).as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:test".to_owned(),
        ),
        ("content-type", "application/json".to_owned()),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn response(State(desk): State<Arc<Desk>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let answer = serde_json::from_slice(&body).map_err(|_| anyhow!("an answer that is no JSON"));
    desk.finish(&id, answer).await
}

async fn error(State(desk): State<Arc<Desk>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let said = String::from_utf8_lossy(&body).into_owned();
    desk.finish(&id, Err(anyhow!("the function reported an error: {said}")))
        .await
}
