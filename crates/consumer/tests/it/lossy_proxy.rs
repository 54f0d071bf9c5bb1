//! An HTTP proxy before DynamoDB that loses what it is told to lose.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use aws_sdk_dynamodb::{Client, config::Builder};
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
}

pub(crate) struct LossyProxy {
    pub(crate) client: Client,
    lost: Arc<AtomicUsize>,
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
        let mut serving = JoinSet::new();
        let counter = Arc::clone(&lost);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, lose, count, Arc::clone(&counter)));
            }
        });
        Self {
            client: Client::from_conf(config),
            lost,
            _serving: serving,
        }
    }

    /// How many have been lost so far.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn serve(mut client: TcpStream, lose: Lose, count: usize, lost: Arc<AtomicUsize>) {
    let upstream = endpoint();
    let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
    while let Some(request) = read_message(&mut client).await {
        let is_transaction = String::from_utf8_lossy(&request).contains(".TransactWriteItems");
        let is_lost = is_transaction
            && lost
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < count).then_some(n + 1))
                .is_ok();
        if is_lost && lose == Lose::Request {
            return;
        }
        let mut server = TcpStream::connect(upstream).await.unwrap();
        server.write_all(&request).await.unwrap();
        let reply = read_message(&mut server).await.unwrap();
        if is_lost || client.write_all(&reply).await.is_err() {
            return;
        }
    }
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
