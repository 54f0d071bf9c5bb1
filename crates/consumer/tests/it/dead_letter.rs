//! What can never succeed reaches the dead-letter queue, or stays where it is.

use std::collections::HashMap;

use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_sqs::types::MessageSystemAttributeName;
use oncebox_consumer::{Outcome, RetryDelay};
use uuid::Uuid;

use crate::{
    delivery::{Message, batch, deliver, deliver_one, invocation, outcomes, returned},
    ping::Act,
    stack::{Queue, Tables},
};

fn attributes(message: &aws_sdk_sqs::types::Message) -> HashMap<&str, &str> {
    let attributes = message.message_attributes().unwrap().iter();
    attributes
        .map(|(name, value)| (name.as_str(), value.string_value().unwrap_or("(binary)")))
        .collect()
}

#[tokio::test]
async fn a_dead_letter_keeps_its_body_and_tells_its_reason() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let poison = Message::raw(Uuid::new_v4(), "{ no json: secret");
    let rejected = Message::new(Act::Reject);
    let settled = deliver(&consumer, &[poison.clone(), rejected.clone()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Permanent]);
    assert_eq!(returned(&settled), [""; 0], "set aside, so acknowledged");

    let letters = queue.messages().await;
    assert_eq!(letters.len(), 2);
    for (message, reason, error) in [
        (&poison, "not_an_envelope", "syntax error"),
        (&rejected, "rejected", "told to reject"),
    ] {
        let letter = letters
            .iter()
            .find(|letter| letter.body() == Some(&message.body))
            .unwrap();
        let attributes = attributes(letter);
        assert_eq!(attributes["oncebox-reason"], reason);
        assert_eq!(attributes["oncebox-consumer"], "test");
        assert_eq!(attributes["oncebox-receive-count"], "1");
        assert_eq!(attributes["ce-id"], message.id.to_string());
        assert!(attributes["oncebox-error"].contains(error), "{attributes:?}");
        assert!(!attributes["oncebox-error"].contains("secret"), "{attributes:?}");
    }
}

#[tokio::test]
async fn of_too_many_attributes_the_reason_and_the_envelopes_own_are_kept() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let mut event = batch(&[Message::new(Act::Reject)]);
    let sample = event.records[0].message_attributes["ce-id"].clone();
    let ours = ["ce-type", "ce-kind", "ce-tenant", "content-type", "traceparent"];
    let others = ["a", "b", "c"];
    for name in ours.into_iter().chain(others) {
        event.records[0]
            .message_attributes
            .insert(name.to_owned(), sample.clone());
    }
    consumer.settle_batch(event, &invocation()).await.unwrap();
    let letters = queue.messages().await;
    let attributes = attributes(&letters[0]);
    assert_eq!(attributes.len(), 10);
    assert!(ours.iter().all(|name| attributes.contains_key(name)), "{attributes:?}");
    assert_eq!(attributes["oncebox-reason"], "rejected");
}

#[tokio::test]
async fn a_dead_letter_that_was_redriven_and_fails_again_tells_the_reason_of_this_time() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let mut event = batch(&[Message::new(Act::Reject)]);
    let of_last_time = event.records[0].message_attributes["ce-id"].clone();
    event.records[0]
        .message_attributes
        .insert("oncebox-reason".to_owned(), of_last_time);
    consumer.settle_batch(event, &invocation()).await.unwrap();
    assert_eq!(attributes(&queue.messages().await[0])["oncebox-reason"], "rejected");
}

#[tokio::test]
async fn a_dead_letter_on_fifo_keeps_its_group() {
    let (tables, queue) = (Tables::new().await, Queue::fifo().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let message = Message::new(Act::Reject).in_group("a");
    // Delivered twice, as when the acknowledgement is lost: one letter.
    deliver_one(&consumer, &message).await;
    deliver_one(&consumer, &message).await;
    let letters = queue.messages().await;
    assert_eq!(letters.len(), 1);
    let system = letters[0].attributes().unwrap();
    assert_eq!(system[&MessageSystemAttributeName::MessageGroupId], "a");
    assert_eq!(
        system[&MessageSystemAttributeName::MessageDeduplicationId],
        message.message_id
    );
}

#[tokio::test]
async fn a_message_that_the_dead_letter_queue_does_not_take_is_not_acknowledged() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    queue.client.delete_queue().queue_url(&queue.url).send().await.unwrap();
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let message = Message::new(Act::Reject);
    let settled = deliver_one(&consumer, &message).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent]);
    assert_eq!(returned(&settled), [message.message_id]);
    let error = settled.events[0].error.clone().unwrap();
    assert!(
        error.starts_with("told to reject (the dead-letter queue did not take it: "),
        "{error}"
    );
}

