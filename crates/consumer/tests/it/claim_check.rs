//! Data in S3: what was sent is what the handler sees, or the event is set aside.

use std::time::{Duration, Instant};

use aws_sdk_s3::{Client, config::Builder};
use oncebox_consumer::{Consumer, GapGuard, Invocation, Outcome, Reason, S3ClaimCheck};
use oncebox_envelope::Event;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    delivery::{Message, batch, deliver, deliver_one, outcomes, returned},
    ping::{Act, Ping},
    stack::{Queue, Tables, endpoint},
};

/// A bucket of a test's own.
struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    async fn new() -> Self {
        endpoint();
        let client = Client::new(&aws_config::load_from_env().await);
        let name = format!("consumer-test-{}", Uuid::new_v4().simple());
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(crate::stack::env("AWS_REGION").as_str().into());
        let create = client.create_bucket().bucket(&name);
        let create = match crate::stack::env("AWS_REGION").as_str() {
            "us-east-1" => create,
            _ => create.create_bucket_configuration(place.build()),
        };
        create.send().await.unwrap();
        Self { client, name }
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        let put = self.client.put_object().bucket(&self.name).key(key);
        put.body(bytes.to_vec().into()).send().await.unwrap();
    }

    /// A ping whose data is `data`, as the envelope says; nothing is stored.
    fn reference(&self, key: &str, data: &[u8]) -> Message {
        reference(&format!("s3://{}/{key}", self.name), data)
    }

    /// A ping with large data, stored.
    async fn ping(&self, act: Act) -> (Message, Vec<u8>) {
        let data = ping_data(act, 300_000);
        let key = format!("oncebox/{}.json", Uuid::new_v4());
        self.put(&key, &data).await;
        (self.reference(&key, &data), data)
    }
}

fn ping_data(act: Act, bytes: usize) -> Vec<u8> {
    json!({ "act": act, "note": "x".repeat(bytes) })
        .to_string()
        .into_bytes()
}

fn reference(uri: &str, data: &[u8]) -> Message {
    let id = Uuid::now_v7();
    let hex: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({
        "specversion": "1.0", "id": id, "source": "test", "type": Ping::TYPE, "time": "2026-01-01T00:00:00Z",
        "dataref": uri, "datalength": data.len(), "datasha256": hex,
    });
    Message::raw(id, body.to_string())
}

fn consumer(tables: &Tables, client: &Client) -> Consumer {
    let claim_check = S3ClaimCheck::new(client.clone());
    tables.builder().claim_check(claim_check).build().unwrap()
}

#[tokio::test]
async fn data_in_s3_is_there_when_the_handler_begins_and_the_effect_is_one() {
    let (tables, bucket) = (Tables::new().await, Bucket::new().await);
    let (message, data) = bucket.ping(Act::Succeed).await;
    let with_client = consumer(&tables, &bucket.client);
    assert_eq!(outcomes(&deliver_one(&with_client, &message).await), [Outcome::Done]);
    let from_env = tables.builder().claim_check(S3ClaimCheck::from_env()).build().unwrap();
    assert_eq!(outcomes(&deliver_one(&from_env, &message).await), [Outcome::Duplicate]);

    // A replay may carry the data in the envelope, or lie elsewhere: the same event.
    let by_value = Message::with(
        message.id,
        Ping::TYPE,
        &serde_json::from_slice(&data).unwrap(),
        &json!({}),
    );
    assert_eq!(
        outcomes(&deliver_one(&with_client, &by_value).await),
        [Outcome::Duplicate]
    );
    bucket.put("moved.json", &data).await;
    let mut moved = bucket.reference("moved.json", &data);
    moved.body = moved.body.replace(&moved.id.to_string(), &message.id.to_string());
    assert_eq!(outcomes(&deliver_one(&with_client, &moved).await), [Outcome::Duplicate]);
    assert_eq!(tables.times(message.id).await, 1);

    // The same id with other data is none.
    let other = ping_data(Act::Succeed, 7);
    bucket.put("other.json", &other).await;
    let mut other = bucket.reference("other.json", &other);
    other.body = other.body.replace(&other.id.to_string(), &message.id.to_string());
    let settled = deliver_one(&with_client, &other).await;
    assert_eq!(settled.events[0].reason, Some(Reason::PayloadMismatch));
}

