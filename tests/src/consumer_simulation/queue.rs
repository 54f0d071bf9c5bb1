//! A queue of SQS, and what Lambda does with it.

use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};

use super::plan::{Publication, QueuePlan};

/// The consumer's own dead-letter queue.
pub(super) const DEAD_LETTERS: &str = "https://sqs.eu-west-1.amazonaws.com/000000000000/dead-letters";
/// Where the clock of a simulation begins, on the wall.
const BEGINS: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// A message that was deleted may come again within so long.
const COMES_AGAIN_WITHIN: u64 = 60_000;

/// A queue with its redrive policy. What it does is what Amazon SQS' Developer Guide says it may: standard queues
/// deliver in any order, more than once, and for a while even what was deleted; FIFO queues deliver a group in order, and
/// nothing of it while any of it is in flight. Of a receipt handle that is not the last one, a standard queue may take a
/// delete; FIFO takes none once its visibility timeout is over.
pub(super) struct Queue {
    plan: QueuePlan,
    messages: Vec<Message>,
    /// Deletes on their way: when they arrive, and for which delivery.
    deletes: Vec<(Duration, Receipt)>,
    /// When deleted messages come again.
    copies: Vec<(Duration, usize)>,
    redriven: Vec<String>,
}

struct Message {
    body: String,
    group: String,
    visible_at: Duration,
    receives: u32,
    sent: Duration,
    first_received: Duration,
    is_gone: bool,
}

/// One delivery of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) message: usize,
    receive: u32,
}

impl Receipt {
    fn text(self) -> String {
        format!("{}/{}", self.message, self.receive)
    }

    fn of(text: &str) -> Option<Self> {
        let (message, receive) = text.split_once('/')?;
        Some(Self {
            message: message.parse().ok()?,
            receive: receive.parse().ok()?,
        })
    }
}

impl Queue {
    pub(super) fn new(plan: QueuePlan) -> Self {
        Self {
            plan,
            messages: Vec::new(),
            deletes: Vec::new(),
            copies: Vec::new(),
            redriven: Vec::new(),
        }
    }

    /// An empty queue again.
    pub(super) fn begin_again(&mut self) {
        *self = Self::new(self.plan);
    }

    pub(super) fn publish(&mut self, publication: &Publication, body: String, now: Duration) {
        self.messages.push(Message {
            body,
            group: publication.group.clone(),
            visible_at: now,
            receives: 0,
            sent: now,
            first_received: Duration::ZERO,
            is_gone: false,
        });
    }

    /// Bodies that the redrive policy has moved away.
    pub(super) fn redriven(&self) -> &[String] {
        &self.redriven
    }

