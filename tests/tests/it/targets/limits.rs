//! Limits to the byte: what the relay takes for the largest message, LocalStack takes, and not a byte more.

use std::{sync::Arc, time::Duration};

use outbox_relay::{
    config::{ClaimCheckConfig, TargetConfig},
    log::page::Row,
    publish::{Clients, FailureClass, Message, PublishError, Publisher as _, Target},
};
use system_tests::{Bus, Queue, Stack, Topic};

pub(super) fn row(data_bytes: usize) -> Row {
    Row {
        seq: 7,
        shard: 0,
        id: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap(),
        event_type: "test.happened.v1".to_owned(),
        key: Some("k".to_owned()),
        key_seq: Some(1),
        tenant: "naïve".to_owned(),
        kind: "event".to_owned(),
        source: "/tests".to_owned(),
        time_micros: 1_700_000_000_123_456,
        headers: "{}".to_owned(),
        data: format!("\"{}\"", "x".repeat(data_bytes - 2)),
    }
}

async fn resolve(stack: &Stack, config: &TargetConfig, claim_check: Option<&ClaimCheckConfig>) -> Target {
    let clients = Clients::new(stack.aws(), Duration::from_secs(10));
    Target::resolve(&clients, config, claim_check).await.unwrap()
}

/// The row whose message is as large as the target takes.
fn largest(target: &Target) -> Row {
    let around = target.bytes_of(&target.prepare(row(2)).unwrap()) - 2;
    row(target.limits().max_message_bytes - around)
}

/// The same with a byte more.
fn one_more(target: &Target) -> Row {
    let largest = largest(target);
    row(largest.data.len() + 1)
}

async fn send(target: &Target, message: Message) -> Result<(), PublishError> {
    target.publish(&[Arc::new(message)]).await.remove(0)
}

async fn takes_the_last_byte_and_no_more(target: &Target) {
    let message = target.prepare(largest(target)).unwrap();
    assert_eq!(target.bytes_of(&message), target.limits().max_message_bytes);
    send(target, message).await.unwrap();

    let refused = target.prepare(one_more(target)).unwrap_err();
    assert_eq!(
        (refused.class, refused.code.as_str()),
        (FailureClass::Permanent, PublishError::OVERSIZE)
    );
    assert!(
        !refused.may_have_arrived && refused.message.contains("claim_check"),
        "{refused}"
    );

    // As if the limit were not known.
    let refused = send(target, Message::of(one_more(target)).unwrap()).await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Permanent, "{refused}");
}

#[tokio::test]
async fn a_queue_takes_the_last_byte_of_its_limit_and_not_the_next() {
    let stack = Stack::from_env().await.unwrap();
    for queue in [
        Queue::standard(&stack).await.unwrap(),
        Queue::fifo(&stack).await.unwrap(),
    ] {
        let config = TargetConfig::Sqs {
            queue: queue.name.clone(),
        };
        let target = resolve(&stack, &config, None).await;
        assert_eq!(target.limits().max_message_bytes, 1_048_576);
        assert_eq!(target.kind().keeps_order(), queue.name.ends_with(".fifo"));
        takes_the_last_byte_and_no_more(&target).await;
    }
}

#[tokio::test]
async fn a_queue_that_is_set_to_less_is_believed() {
    let stack = Stack::from_env().await.unwrap();
    let queue = Queue::standard(&stack).await.unwrap();
    let set = stack.sqs().set_queue_attributes().queue_url(&queue.url);
    set.attributes("MaximumMessageSize".into(), "2048")
        .send()
        .await
        .unwrap();
    let config = TargetConfig::Sqs {
        queue: queue.arn.clone(),
    };
    let target = resolve(&stack, &config, None).await;
    assert_eq!(target.limits().max_message_bytes, 2_048);
    takes_the_last_byte_and_no_more(&target).await;
}

#[tokio::test]
async fn a_topic_takes_the_last_byte_of_its_limit_and_not_the_next() {
    let stack = Stack::from_env().await.unwrap();
    for topic in [
        Topic::standard(&stack).await.unwrap(),
        Topic::fifo(&stack).await.unwrap(),
    ] {
        let config = TargetConfig::Sns {
            topic: topic.name.clone(),
        };
        let target = resolve(&stack, &config, None).await;
        assert_eq!(target.limits().max_message_bytes, 262_144);
        takes_the_last_byte_and_no_more(&target).await;
    }
}

/// LocalStack refuses a detail of 256 Ki characters, as EventBridge did before January 2026.
#[tokio::test]
async fn a_bus_is_sent_what_it_takes_and_says_so_when_it_does_not() {
    let stack = Stack::from_env().await.unwrap();
    let queue = Queue::standard(&stack).await.unwrap();
    let bus = Bus::to_queue(&stack, r#"{ "source": ["/tests"] }"#, &queue)
        .await
        .unwrap();
    let target = resolve(&stack, &TargetConfig::EventBridge { bus: bus.name.clone() }, None).await;
    assert!(target.prepare(largest(&target)).is_ok());
    assert_eq!(
        target.prepare(one_more(&target)).unwrap_err().code,
        PublishError::OVERSIZE
    );

    let around = target.prepare(row(2)).unwrap().body.chars().count() - 2;
    send(&target, target.prepare(row(262_143 - around)).unwrap())
        .await
        .unwrap();
    let refused = send(&target, target.prepare(row(262_144 - around)).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.class, refused.code.as_str()),
        (FailureClass::Permanent, "ValidationException")
    );
    assert_eq!(queue.take(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn with_a_claim_check_the_byte_too_many_goes_by_reference() {
    let stack = Stack::from_env().await.unwrap();
    let topic = Topic::standard(&stack).await.unwrap();
    let config = TargetConfig::Sns {
        topic: topic.name.clone(),
    };
    let mut claim_check = ClaimCheckConfig {
        bucket: "bucket".to_owned(),
        prefix: String::new(),
        above_bytes: None,
    };
    let target = resolve(&stack, &config, Some(&claim_check)).await;
    let whole = target.prepare(largest(&target)).unwrap();
    assert!(whole.claims.is_empty());
    let referring = target.prepare(one_more(&target)).unwrap();
    assert_eq!(referring.claims.len(), 1);
    assert!(target.bytes_of(&referring) < 2_000, "what counts is what is sent");
    assert!(referring.held_bytes() > 250_000, "what it holds is more");

    claim_check.above_bytes = Some(1_024);
    let target = resolve(&stack, &config, Some(&claim_check)).await;
    let reference = target.prepare(row(100_000)).unwrap();
    assert_eq!(reference.claims.len(), 1);
    let tiny = target.prepare(row(2)).unwrap();
    assert!(
        tiny.claims.is_empty(),
        "a reference that is no smaller than the data helps nobody"
    );
}
