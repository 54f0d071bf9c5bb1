//! The same event, however it was wrapped on its way: one effect.

use oncebox_consumer::{Outcome, Reason};
use oncebox_envelope::Event;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    delivery::{Message, deliver, deliver_one, outcomes, returned},
    ping::{Act, Ping},
    stack::{Queue, Tables},
};

/// As SNS delivers to a queue without raw delivery.
fn in_sns(message: &Message) -> Message {
    let body = json!({
        "Type": "Notification", "MessageId": Uuid::new_v4(), "TopicArn": "arn:aws:sns:eu-west-1:000000000000:events",
        "Message": message.body, "Timestamp": "2026-01-01T00:00:00.123Z", "SignatureVersion": "1",
        "Signature": "c2lnbmVk", "SigningCertURL": "https://sns/cert.pem", "UnsubscribeURL": "https://sns/",
        "MessageAttributes": { "ce-id": { "Type": "String", "Value": message.id } },
    });
    Message::raw(message.id, body.to_string())
}

/// As a rule of EventBridge delivers to a queue.
fn in_event_bridge(message: &Message) -> Message {
    event_bridge(message, Ping::TYPE)
}

fn event_bridge(message: &Message, detail_type: &str) -> Message {
    let detail: Value = serde_json::from_str(&message.body).unwrap();
    let body = json!({
        "version": "0", "id": Uuid::new_v4(), "detail-type": detail_type, "source": "test",
        "account": "000000000000", "time": "2026-01-01T00:00:00Z", "region": "eu-west-1", "resources": [],
        "detail": detail,
    });
    Message::raw(message.id, body.to_string())
}

#[tokio::test]
async fn an_event_has_one_effect_however_it_is_wrapped_and_whichever_comes_first() {
    let tables = Tables::new().await;
    let ways: [fn(&Message) -> Message; 5] = [
        Message::clone,
        in_sns,
        in_event_bridge,
        |message| in_sns(&in_event_bridge(message)),
        |message| in_sns(&Message::bundle(std::slice::from_ref(message))),
    ];
    for first in ways {
        let message = Message::new(Act::Succeed);
        assert_eq!(
            outcomes(&deliver_one(&tables.consumer(), &first(&message)).await),
            [Outcome::Done]
        );
        for way in ways {
            let settled = deliver_one(&tables.consumer(), &way(&message)).await;
            assert_eq!(outcomes(&settled), [Outcome::Duplicate]);
            assert_eq!(settled.events[0].event_id.map(Uuid::from), Some(message.id));
        }
        assert_eq!(tables.times(message.id).await, 1);
    }
}

#[tokio::test]
async fn copies_in_one_batch_are_one_event_though_each_is_wrapped_in_another_way() {
    let tables = Tables::new().await;
    let message = Message::new(Act::Succeed);
    let batch = [in_event_bridge(&message), message.clone(), in_sns(&message)];
    let settled = deliver(&tables.consumer(), &batch).await;
    assert_eq!(
        outcomes(&settled),
        [Outcome::Done, Outcome::Duplicate, Outcome::Duplicate]
    );
    assert_eq!(tables.times(message.id).await, 1);
}

#[tokio::test]
async fn a_dead_letter_of_a_wrapped_message_is_wrapped_as_it_came() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let rejected = in_sns(&Message::new(Act::Reject));
    assert_eq!(outcomes(&deliver_one(&consumer, &rejected).await), [Outcome::Permanent]);
    let letters = queue.messages().await;
    assert_eq!(letters[0].body(), Some(rejected.body.as_str()));
}

#[tokio::test]
async fn a_wrong_shape_is_set_aside_with_what_is_wrong_and_without_its_payload() {
    let tables = Tables::new().await;
    let ping = Message::new(Act::Succeed);
    let cases = [
        (Message::raw(ping.id, r#"{"hello":"secret"}"#), "neither an envelope"),
        (
            Message::raw(ping.id, r#"{"Type":"SubscriptionConfirmation","Message":"secret"}"#),
            "in the SNS notification: attribute `Type`: expected `Notification`",
        ),
        (
            in_sns(&Message::raw(ping.id, "secret")),
            "in the SNS notification: not a JSON envelope",
        ),
        (
            event_bridge(&ping, "secret.v1"),
            "in the EventBridge event: `detail-type` differs from the envelope's `type`",
        ),
    ];
    let messages: Vec<Message> = cases.iter().map(|(message, _)| message.clone()).collect();
    let settled = deliver(&tables.consumer(), &messages).await;
    for (event, (_, expected)) in settled.events.iter().zip(&cases) {
        assert_eq!(event.reason, Some(Reason::NotAnEnvelope));
        let error = event.error.as_deref().unwrap();
        assert!(error.starts_with(expected) && !error.contains("secret"), "{error}");
    }
    assert_eq!(returned(&settled).len(), cases.len());
    assert_eq!(tables.times(ping.id).await, 0);
}