    pub(super) fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.messages.iter().all(|message| message.is_gone)
    }

    /// When there may be something to receive, or to delete.
    pub(super) fn next_change(&self) -> Option<Duration> {
        let messages = self.messages.iter().filter(|message| !message.is_gone);
        let planned = self.deletes.iter().map(|(at, _)| *at);
        let planned = planned.chain(self.copies.iter().map(|(at, _)| *at));
        messages.map(|message| message.visible_at).chain(planned).min()
    }

    /// At most `most` messages, as Lambda gets them.
    ///
    /// What is deleted by then may come again, each message with the probability `copied`.
    pub(super) fn receive(&mut self, most: usize, now: Duration, copied: f64, random: &mut StdRng) -> Vec<Receipt> {
        self.advance(now, copied, random);
        let candidates = match self.plan.is_fifo {
            true => self.heads_of_groups(now, random),
            false => {
                let mut visible: Vec<usize> = (0..self.messages.len())
                    .filter(|index| self.is_visible(*index, now))
                    .collect();
                visible.shuffle(random);
                visible
            }
        };
        let most = random.random_range(1..=most);
        let mut received = Vec::new();
        for index in candidates {
            if received.len() == most {
                break;
            }
            let Some(message) = self.messages.get_mut(index) else {
                continue;
            };
            if message.receives >= self.plan.max_receive_count {
                message.is_gone = true;
                self.redriven.push(message.body.clone());
                continue;
            }
            message.receives += 1;
            message.visible_at = now + self.plan.visibility;
            if message.receives == 1 {
                message.first_received = now;
            }
            received.push(Receipt {
                message: index,
                receive: message.receives,
            });
        }
        received
    }

    fn is_visible(&self, index: usize, now: Duration) -> bool {
        let message = self.messages.get(index);
        message.is_some_and(|message| !message.is_gone && message.visible_at <= now)
    }

    /// The messages of groups of which none is in flight, in order within each.
    fn heads_of_groups(&self, now: Duration, random: &mut StdRng) -> Vec<usize> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        for (index, message) in self.messages.iter().enumerate().filter(|(_, message)| !message.is_gone) {
            match groups.iter_mut().find(|(name, _)| *name == message.group) {
                Some((_, of_it)) => of_it.push(index),
                None => groups.push((&message.group, vec![index])),
            }
        }
        groups.retain(|(_, of_it)| of_it.iter().all(|index| self.is_visible(*index, now)));
        groups.shuffle(random);
        groups.into_iter().flat_map(|(_, of_it)| of_it).collect()
    }

    /// A delivery as Lambda hands it over.
    pub(super) fn record(&self, receipt: Receipt) -> Option<Value> {
        let message = self.messages.get(receipt.message)?;
        let sent = BEGINS.checked_add(message.sent).ok()?;
        let first = BEGINS.checked_add(message.first_received).ok()?;
        let (name, group) = match self.plan.is_fifo {
            true => ("deeds.fifo", Some(&message.group)),
            false => ("deeds", None),
        };
        let mut attributes = json!({
            "ApproximateReceiveCount": receipt.receive.to_string(),
            "SentTimestamp": sent.as_millisecond().to_string(),
            "ApproximateFirstReceiveTimestamp": first.as_millisecond().to_string(),
        });
        if let (Some(group), Some(attributes)) = (group, attributes.as_object_mut()) {
            attributes.insert("MessageGroupId".to_owned(), json!(group));
        }
        Some(json!({
            "messageId": receipt.message.to_string(), "receiptHandle": receipt.text(), "body": message.body,
            "attributes": attributes, "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
            "eventSourceARN": format!("arn:aws:sqs:eu-west-1:000000000000:{name}"),
        }))
    }

    /// Lambda deletes it; the request arrives at `at`.
    pub(super) fn delete(&mut self, receipt: Receipt, at: Duration) {
        self.deletes.push((at, receipt));
    }

    fn advance(&mut self, now: Duration, copied: f64, random: &mut StdRng) {
        let due: Vec<Receipt> = self
            .deletes
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, receipt)| receipt)
            .collect();
        for receipt in due {
            let Some(message) = self.messages.get_mut(receipt.message) else {
                continue;
            };
            let is_last = message.receives == receipt.receive;
            let is_taken = match self.plan.is_fifo {
                true => is_last && message.visible_at > now,
                false => is_last || random.random_bool(0.5),
            };
            if message.is_gone || !is_taken {
                continue;
            }
            message.is_gone = true;
            if !self.plan.is_fifo && random.random_bool(copied) {
                let after = Duration::from_millis(random.random_range(0..COMES_AGAIN_WITHIN));
                self.copies.push((now + after, receipt.message));
            }
        }
        let due: Vec<usize> = self
            .copies
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, index)| index)
            .collect();
        for index in due {
            if let Some(message) = self.messages.get_mut(index) {
                (message.is_gone, message.visible_at) = (false, now);
            }
        }
    }

    /// Somebody says when a delivery is to come again.
    pub(super) fn redeliver(&mut self, receipt: &str, after: Duration, now: Duration) {
        let Some(receipt) = Receipt::of(receipt) else { return };
        if let Some(message) = self.messages.get_mut(receipt.message)
            && message.receives == receipt.receive
            && message.visible_at > now
        {
            message.visible_at = now + after;
        }
    }
}
