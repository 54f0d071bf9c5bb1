//! Order within a message group.

use oncebox_consumer::{Outcome, Reason};

use crate::{
    delivery::{Message, deliver, outcomes, returned},
    ping::Act,
    stack::{Queue, Tables},
};

#[tokio::test]
async fn a_failure_in_the_middle_returns_it_and_every_later_one_of_its_group() {
    let tables = Tables::new().await;
    let messages = [
        Message::new(Act::Succeed).in_group("a"),
        Message::new(Act::Retry).in_group("a"),
        Message::new(Act::Succeed).in_group("b"),
        Message::new(Act::Succeed).in_group("a"),
        Message::new(Act::Succeed).in_group("b"),
        Message::new(Act::Reject).in_group("a"),
    ];
    let settled = deliver(&tables.consumer(), &messages).await;
    let expected = [
        Outcome::Done,
        Outcome::Retryable,
        Outcome::Done,
        Outcome::NotStarted,
        Outcome::Done,
        Outcome::NotStarted,
    ];
    assert_eq!(outcomes(&settled), expected);
    let back = [1, 3, 5].map(|index: usize| messages[index].message_id.clone());
    assert_eq!(returned(&settled), back);
    assert_eq!(tables.times(messages[3].id).await, 0);
}

#[tokio::test]
async fn a_message_set_aside_lets_its_group_go_on() {
    let (tables, queue) = (Tables::new().await, Queue::fifo().await);
    let messages = [
        Message::new(Act::Reject).in_group("a"),
        Message::new(Act::Succeed).in_group("a"),
    ];
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Done]);
    assert_eq!(returned(&settled), [""; 0]);
}

#[tokio::test]
async fn a_message_that_could_not_be_set_aside_holds_its_group() {
    let tables = Tables::new().await;
    let messages = [
        Message::new(Act::Reject).in_group("a"),
        Message::new(Act::Succeed).in_group("a"),
    ];
    let settled = deliver(&tables.consumer(), &messages).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::NotStarted]);
    assert_eq!(returned(&settled).len(), 2);
}

#[tokio::test]
async fn a_group_id_on_a_standard_queue_orders_nothing() {
    let tables = Tables::new().await;
    let messages = [
        Message::new(Act::Retry).of_tenant("t"),
        Message::new(Act::Succeed).of_tenant("t"),
    ];
    let settled = deliver(&tables.consumer(), &messages).await;
    assert_eq!(outcomes(&settled), [Outcome::Retryable, Outcome::Done]);
}

#[tokio::test]
async fn at_the_last_delivery_but_one_a_failing_head_is_set_aside_and_its_followers_survive() {
    let (tables, queue) = (Tables::new().await, Queue::fifo().await);
    let builder = tables.builder().dead_letter_queue(&queue.url).max_receive_count(5);
    let consumer = builder.build().unwrap();
    let messages = [
        Message::new(Act::Retry).in_group("a"),
        Message::new(Act::Succeed).in_group("a"),
        Message::new(Act::Succeed).in_group("a"),
    ];
    let at = |count| messages.clone().map(|message| message.at_delivery(count));
    let settled = deliver(&consumer, &at(3)).await;
    let held = [Outcome::Retryable, Outcome::NotStarted, Outcome::NotStarted];
    assert_eq!(outcomes(&settled), held, "there is time left");
    assert!(queue.messages().await.is_empty());

    let settled = deliver(&consumer, &at(4)).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Done, Outcome::Done]);
    assert_eq!(settled.events[0].reason, Some(Reason::AttemptsExhausted));
    assert_eq!(returned(&settled), [""; 0]);
    let letters = queue.messages().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].body(), Some(messages[0].body.as_str()));
    let said = |name: &str| letters[0].message_attributes().unwrap()[name].string_value().unwrap();
    assert_eq!(said("oncebox-reason"), "attempts_exhausted");
    assert_eq!(
        (said("oncebox-error"), said("oncebox-receive-count")),
        ("told to retry", "4")
    );
}

#[tokio::test]
async fn without_a_dead_letter_queue_the_redrive_policy_keeps_its_part() {
    let tables = Tables::new().await;
    let consumer = tables.builder().max_receive_count(2).build().unwrap();
    let settled = deliver(&consumer, &[Message::new(Act::Retry).in_group("a").at_delivery(2)]).await;
    assert_eq!(outcomes(&settled), [Outcome::Retryable]);
    assert_eq!(returned(&settled).len(), 1);
}
