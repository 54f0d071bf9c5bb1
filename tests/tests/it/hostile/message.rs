//! What bodies a consumer may be handed, and what comes of them: decoding by itself, and a consumer with its
//! dead-letter queue.

mod rows;

use oncebox_envelope::{Body, RawEnvelope};
use serde_json::json;
use system_tests::{Database, Queue, Stack};

use self::rows::rows;
use super::{Accepted, CANARY, DeadLettered, Outcome, arrived::Arrivals};

struct Row {
    name: &'static str,
    body: String,
    outcome: Outcome,
}

/// The envelopes of a body that decodes.
fn envelopes(body: Body) -> Vec<RawEnvelope> {
    match body {
        Body::Envelope(envelope) => vec![*envelope],
        Body::Bundle(batch) => batch
            .elements
            .into_iter()
            .map(|element| element.envelope.unwrap())
            .collect(),
    }
}

/// What of a body that cannot succeed is set aside: of a bundle (here: of one) the event alone.
fn letter_of(body: &str) -> String {
    match Body::from_json(body.as_bytes()) {
        Ok(Body::Bundle(batch)) => batch.elements[0].json.get().to_owned(),
        Ok(Body::Envelope(_)) | Err(_) => body.to_owned(),
    }
}

#[test]
fn each_body_is_decoded_or_refused_with_what_is_wrong() {
    let mut wrong = Vec::new();
    for Row { name, body, outcome } in rows() {
        let decoded = match Body::from_json(body.as_bytes()) {
            Ok(Body::Bundle(batch)) => match batch.elements.into_iter().find_map(|element| element.envelope.err()) {
                Some(error) => Err(error),
                None => Ok(()),
            },
            Ok(Body::Envelope(_)) => Ok(()),
            Err(error) => Err(error),
        };
        match (outcome, decoded) {
            (Accepted, Ok(())) => {}
            (DeadLettered(_, words), Err(error)) => {
                if !error.to_string().contains(words) || format!("{error:?}").contains(CANARY) {
                    wrong.push(format!("{name}: {error:?} instead of `{words}`"));
                }
            }
            (_, other) => wrong.push(format!("{name}: {other:?} instead of {outcome:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn each_body_has_its_effect_or_reaches_the_dead_letter_queue_as_it_came() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let queue = Queue::standard(&stack).await.unwrap();
    let arrivals = Arrivals::new(&stack, &database, &queue).await;
    let mut letters = Vec::new();
    for chunk in rows().chunks(10) {
        let bodies: Vec<&str> = chunk.iter().map(|row| row.body.as_str()).collect();
        let settled = arrivals.deliver(&bodies, &json!({})).await;
        assert!(settled.response().batch_item_failures.is_empty(), "{settled:?}");
        let arrived = arrivals.envelopes().await;
        for row in chunk {
            match row.outcome {
                Accepted => {
                    for sent in envelopes(Body::from_json(row.body.as_bytes()).unwrap()) {
                        let came = arrived.get(sent.id.as_uuid()).unwrap_or_else(|| panic!("{}", row.name));
                        assert!(*came == sent.to_json(), "{}", row.name);
                    }
                }
                DeadLettered(reason, words) => letters.push((letter_of(&row.body), row.name, reason, words)),
                other => panic!("{}: {other:?} is no outcome here", row.name),
            }
        }
    }
    for letter in queue.take(letters.len()).await.unwrap() {
        let error = &letter.attributes["oncebox-error"];
        assert!(!error.contains(CANARY), "{error}");
        let is_it = |(body, _, _, words): &(String, _, _, &str)| *body == letter.body && error.contains(words);
        let place = letters.iter().position(is_it);
        let place = place.unwrap_or_else(|| panic!("a letter that no row is for: {error}"));
        let (_, name, reason, _) = letters.swap_remove(place);
        assert_eq!(letter.attributes["oncebox-reason"], reason, "{name}");
    }
    assert!(letters.is_empty());
    assert_eq!(queue.depth().await.unwrap(), 0);
}

/// A queue takes 1,048,576 bytes of body and attributes together. What came through one leaves no room beside it for
/// what the consumer has to say, and must reach the dead-letter queue all the same: nothing else ends its retries.
#[tokio::test]
async fn poison_as_large_as_a_queue_takes_reaches_the_dead_letter_queue() {
    const MOST: usize = 1_048_576;
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let queue = Queue::standard(&stack).await.unwrap();
    let arrivals = Arrivals::new(&stack, &database, &queue).await;
    let note = "n".repeat(200);
    let attributes = json!({ "note": { "stringValue": note, "dataType": "String", "stringListValues": [], "binaryListValues": [] } });
    let of_note = "note".len() + "String".len() + note.len();
    let of_reason = "oncebox-reason".len() + "String".len() + "not_an_envelope".len();
    for (bytes, attributes, tells) in [
        (MOST, json!({}), false),
        (MOST - of_reason + 1, json!({}), false),
        (MOST - of_reason, json!({}), true),
        (MOST - of_note, attributes, true),
    ] {
        let body = format!("{{ {}", "x".repeat(bytes - 2));
        let settled = arrivals.deliver(&[&body], &attributes).await;
        let error = settled.events[0].error.clone().unwrap();
        assert!(
            settled.response().batch_item_failures.is_empty(),
            "{bytes} bytes: {error}"
        );
        let letter = queue.take(1).await.unwrap().remove(0);
        assert!(letter.body == body, "{bytes} bytes: the body as it came");
        let reason = letter.attributes.get("oncebox-reason").map(String::as_str);
        assert_eq!(reason, tells.then_some("not_an_envelope"), "{bytes} bytes");
    }
}
