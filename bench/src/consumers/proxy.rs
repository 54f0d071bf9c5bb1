//! What stands between a function and the database: it counts the calls, and makes each take longer.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::capacity::write_units;

const MAX_HEADERS: usize = 64;
/// More than the 4 MB of a transaction as JSON.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// What has passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By operation, such as `PutItem`.
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) write_units: usize,
}

/// A running proxy; it ends with this value.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
    _connections: JoinSet<()>,
}

impl Proxy {
    /// Passes on what comes to a free port, each request `latency` after it came.
    pub(crate) async fn start(upstream: SocketAddr, latency: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Mutex::new(Counts::default()));
        let mut connections = JoinSet::new();
        let shared = Arc::clone(&counts);
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(pass(client, upstream, latency, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            counts,
            _connections: connections,
        })
    }

    /// What has passed so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves a connection until either side closes it.
async fn pass(mut client: TcpStream, upstream: SocketAddr, latency: Duration, counts: Arc<Mutex<Counts>>) {
    // A connection that breaks is the client's to notice.
    let _: io::Result<()> = async {
        let mut database = TcpStream::connect(upstream).await?;
        client.set_nodelay(true)?;
        database.set_nodelay(true)?;
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        while let Some(request) = read(&mut client, &mut asked, Kind::Request).await? {
            let pass_at = Instant::now() + latency;
            count(&counts, &request, &asked);
            sleep_until(pass_at).await;
            database.write_all(&asked[..request.end]).await?;
            asked.drain(..request.end);
            let Some(answer) = read(&mut database, &mut answered, Kind::Answer).await? else {
                break;
            };
            client.write_all(&answered[..answer.end]).await?;
            answered.drain(..answer.end);
        }
        Ok(())
    }
    .await;
}

fn count(counts: &Mutex<Counts>, request: &Message, bytes: &[u8]) {
    let operation = request.operation.as_deref().unwrap_or("unknown");
    let body = serde_json::from_slice(&bytes[request.head..request.end]).unwrap_or(Value::Null);
    let units = write_units(operation, &body);
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.calls.entry(operation.to_owned()).or_default() += 1;
    counts.write_units += units;
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    Answer,
}

/// Where a message's parts end.
struct Message {
    head: usize,
    end: usize,
    operation: Option<String>,
}

/// Reads until a message is whole; `None` when the connection was closed.
async fn read(socket: &mut TcpStream, bytes: &mut Vec<u8>, kind: Kind) -> io::Result<Option<Message>> {
    loop {
        if let Some(message) = parse(bytes, kind)?.filter(|message| message.end <= bytes.len()) {
            return Ok(Some(message));
        }
        bytes.reserve(32 * 1024);
        if bytes.len() > MAX_MESSAGE || socket.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse(bytes: &[u8], kind: Kind) -> io::Result<Option<Message>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let parsed = match kind {
        Kind::Request => httparse::Request::new(&mut headers).parse(bytes),
        Kind::Answer => httparse::Response::new(&mut headers).parse(bytes),
    };
    let httparse::Status::Complete(head) = parsed.map_err(|error| invalid(&error.to_string()))? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    if header("transfer-encoding").is_some() {
        return Err(invalid("a body in chunks, whose length is not known before"));
    }
    let length: usize = header("content-length").map_or(Ok(0), |length| {
        length
            .trim()
            .parse()
            .map_err(|_| invalid("content-length is no number"))
    })?;
    // `DynamoDB_20120810.PutItem`
    let operation = header("x-amz-target").and_then(|target| target.rsplit_once('.'));
    Ok(Some(Message {
        head,
        end: head + length,
        operation: operation.map(|(_, operation)| operation.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(operation: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: db\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    }

    /// Answers each request with its own body.
    async fn mirror(listener: TcpListener) {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            while let Ok(Some(message)) = read(&mut socket, &mut bytes, Kind::Request).await {
                let body = &bytes[message.head..message.end];
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                socket.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
                bytes.drain(..message.end);
            }
        }
    }

    #[tokio::test]
    async fn it_passes_everything_on_later_and_counts_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let mut background = JoinSet::new();
        background.spawn(mirror(listener));
        let latency = Duration::from_millis(4);
        let proxy = Proxy::start(upstream, latency).await.unwrap();
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let item = json!({ "Item": { "pk": { "S": "x".repeat(2_000) } } });
        let both = json!({ "TransactItems": [{ "Put": item }, { "Delete": {} }] });
        let requests = [
            ("PutItem", &item),
            ("GetItem", &item),
            ("TransactWriteItems", &both),
            ("PutItem", &item),
        ];
        let started = Instant::now();
        let mut bytes = Vec::new();
        for (operation, body) in requests {
            client.write_all(&request(operation, body)).await.unwrap();
            let answer = read(&mut client, &mut bytes, Kind::Answer).await.unwrap().unwrap();
            assert_eq!(
                serde_json::from_slice::<Value>(&bytes[answer.head..answer.end]).unwrap(),
                *body
            );
            bytes.drain(..answer.end);
        }
        assert!(started.elapsed() >= latency * 4);
        let calls = [("GetItem", 1), ("PutItem", 2), ("TransactWriteItems", 1)];
        let expected = Counts {
            calls: calls.map(|(operation, calls)| (operation.to_owned(), calls)).into(),
            write_units: 2 + 2 + (2 * 2 + 2),
        };
        assert_eq!(proxy.counts(), expected);
    }
}
