//! Queues in memory, and what goes wrong on the way to them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use oncebox_envelope::EventId;

use super::clock;
use crate::outbox::{Letter, Post, Target};

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
    plan: Option<Plan>,
    sent: usize,
}

impl MemoryQueues {
    /// What the queue with this URL, or the topic or event bus with this ARN, has been sent, in the order of arrival.
    #[must_use]
    pub fn messages(&self, url: &str) -> Vec<MemoryMessage> {
        self.0.state().messages.get(url).cloned().unwrap_or_default()
    }

    /// From now on, the message of each number meets with the fault that `plan` names for it; they are counted from 0.
    pub fn faults(&self, plan: impl FnMut(usize) -> Option<SendFault> + Send + 'static) {
        let mut state = self.0.state();
        state.plan = Some(Box::new(plan));
        state.sent = 0;
    }

    pub(crate) fn post(&self) -> Arc<dyn Post> {
        Arc::clone(&self.0) as _
    }
}

impl Queues {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, letter: &Letter) -> Option<Result<(), String>> {
        let mut state = self.state();
        let number = state.sent;
        state.sent += 1;
        let fault = state.plan.as_mut().and_then(|plan| plan(number));
        if matches!(fault, None | Some(SendFault::LoseReply)) {
            let queue = state.messages.entry(letter.to.address.clone()).or_default();
            queue.push(MemoryMessage {
                body: letter.body.clone(),
                group: letter.group.clone(),
                event_id: letter.id,
            });
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
            // Others have their turn before it arrives and before the answer does.
            clock::sleep(std::time::Duration::from_millis(1)).await;
            let answers: Option<Vec<_>> = letters.iter().map(|letter| self.take(letter)).collect();
            clock::sleep(std::time::Duration::from_millis(1)).await;
            match answers {
                Some(answers) => answers,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}
