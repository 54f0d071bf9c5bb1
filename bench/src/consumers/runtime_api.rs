//! Lambda's Runtime API as a function sees it, one invocation at a time.
//!
//! AWS Lambda Developer Guide, "Using the Lambda runtime API" and "Extensions API".

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use uuid::Uuid;

/// The function's time limit, and how much longer an answer is waited for.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);

/// A running Runtime API; it ends with this value.
pub(crate) struct RuntimeApi {
    pub(crate) address: SocketAddr,
    invocations: mpsc::Sender<Invocation>,
    handed_out: mpsc::UnboundedReceiver<Instant>,
    reports: mpsc::UnboundedReceiver<Report>,
    asked: watch::Receiver<Option<Instant>>,
    _server: JoinSet<()>,
}

struct Invocation {
    id: String,
    event: Vec<u8>,
}

/// What the function says about an invocation, or about its start.
struct Report {
    id: String,
    at: Instant,
    said: Result<Value, String>,
}

struct Shared {
    invocations: Mutex<mpsc::Receiver<Invocation>>,
    handed_out: mpsc::UnboundedSender<Instant>,
    reports: mpsc::UnboundedSender<Report>,
    asked: watch::Sender<Option<Instant>>,
}

impl RuntimeApi {
    /// Serves one function on a free port.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (invocations, from_driver) = mpsc::channel(1);
        let (to_driver, handed_out) = mpsc::unbounded_channel();
        let (report, reports) = mpsc::unbounded_channel();
        let (ask, asked) = watch::channel(None);
        let shared = Arc::new(Shared {
            invocations: Mutex::new(from_driver),
            handed_out: to_driver,
            reports: report,
            asked: ask,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .route("/2020-01-01/extension/register", post(register))
            .route(
                "/2020-01-01/extension/event/next",
                get(std::future::pending::<StatusCode>),
            )
            .layer(DefaultBodyLimit::max(6 * 1024 * 1024))
            .with_state(shared);
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends with the runner; a function that is not answered fails the run.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            invocations,
            handed_out,
            reports,
            asked,
            _server: server,
        })
    }

    /// When the function first asked for an event; waits for it.
    ///
    /// # Errors
    /// It reports an error instead, or does not ask within a minute.
    pub(crate) async fn asked(&mut self) -> Result<Instant> {
        let asked = self.asked.wait_for(Option::is_some);
        tokio::select! {
            asked = timeout(TIME_LIMIT, asked) => {
                let asked = asked.context("the function does not ask for an event")??;
                (*asked).context("asked for")
            }
            Some(report) = self.reports.recv() => match report.said {
                Err(why) => bail!("the function did not start: {why}"),
                Ok(_) => bail!("the function answers what it was not asked"),
            },
        }
    }

    /// Hands out an event and waits for the answer; the time is from the one to the other.
    ///
    /// # Errors
    /// The function reports an error, answers something else, or not within its time limit.
    pub(crate) async fn invoke(&mut self, event: Vec<u8>) -> Result<(Value, Duration)> {
        let id = Uuid::new_v4().to_string();
        let invocation = Invocation { id: id.clone(), event };
        self.invocations
            .send(invocation)
            .await
            .context("the runtime API has ended")?;
        let report = timeout(TIME_LIMIT + GRACE, self.reports.recv()).await;
        let report = report
            .context("the function does not answer")?
            .context("the runtime API has ended")?;
        let handed_out = self.handed_out.recv().await.context("the runtime API has ended")?;
        if report.id != id {
            bail!("the function answers an invocation that it was not given");
        }
        match report.said {
            Ok(answer) => Ok((answer, report.at - handed_out)),
            Err(why) => bail!("the function failed: {why}"),
        }
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.asked.send_if_modified(|asked| {
        let is_first = asked.is_none();
        asked.get_or_insert_with(Instant::now);
        is_first
    });
    let Some(Invocation { id, event }) = shared.invocations.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemTime::now() + TIME_LIMIT;
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:bench".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0".to_owned(),
        ),
    ];
    let _ = shared.handed_out.send(Instant::now());
    (headers, event).into_response()
}

async fn response(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let said = serde_json::from_slice(&body).map_err(|_| "its answer is no JSON".to_owned());
    report(&shared, id, said)
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    report(&shared, id, Err(String::from_utf8_lossy(&body).into_owned()))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    report(&shared, String::new(), Err(String::from_utf8_lossy(&body).into_owned()))
}

fn report(shared: &Shared, id: String, said: Result<Value, String>) -> StatusCode {
    let at = Instant::now();
    let _ = shared.reports.send(Report { id, at, said });
    StatusCode::ACCEPTED
}

/// A function registers as an extension to be told of its end; it is killed instead.
async fn register() -> Response {
    let known = json!({ "functionName": "bench", "functionVersion": "$LATEST", "handler": "bootstrap" });
    let headers = [("lambda-extension-identifier", Uuid::new_v4().to_string())];
    (headers, known.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    /// What a runtime sends and gets.
    async fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: api\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Takes an event and answers by `answer` with the event itself.
    async fn take(address: SocketAddr, answer: &str) {
        let next = call(address, "GET", "invocation/next", "").await;
        let (head, event) = next.split_once("\r\n\r\n").unwrap();
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let (_, id) = headers
            .find(|(name, _)| *name == "lambda-runtime-aws-request-id")
            .unwrap();
        let answered = call(address, "POST", &format!("invocation/{id}/{answer}"), event).await;
        assert!(answered.starts_with("HTTP/1.1 202"), "{answered}");
    }

    #[tokio::test]
    async fn an_event_goes_out_once_and_its_answer_comes_back() {
        let mut api = RuntimeApi::start().await.unwrap();
        let address = api.address;
        let mut function = JoinSet::new();
        function.spawn(async move {
            take(address, "response").await;
            take(address, "response").await;
            take(address, "error").await;
        });
        api.asked().await.unwrap();
        for event in [r#"{"n":1}"#, r#"{"n":2}"#] {
            let (answer, _) = api.invoke(event.into()).await.unwrap();
            assert_eq!(answer.to_string(), event);
        }
        let failed = api.invoke(b"\"why\"".to_vec()).await.unwrap_err();
        assert_eq!(failed.to_string(), "the function failed: \"why\"");
    }

    #[tokio::test]
    async fn a_function_that_does_not_start_says_why() {
        let mut api = RuntimeApi::start().await.unwrap();
        let address = api.address;
        let mut function = JoinSet::new();
        function.spawn(async move { call(address, "POST", "init/error", "no table").await });
        let failed = api.asked().await.unwrap_err();
        assert_eq!(failed.to_string(), "the function did not start: no table");
    }
}