#[tokio::test]
async fn an_event_that_was_dropped_before_its_data_was_fetched_is_known_by_its_place_when_it_comes_again() {
    let (tables, bucket) = (Tables::new().await, Bucket::new().await);
    let guard = tables.builder().gap_guard(GapGuard::from_one());
    let guard = guard
        .claim_check(S3ClaimCheck::new(bucket.client.clone()))
        .build()
        .unwrap();
    let (message, _) = bucket.ping(Act::Succeed).await;
    let with = |more: &str| {
        let body = message.body.replacen('{', &format!("{{{more},"), 1);
        Message::raw(message.id, body)
    };
    let place = format!("\"partitionkey\":\"k\",\"sequence\":\"{:020}\"", 1);
    let expired = with(&format!("{place},\"expirytime\":\"2026-01-01T00:00:00Z\""));
    assert_eq!(outcomes(&deliver_one(&guard, &expired).await), [Outcome::Expired]);
    // As a function sees it whose clock is behind: it fetches the data.
    let valid = with(&place);
    assert_eq!(outcomes(&deliver_one(&guard, &valid).await), [Outcome::Duplicate]);
    assert_eq!(tables.times(message.id).await, 0);
}

#[tokio::test]
async fn copies_in_one_batch_are_one_event_by_reference_and_by_value() {
    let (tables, bucket) = (Tables::new().await, Bucket::new().await);
    let (message, data) = bucket.ping(Act::Succeed).await;
    let data = serde_json::from_slice(&data).unwrap();
    let by_value = Message::with(message.id, Ping::TYPE, &data, &json!({}));
    let batch = [message.clone(), message.redelivered(), by_value];
    let settled = deliver(&consumer(&tables, &bucket.client), &batch).await;
    assert_eq!(
        outcomes(&settled),
        [Outcome::Done, Outcome::Duplicate, Outcome::Duplicate]
    );
    assert_eq!(tables.times(message.id).await, 1);
}

#[tokio::test]
async fn what_is_not_what_was_sent_is_set_aside_with_the_envelope_as_it_is() {
    let (tables, bucket, queue) = (Tables::new().await, Bucket::new().await, Queue::new().await);
    let data = ping_data(Act::Succeed, 100_000);
    let mut changed = data.clone();
    changed[70_000] = b'y';
    let longer = [&data[..], b" "].concat();
    for (key, bytes) in [
        ("changed", &changed[..]),
        ("truncated", &data[..99_999]),
        ("longer", &longer),
        ("empty", b""),
    ] {
        bucket.put(key, bytes).await;
    }
    let no_json = b"{ no json: secret";
    bucket.put("no-json", no_json).await;
    let nowhere = reference(&format!("s3://consumer-test-{}/key", Uuid::new_v4().simple()), &data);
    let cases = [
        (bucket.reference("changed", &data), "is not the one of `datasha256`"),
        (bucket.reference("truncated", &data), "has 99999 bytes and not the "),
        (bucket.reference("longer", &data), " bytes and not the "),
        (bucket.reference("empty", &data), "has 0 bytes and not the "),
        (bucket.reference("no-json", no_json), "is not JSON"),
        (
            bucket.reference("missing", &data),
            "S3 did not give the object at `dataref`: NoSuchKey",
        ),
        (nowhere, "S3 did not give the object at `dataref`: NoSuchBucket"),
    ];
    let claim_check = S3ClaimCheck::new(bucket.client.clone());
    let consumer = tables.builder().claim_check(claim_check).dead_letter_queue(&queue.url);
    let messages: Vec<Message> = cases.iter().map(|(message, _)| message.clone()).collect();
    let settled = deliver(&consumer.build().unwrap(), &messages).await;
    for (event, (message, expected)) in settled.events.iter().zip(&cases) {
        let error = event.error.as_deref().unwrap();
        assert_eq!(event.reason, Some(Reason::ClaimCheck), "{error}");
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        assert_eq!(tables.record(message.id).await, None);
        assert_eq!(tables.times(message.id).await, 0);
    }
    assert_eq!(returned(&settled), [""; 0], "set aside, so acknowledged");
    let mut letters: Vec<String> = queue
        .messages()
        .await
        .into_iter()
        .filter_map(|letter| letter.body)
        .collect();
    let mut bodies: Vec<String> = messages.into_iter().map(|message| message.body).collect();
    letters.sort();
    bodies.sort();
    assert_eq!(letters, bodies);
}

#[tokio::test]
async fn what_is_larger_than_allowed_is_set_aside_and_what_is_not_waits_for_room() {
    let (tables, bucket) = (Tables::new().await, Bucket::new().await);
    let (first, data) = bucket.ping(Act::Succeed).await;
    let (second, _) = bucket.ping(Act::Succeed).await;
    let of_size = |bytes: usize| {
        let claim_check = S3ClaimCheck::new(bucket.client.clone()).max_bytes(bytes as u64);
        tables.builder().claim_check(claim_check).build().unwrap()
    };
    let settled = deliver_one(&of_size(data.len() - 1), &first).await;
    assert_eq!(settled.events[0].reason, Some(Reason::ClaimCheck));
    let error = settled.events[0].error.as_deref().unwrap();
    assert!(error.contains("see `S3ClaimCheck::max_bytes`"), "{error}");
    // Room for one at a time.
    let settled = deliver(&of_size(data.len()), &[first, second]).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Done]);
}

