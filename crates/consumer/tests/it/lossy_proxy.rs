//! An HTTP proxy before DynamoDB that loses what it is told to lose.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use aws_sdk_dynamodb::{Client, config::Builder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::stack::endpoint;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Lose {
    /// The request never reaches DynamoDB.
    Request,
    /// DynamoDB applies it; the reply is lost.
    Reply,
    /// It is answered as canceled: another transaction is changing the item of its last write.
    /// LocalStack never does that by itself.
    Conflict,
    /// It is refused: too many requests.
    Throttle,
}

pub(crate) struct LossyProxy {
    pub(crate) client: Client,
    lost: Arc<AtomicUsize>,
    /// Requests of any kind that have come so far.
    requests: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl LossyProxy {
    /// Loses the first `count` transactions in the way of `lose`; everything else passes.
    pub(crate) async fn new(lose: Lose, count: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = Builder::from(&aws_config::load_from_env().await)
            .endpoint_url(url)
            .build();
        let lost = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let mut serving = JoinSet::new();
        let counters = (Arc::clone(&lost), Arc::clone(&requests));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, lose, count, counters.clone()));
            }
        });
        Self {
            client: Client::from_conf(config),
            lost,
            requests,
            _serving: serving,
        }
    }

    /// Everything passes; requests are counted.
    pub(crate) async fn counting() -> Self {
        Self::new(Lose::Request, 0).await
    }

    /// How many requests have come since the last call.
    pub(crate) fn take_requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// How many have been lost so far.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut client: TcpStream,
    lose: Lose,
    count: usize,
    (lost, requests): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let upstream = endpoint();
    let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
    while let Some(request) = read_message(&mut client).await {
        let is_transaction = String::from_utf8_lossy(&request).contains(".TransactWriteItems");
        let is_lost = is_transaction
            && lost
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < count).then_some(n + 1))
                .is_ok();
        requests.fetch_add(1, Ordering::SeqCst);
        match lose {
            _ if !is_lost => {}
            Lose::Request => return,
            Lose::Reply => {}
            Lose::Conflict | Lose::Throttle => {
                let reply = refusal(lose, &request);
                client.write_all(reply.as_bytes()).await.unwrap();
                continue;
            }
        }
        let mut server = TcpStream::connect(upstream).await.unwrap();
        server.write_all(&request).await.unwrap();
        let reply = read_message(&mut server).await.unwrap();
        if is_lost || client.write_all(&reply).await.is_err() {
            return;
        }
    }
}

fn refusal(lose: Lose, request: &[u8]) -> String {
    let head = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let body: Value = serde_json::from_slice(&request[head + 4..]).unwrap();
    let writes = body["TransactItems"].as_array().unwrap().len();
    let body = if lose == Lose::Conflict {
        let mut reasons = vec![json!({ "Code": "None" }); writes];
        reasons[writes - 1] = json!({ "Code": "TransactionConflict", "Message": "ongoing" });
        json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "message": "canceled", "CancellationReasons": reasons,
        })
    } else {
        json!({ "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slow down" })
    };
    let body = body.to_string();
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One HTTP message with a `Content-Length`; `None` at the end of the connection.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if let Some(head) = message.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&message[..head]).to_lowercase();
            let length = text
                .split("content-length:")
                .nth(1)
                .map_or("0", |rest| rest.split("\r\n").next().unwrap());
            if message.len() >= head + 4 + length.trim().parse::<usize>().unwrap() {
                return Some(message);
            }
        }
        if stream.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    }
}
