//! The messages that the functions are given.

use std::collections::{HashSet, VecDeque};

use invoicing_events::{Currency, InvoiceCreated};
use oncebox_envelope::Event as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};
use uuid::Uuid;

/// The same messages in each run.
const SEED: u64 = 7;

/// What is handed out, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) messages: usize,
    /// Of 100 messages, so many are copies of others.
    pub(crate) copies_percent: usize,
    pub(crate) batch: usize,
}

/// One message of a queue.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) invoice: Uuid,
    message_id: Uuid,
    body: String,
    receive_count: u32,
}

impl Load {
    /// Its messages in their order. A copy has the same event in another message, as when a producer or
    /// a relay has sent it twice: its receive count does not tell.
    pub(crate) fn messages(self) -> VecDeque<Message> {
        let mut rng = StdRng::seed_from_u64(SEED);
        let copies = self.messages * self.copies_percent / 100;
        let mut messages: Vec<Message> = (copies..self.messages).map(|_| Message::new(&mut rng)).collect();
        let originals = messages.len();
        for copy in 0..copies {
            let original = messages[copy % originals].clone();
            messages.push(Message {
                message_id: uuid(&mut rng),
                ..original
            });
        }
        messages.shuffle(&mut rng);
        messages.into()
    }
}

impl Message {
    fn new(rng: &mut StdRng) -> Self {
        let invoice = InvoiceCreated {
            invoice_id: uuid(rng),
            customer_id: uuid(rng),
            amount_cents: rng.random_range(1..100_000),
            currency: Currency::new("EUR").unwrap_or_else(|_| unreachable!("three capital letters")),
        };
        let envelope = json!({
            "specversion": "1.0", "id": uuid(rng), "source": "/bench", "type": InvoiceCreated::TYPE,
            "time": "2026-01-02T03:04:05.678901Z", "datacontenttype": "application/json",
            "tenant": "default", "kind": "event", "data": invoice,
        });
        Self {
            invoice: invoice.invoice_id,
            message_id: uuid(rng),
            body: envelope.to_string(),
            receive_count: 1,
        }
    }

    /// As it is delivered after the function has given it back.
    pub(crate) fn again(mut self) -> Self {
        self.receive_count += 1;
        self
    }

    /// As Lambda hands it over.
    fn record(&self) -> Value {
        json!({
            "messageId": self.message_id, "receiptHandle": "handle", "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": self.receive_count.to_string(), "SentTimestamp": "1767323045678",
                "SenderId": "000000000000", "ApproximateFirstReceiveTimestamp": "1767323045700",
            },
            "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:bench", "awsRegion": "us-east-1",
        })
    }
}

/// The event of an invocation.
pub(crate) fn event(batch: &[Message]) -> Vec<u8> {
    let records: Vec<Value> = batch.iter().map(Message::record).collect();
    json!({ "Records": records }).to_string().into_bytes()
}

/// Those of `batch` that an answer gives back; `None` when it is not a partial batch response of it.
pub(crate) fn returned(batch: Vec<Message>, answer: &Value) -> Option<(Vec<Message>, Vec<Message>)> {
    let failures = answer.get("batchItemFailures")?.as_array()?;
    let ids = failures.iter().map(|failure| failure["itemIdentifier"].as_str());
    let ids: HashSet<Uuid> = ids.map(|id| id?.parse().ok()).collect::<Option<_>>()?;
    let (returned, settled): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|message| ids.contains(&message.message_id));
    (returned.len() == ids.len()).then_some((settled, returned))
}

fn uuid(rng: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use oncebox_envelope::Envelope;

    use super::*;

    #[test]
    fn it_has_as_many_copies_as_it_says_of_events_that_can_be_read() {
        let load = Load {
            messages: 200,
            copies_percent: 50,
            batch: 10,
        };
        let messages = load.messages();
        let distinct = |of: fn(&Message) -> Uuid| messages.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!((messages.len(), distinct(|message| message.message_id)), (200, 200));
        assert_eq!(distinct(|message| message.invoice), 100);
        for message in &messages {
            let envelope = Envelope::from_json(message.body.as_bytes()).unwrap();
            assert_eq!(
                envelope.typed::<InvoiceCreated>().unwrap().data.invoice_id,
                message.invoice
            );
        }
    }

    #[test]
    fn an_answer_gives_back_what_it_names_and_nothing_else() {
        let load = Load {
            messages: 3,
            copies_percent: 0,
            batch: 3,
        };
        let batch: Vec<Message> = load.messages().into();
        let second = batch[1].message_id;
        let failed = |id: &str| json!({ "batchItemFailures": [{ "itemIdentifier": id }] });
        let (settled, back) = returned(batch.clone(), &failed(&second.to_string())).unwrap();
        assert_eq!((settled.len(), back.len(), back[0].message_id), (2, 1, second));
        let (settled, back) = returned(batch.clone(), &json!({ "batchItemFailures": [] })).unwrap();
        assert_eq!((settled.len(), back.len()), (3, 0));
        for wrong in [json!(null), failed("x"), failed(&Uuid::nil().to_string())] {
            assert!(returned(batch.clone(), &wrong).is_none(), "{wrong}");
        }
    }
}
