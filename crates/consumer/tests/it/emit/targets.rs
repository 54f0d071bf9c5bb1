//! What is emitted arrives at real queues, topics and event buses.

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use oncebox_consumer::{Consumer, Effects, HandlerError, Key, Outcome, transactional};
use oncebox_envelope::{Body, Envelope};
use uuid::Uuid;

use super::scene::{Pong, expected, numbered, pong};
use crate::{
    delivery::{Message, batch, deliver, invocation},
    ping::Ping,
    stack::{Queue, Tables},
};

/// Emits two events in order to all targets that keep one, and one to each of the others.
async fn emit_to_all(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", 1);
    for which in ["first", "second"] {
        for target in ["fifo queue", "fifo topic"] {
            effects.emit(target, pong(&event, which)?)?;
        }
    }
    for target in ["queue", "topic", "bus"] {
        effects.emit(target, pong(&event, "mail")?)?;
    }
    Ok(())
}

async fn arn(queue: &Queue) -> String {
    let asked = queue.client.get_queue_attributes().queue_url(&queue.url);
    let asked = asked.attribute_names(QueueAttributeName::QueueArn).send();
    asked.await.unwrap().attributes.unwrap()[&QueueAttributeName::QueueArn].clone()
}

/// A topic that hands on to `queue`, raw; FIFO if the queue is.
async fn topic_to(queue: &Queue) -> String {
    let client = aws_sdk_sns::Client::new(&aws_config::load_from_env().await);
    let is_fifo = queue.url.ends_with(".fifo");
    let name = format!(
        "consumer-test-{}{}",
        Uuid::new_v4().simple(),
        if is_fifo { ".fifo" } else { "" }
    );
    let mut create = client.create_topic().name(name);
    if is_fifo {
        create = create.attributes("FifoTopic", "true");
    }
    let topic = create.send().await.unwrap().topic_arn.unwrap();
    let subscribe = client
        .subscribe()
        .topic_arn(&topic)
        .protocol("sqs")
        .endpoint(arn(queue).await);
    subscribe.attributes("RawMessageDelivery", "true").send().await.unwrap();
    topic
}

/// An event bus that hands on everything of this consumer to `queue`.
async fn bus_to(queue: &Queue) -> String {
    let client = aws_sdk_eventbridge::Client::new(&aws_config::load_from_env().await);
    let name = format!("consumer-test-{}", Uuid::new_v4().simple());
    let bus = client.create_event_bus().name(&name).send().await.unwrap();
    let rule = client.put_rule().event_bus_name(&name).name("all");
    let pattern = r#"{"source": ["test"], "detail-type": ["test.pong.v1"]}"#;
    rule.event_pattern(pattern).send().await.unwrap();
    let target = Target::builder().id("queue").arn(arn(queue).await).build().unwrap();
    let targets = client.put_targets().event_bus_name(&name).rule("all").targets(target);
    targets.send().await.unwrap();
    bus.event_bus_arn.unwrap()
}

/// `count` events from the queue. A group whose messages are being received gives no others, so they are deleted as
/// they come.
async fn received(queue: &Queue, count: usize) -> Vec<Envelope<Pong>> {
    let mut received = Vec::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while received.len() < count {
        assert!(std::time::Instant::now() < deadline, "{} of {count}", received.len());
        for message in queue.messages().await {
            let delete = queue.client.delete_message().queue_url(&queue.url);
            let delete = delete.receipt_handle(message.receipt_handle.unwrap());
            delete.send().await.unwrap();
            let body = Body::from_json(message.body.unwrap().as_bytes()).unwrap();
            let Body::Envelope(envelope) = body else {
                panic!("a bundle");
            };
            received.push(envelope.typed::<Pong>().unwrap());
        }
    }
    assert_eq!(received.len(), count);
    received
}

fn assert_in_order(received: &[Envelope<Pong>], messages: &[Message]) {
    for message in messages {
        let of = received.iter().map(|pong| pong.data.text.clone());
        let of: Vec<String> = of.filter(|text| text.starts_with(&message.id.to_string())).collect();
        assert_eq!(of, expected(std::slice::from_ref(message)));
    }
}

#[tokio::test]
async fn queues_topics_and_event_buses_get_what_is_emitted_and_fifo_ones_in_order() {
    let tables = Tables::new().await;
    let outbox = tables.sorted().await;
    let (queue, fifo) = (Queue::new().await, Queue::fifo().await);
    let (behind_topic, behind_fifo, behind_bus) = (Queue::new().await, Queue::fifo().await, Queue::new().await);
    let consumer: Consumer = tables
        .empty_builder()
        .outbox(&outbox)
        .target("queue", &queue.url)
        .target("fifo queue", &fifo.url)
        .target("topic", topic_to(&behind_topic).await)
        .target("fifo topic", topic_to(&behind_fifo).await)
        .target("bus", bus_to(&behind_bus).await)
        .on::<Ping, _>(transactional(emit_to_all))
        .build()
        .unwrap();
    let messages: Vec<Message> = (0..12)
        .map(|n| numbered(if n % 2 == 0 { "a" } else { "b c" }))
        .collect();
    for messages in messages.chunks(3) {
        assert_eq!(deliver(&consumer, messages).await.count(Outcome::Done), 3);
    }
    // What was not sent yet for want of time.
    consumer.settle_batch(batch(&[]), &invocation()).await.unwrap();
    for queue in [&fifo, &behind_fifo] {
        assert_in_order(&received(queue, 24).await, &messages);
    }
    for queue in [&queue, &behind_topic, &behind_bus] {
        let mut texts: Vec<String> = received(queue, 12)
            .await
            .into_iter()
            .map(|pong| pong.data.text)
            .collect();
        let mut mails: Vec<String> = messages.iter().map(|message| format!("{} mail", message.id)).collect();
        texts.sort();
        mails.sort();
        assert_eq!(texts, mails);
    }
    let left = tables.client.scan().table_name(&outbox).send().await.unwrap();
    assert_eq!(left.count, 0);
}