#[tokio::test]
async fn copies_of_a_dead_letter_in_one_batch_are_one_letter() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let message = Message::new(Act::Reject);
    let settled = deliver(&consumer, &[message.clone(), message.redelivered()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Duplicate]);
    assert_eq!(queue.messages().await.len(), 1);
}

/// The messages of a receive as records of a batch from this queue.
fn delivered(queue: &Queue, group: Option<&str>, received: &[aws_sdk_sqs::types::Message]) -> SqsEvent {
    let (rest, name) = queue.url.rsplit_once('/').unwrap();
    let account = rest.rsplit('/').next().unwrap();
    let arn = format!("arn:aws:sqs:{}:{account}:{name}", crate::stack::env("AWS_REGION"));
    let messages: Vec<Message> = received
        .iter()
        .map(|message| {
            let message = Message::raw(Uuid::new_v4(), message.body().unwrap());
            group.map_or(message.clone(), |group| message.in_group(group))
        })
        .collect();
    let mut event = batch(&messages);
    for (record, message) in event.records.iter_mut().zip(received) {
        record.event_source_arn = Some(arn.clone());
        record.receipt_handle.clone_from(&message.receipt_handle);
    }
    event
}

/// What is there within ten seconds; it stays hidden for ten minutes then.
async fn receive(queue: &Queue) -> Vec<aws_sdk_sqs::types::Message> {
    let receive = queue.client.receive_message().queue_url(&queue.url);
    let receive = receive
        .visibility_timeout(600)
        .wait_time_seconds(10)
        .max_number_of_messages(10);
    receive.send().await.unwrap().messages.unwrap_or_default()
}

#[tokio::test]
async fn a_retryable_failure_comes_back_after_its_delay_and_not_after_the_visibility_timeout() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let builder = tables.builder().retry_delay(RetryDelay::ByReceiveCount);
    let consumer = builder.build().unwrap();
    let message = Message::new(Act::Retry);
    let send = queue.client.send_message().queue_url(&queue.url);
    send.message_body(&message.body).send().await.unwrap();
    let first = receive(&queue).await;
    let settled = consumer
        .settle_batch(delivered(&queue, None, &first), &invocation())
        .await;
    assert_eq!(settled.unwrap().count(Outcome::Retryable), 1);
    // The first delay is one second; the receive waits for it.
    assert_eq!(receive(&queue).await.len(), 1);
}

#[tokio::test]
async fn on_fifo_a_group_that_goes_back_comes_again_whole_and_in_order_after_one_delay() {
    let (tables, queue) = (Tables::new().await, Queue::fifo().await);
    let builder = tables.builder().retry_delay(RetryDelay::ByReceiveCount);
    let consumer = builder.build().unwrap();
    let messages = [Act::Retry, Act::Succeed, Act::Succeed].map(Message::new);
    for message in &messages {
        let send = queue.client.send_message().queue_url(&queue.url);
        let send = send.message_group_id("a").message_deduplication_id(&message.message_id);
        send.message_body(&message.body).send().await.unwrap();
    }
    let first = receive(&queue).await;
    assert_eq!(first.len(), 3);
    let settled = consumer
        .settle_batch(delivered(&queue, Some("a"), &first), &invocation())
        .await;
    assert_eq!(settled.unwrap().response().batch_item_failures.len(), 3);
    let again = receive(&queue).await;
    let bodies: Vec<&str> = again.iter().map(|message| message.body().unwrap()).collect();
    let sent: Vec<&str> = messages.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, sent);
}
