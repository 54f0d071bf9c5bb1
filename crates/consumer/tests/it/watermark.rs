//! A gap guard whose reads and writes of the watermark fail.

use std::time::Duration;

use oncebox_consumer::{
    Consumer, ConsumerBuilder, GapGuard, Invocation, Outcome, RetryDelay,
    test_kit::{Fault, MemoryTables, without_waiting},
    transactional,
};

use crate::{
    delivery::{Message, batch, deliver, deliver_one, outcomes},
    ping::{Act, Ping, count},
    stack::Queue,
};

fn builder(tables: &MemoryTables) -> ConsumerBuilder {
    Consumer::builder("test")
        .dedupe(tables.dedupe())
        .retry_delay(RetryDelay::QueueDefault)
        .gap_guard(GapGuard::from_one())
        .on::<Ping, _>(transactional(count))
}

fn keyed(act: Act, sequence: i64) -> Message {
    Message::numbered(act, "k", sequence)
}

#[tokio::test]
async fn a_look_up_that_fails_costs_another_read_and_not_the_delivery() {
    without_waiting(1, async {
        let tables = MemoryTables::new().table("effects", &["pk"]);
        let consumer = builder(&tables).build().unwrap();
        let first = keyed(Act::Succeed, 1);
        assert_eq!(outcomes(&deliver_one(&consumer, &first).await), [Outcome::Done]);
        tables.read_faults(|read| (read == 0).then_some(Fault::Throttle));
        let again = [first, keyed(Act::Succeed, 2), keyed(Act::Succeed, 4)];
        assert_eq!(
            outcomes(&deliver(&consumer, &again).await),
            [Outcome::Duplicate, Outcome::Done, Outcome::Held]
        );
    })
    .await;
}

#[tokio::test]
async fn who_is_set_aside_is_not_acknowledged_before_its_successors_can_go_on() {
    let tables = MemoryTables::new().table("effects", &["pk"]);
    let queue = Queue::new().await;
    let consumer = builder(&tables).dead_letter_queue(&queue.url).build().unwrap();
    let (rejected, next) = (keyed(Act::Reject, 1), keyed(Act::Succeed, 2));
    // Its letter is sent; that its successors need not wait for it cannot be written down.
    tables.faults(|_| Some(Fault::Throttle));
    let short = Invocation::new("request", Duration::from_secs(1));
    let settled = consumer
        .settle_batch(batch(std::slice::from_ref(&rejected)), &short)
        .await
        .unwrap();
    let event = &settled.events[0];
    assert_eq!(
        (event.outcome, event.is_failed),
        (Outcome::Permanent, true),
        "{event:?}"
    );
    tables.faults(|_| None);
    assert_eq!(outcomes(&deliver_one(&consumer, &next).await), [Outcome::Held]);

    let again = deliver_one(&consumer, &rejected.delivered(2)).await;
    let event = &again.events[0];
    assert_eq!(
        (event.outcome, event.is_failed),
        (Outcome::Permanent, false),
        "{event:?}"
    );
    assert_eq!(outcomes(&deliver_one(&consumer, &next).await), [Outcome::Done]);
}