#[tokio::test]
async fn an_event_that_waits_for_room_goes_back_in_time() {
    let (tables, bucket) = (Tables::new().await, Bucket::new().await);
    let (hangs, _) = bucket.ping(Act::Hang).await;
    let (waits, data) = bucket.ping(Act::Succeed).await;
    let claim_check = S3ClaimCheck::new(bucket.client.clone()).max_bytes(data.len() as u64);
    let consumer = tables.builder().claim_check(claim_check).build().unwrap();
    let short = Invocation::new("request", Duration::from_secs(3));
    let settled = consumer.settle_batch(batch(&[hangs, waits]), &short).await.unwrap();
    assert_eq!(outcomes(&settled), [Outcome::Retryable, Outcome::Retryable]);
}

#[tokio::test]
async fn without_a_fetcher_data_in_s3_is_a_fault_that_says_so() {
    let tables = Tables::new().await;
    let message = reference("s3://bucket/key", b"1");
    let settled = deliver_one(&tables.consumer(), &message).await;
    assert_eq!(settled.events[0].reason, Some(Reason::ClaimCheck));
    let error = settled.events[0].error.as_deref().unwrap();
    assert!(
        error.contains("call `.claim_check(S3ClaimCheck::from_env())`"),
        "{error}"
    );
}

#[tokio::test]
async fn in_a_bundle_only_the_event_whose_data_is_missing_is_set_aside() {
    let (tables, bucket, queue) = (Tables::new().await, Bucket::new().await, Queue::new().await);
    let (present, _) = bucket.ping(Act::Succeed).await;
    let missing = bucket.reference("missing", &ping_data(Act::Succeed, 1));
    let by_value = Message::new(Act::Succeed);
    let claim_check = S3ClaimCheck::new(bucket.client.clone());
    let consumer = tables.builder().claim_check(claim_check).dead_letter_queue(&queue.url);
    let bundle = Message::bundle(&[present.clone(), missing.clone(), by_value]);
    let settled = deliver_one(&consumer.build().unwrap(), &bundle).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Permanent, Outcome::Done]);
    assert_eq!(returned(&settled), [""; 0]);
    assert_eq!(queue.messages().await[0].body(), Some(missing.body.as_str()));
    assert_eq!(tables.times(present.id).await, 1);
}

/// A client whose requests are all answered with `reply`, byte by byte, before the connection closes.
async fn answering(reply: String) -> (Client, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    });
    let config = Builder::from(&aws_config::load_from_env().await).endpoint_url(url);
    (Client::from_conf(config.build()), serving)
}

fn refusal(status: &str, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>secret</Message></Error>");
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn what_may_pass_sends_the_message_back() {
    let tables = Tables::new().await;
    let message = reference("s3://bucket/key", br#"{"act":"succeed"}"#);
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\nconnection: close\r\n\r\n{\"act\":";
    for (reply, expected) in [
        (refusal("403 Forbidden", "AccessDenied"), "AccessDenied"),
        (refusal("503 Slow Down", "SlowDown"), "SlowDown"),
        (refusal("500 Internal Server Error", "InternalError"), "InternalError"),
        (refusal("403 Forbidden", "InvalidObjectState"), "InvalidObjectState"),
        (half.to_owned(), "the connection to S3 broke"),
        (String::new(), "no connection"),
    ] {
        let (client, _serving) = answering(reply).await;
        let settled = deliver_one(&consumer(&tables, &client), &message).await;
        assert_eq!(outcomes(&settled), [Outcome::Retryable], "{expected}");
        let error = settled.events[0].error.as_deref().unwrap();
        assert!(error.ends_with(expected), "{error}");
        assert_eq!(returned(&settled), std::slice::from_ref(&message.message_id));
    }
}

#[tokio::test]
async fn more_than_was_announced_is_not_read() {
    let tables = Tables::new().await;
    let data = br#"{"act":"succeed"}"#;
    // No length, and a body that does not end: only the envelope's length bounds it.
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(4_000_000));
    let (client, _serving) = answering(endless).await;
    let started = Instant::now();
    let settled = deliver_one(&consumer(&tables, &client), &reference("s3://bucket/key", data)).await;
    assert_eq!(settled.events[0].reason, Some(Reason::ClaimCheck));
    let error = settled.events[0].error.as_deref().unwrap();
    assert!(error.contains("has more than the 17 bytes of `datalength`"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}
