//! Queues in memory, and what goes wrong on the way to them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use oncebox_envelope::EventId;

use super::clock;
use crate::{
    outbox::{Letter, Post, Target},
    sqs::{DeadLetter, OwnQueues, Redelivery},
};

/// How long a request is on its way, and its answer: others have their turn meanwhile.
const ON_ITS_WAY: Duration = Duration::from_millis(1);

/// What happens to one message on its way to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendFault {
    /// The queue does not take it, and says so.
    Refuse,
    /// The queue takes it, and the answer is lost.
    LoseReply,
    /// It never arrives, and no answer comes either.
    Hang,
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryMessage {
    /// The envelope.
    pub body: String,
    /// The message group.
    pub group: String,
    /// The event's id.
    pub event_id: EventId,
}

/// A message that a consumer has set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryDeadLetter {
    /// The body; of a bundle the event alone.
    pub body: String,
    /// The message attributes that are text.
    pub attributes: HashMap<String, String>,
    /// The message group on a FIFO queue.
    pub group: Option<String>,
}

/// Queues, topics and event buses in memory for [`ConsumerBuilder::queues`](crate::ConsumerBuilder::queues). They keep all that they are sent, also
/// what a FIFO queue would drop within its five minutes. Clones share their messages.
#[derive(Clone, Default)]
pub struct MemoryQueues(Arc<Queues>);

#[derive(Default)]
struct Queues(Mutex<State>);

/// Which fault the message of this number meets with, counted from 0.
type Plan = Box<dyn FnMut(usize) -> Option<SendFault> + Send>;

#[derive(Default)]
struct State {
    messages: HashMap<String, Vec<MemoryMessage>>,
    dead_letters: HashMap<String, Vec<MemoryDeadLetter>>,
    redeliveries: Vec<(String, Duration)>,
    at: HashMap<String, SendFault>,
    plan: Option<Plan>,
    sent: usize,
}

impl MemoryQueues {
    /// What the queue with this URL, or the topic or event bus with this ARN, has been sent, in the order of arrival.
    #[must_use]
    pub fn messages(&self, url: &str) -> Vec<MemoryMessage> {
        self.0.state().messages.get(url).cloned().unwrap_or_default()
    }

    /// The dead letters in the queue with this URL, in the order of arrival.
    #[must_use]
    pub fn dead_letters(&self, url: &str) -> Vec<MemoryDeadLetter> {
        self.0.state().dead_letters.get(url).cloned().unwrap_or_default()
    }

    /// Takes out what has been said, since it was taken out last, of when messages are to be delivered again: receipt
    /// handles and delays, in the order of arrival.
    #[must_use]
    pub fn take_redeliveries(&self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.0.state().redeliveries)
    }

    /// From now on, the message of each number, dead letters included, meets with the fault that `plan` names for it; they are counted from 0.
    pub fn faults(&self, plan: impl FnMut(usize) -> Option<SendFault> + Send + 'static) {
        let mut state = self.0.state();
        state.plan = Some(Box::new(plan));
        state.sent = 0;
    }

    /// From now on, every message to the queue with this URL, or the topic or event bus with this ARN, meets with `fault`, or with that of its
    /// number again.
    pub fn fault_at(&self, url: &str, fault: Option<SendFault>) {
        let mut state = self.0.state();
        match fault {
            Some(fault) => state.at.insert(url.to_owned(), fault),
            None => state.at.remove(url),
        };
    }

    pub(crate) fn post(&self) -> Arc<dyn Post> {
        Arc::clone(&self.0) as _
    }

    pub(crate) fn own(&self) -> Arc<dyn OwnQueues> {
        Arc::clone(&self.0) as _
    }
}

impl Queues {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message on its way: it arrives unless its fault is in the way; `None` when no answer comes.
    fn take(&self, url: &str, arrive: impl FnOnce(&mut State)) -> Option<Result<(), String>> {
        let mut state = self.state();
        let number = state.sent;
        state.sent += 1;
        let numbered = state.plan.as_mut().and_then(|plan| plan(number));
        let fault = state.at.get(url).copied().or(numbered);
        if matches!(fault, None | Some(SendFault::LoseReply)) {
            arrive(&mut state);
        }
        match fault {
            None => Some(Ok(())),
            Some(SendFault::Refuse) => Some(Err("refused by the test kit".to_owned())),
            Some(SendFault::LoseReply) => Some(Err("lost by the test kit".to_owned())),
            Some(SendFault::Hang) => None,
        }
    }
}

impl Post for Queues {
    fn send<'a>(&'a self, to: &'a Target, letters: &'a [Letter]) -> BoxFuture<'a, Vec<Result<(), String>>> {
        async move {
            let groups: HashSet<&str> = letters.iter().map(|letter| letter.group.as_str()).collect();
            assert!(letters.len() <= 10, "a request takes ten messages");
            assert!(
                !to.keeps_order() || groups.len() == letters.len(),
                "a request to a FIFO target has two messages of one group: if the first fails, the second overtakes"
            );
            clock::sleep(ON_ITS_WAY).await;
            let arrives = letters.iter().map(|letter| {
                self.take(&to.address, |state| {
                    let queue = state.messages.entry(letter.to.address.clone()).or_default();
                    queue.push(MemoryMessage {
                        body: letter.body.clone(),
                        group: letter.group.clone(),
                        event_id: letter.id,
                    });
                })
            });
            let answers: Option<Vec<_>> = arrives.collect();
            clock::sleep(ON_ITS_WAY).await;
            match answers {
                Some(answers) => answers,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

impl OwnQueues for Queues {
    fn store(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), String>> {
        async move {
            clock::sleep(ON_ITS_WAY).await;
            let url = letter.url.clone();
            let answer = self.take(&url, |state| {
                let attributes = letter.attributes.iter();
                let texts =
                    attributes.filter_map(|(name, value)| Some((name.clone(), value.string_value()?.to_owned())));
                let stored = MemoryDeadLetter {
                    body: letter.body,
                    attributes: texts.collect(),
                    group: letter.place.map(|place| place.group),
                };
                state.dead_letters.entry(letter.url).or_default().push(stored);
            });
            clock::sleep(ON_ITS_WAY).await;
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn redeliver(&self, _: String, messages: Vec<Redelivery>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            assert!(messages.len() <= 10, "a request takes ten messages");
            clock::sleep(ON_ITS_WAY).await;
            let delays = messages.into_iter().map(|message| {
                let secs = u64::try_from(message.after_secs).unwrap_or_default();
                (message.receipt, Duration::from_secs(secs))
            });
            self.state().redeliveries.extend(delays);
            clock::sleep(ON_ITS_WAY).await;
            Ok(())
        }
        .boxed()
    }
}
