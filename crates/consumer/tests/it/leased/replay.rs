//! Responses: what a handler answered is there for every later delivery.

use oncebox_consumer::{
    HandlerError, LeaseContext, Outcome, ResponseError, leased,
    test_kit::{Fault, MemoryTables, without_waiting},
};
use oncebox_envelope::Envelope;

use super::receiver::{Policy, Receiver, builder, consumer, invoke};
use crate::{
    delivery::{Message, deliver, outcomes},
    ping::{Act, Ping},
};

#[tokio::test]
async fn a_duplicate_gets_the_answer_of_the_first_delivery_also_after_a_lost_reply_and_in_one_batch() {
    without_waiting(1, async {
        let (tables, receiver) = (MemoryTables::new(), Receiver::forgetful());
        tables.faults(|request| (request == 1).then_some(Fault::LoseReply));
        let function = consumer(&tables, &receiver, Policy::Park);
        let message = Message::new(Act::Succeed);
        let settled = deliver(&function, &[message.clone(), message.redelivered()]).await;
        assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Duplicate]);
        let again = invoke(&consumer(&tables, &receiver, Policy::Park), &message).await;
        for event in settled.events.iter().chain(&again.events) {
            let response = event.response.as_ref().unwrap();
            assert_eq!(response.read(), Ok(format!("receipt of {}", message.id)));
        }
        assert_eq!(receiver.effects(), 1);
    })
    .await;
}

async fn large(event: Envelope<Ping>, _: &LeaseContext) -> Result<Option<String>, HandlerError> {
    Ok(match event.data.act {
        Act::Succeed => Some("secret ".repeat(10_000)),
        _ => None,
    })
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_kept_and_its_effect_counts_all_the_same() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let function = builder(&tables).on::<Ping, _>(leased(large).park()).build().unwrap();
        let message = Message::new(Act::Succeed);
        for outcome in [Outcome::Done, Outcome::Duplicate] {
            let settled = invoke(&function, &message).await;
            assert_eq!(outcomes(&settled), [outcome]);
            let error = settled.events[0].response.as_ref().unwrap().json().unwrap_err();
            assert!(matches!(error, ResponseError::NotKept { .. }));
            let text = error.to_string();
            assert!(
                text.contains("70002 bytes") && text.contains("at most 65536") && !text.contains("secret"),
                "{text}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn who_answers_nothing_has_no_response() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let function = builder(&tables)
            .on::<Ping, _>(leased(large).retry_same_key())
            .build()
            .unwrap();
        let message = Message::new(Act::Retry);
        for _ in 0..2 {
            assert!(invoke(&function, &message).await.events[0].response.is_none());
        }
        assert!(!tables.items("dedupe")[0].contains_key("res"));
    })
    .await;
}
