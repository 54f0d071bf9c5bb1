//! Order within a message group.

use oncebox_consumer::Outcome;

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
