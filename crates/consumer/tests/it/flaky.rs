//! A handler whose first attempt at an event may fail, and that remembers its attempts.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use oncebox_consumer::{Effects, HandlerError, TransactionalHandler};
use oncebox_envelope::Envelope;
use uuid::Uuid;

use crate::ping::{Act, Ping, count};

/// Counts a ping; of one that says `retry` the first attempt fails and later ones succeed.
#[derive(Clone, Default)]
pub(crate) struct Flaky(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    failed: HashSet<Uuid>,
    attempts: Vec<Uuid>,
}

impl Flaky {
    /// The events of all attempts since the last call, in order.
    pub(crate) fn attempts(&self) -> Vec<Uuid> {
        std::mem::take(&mut self.0.lock().unwrap().attempts)
    }
}

impl<'a> TransactionalHandler<'a, Ping> for Flaky {
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, mut event: Envelope<Ping>, effects: &'a mut Effects) -> Self::Future {
        let id = *event.id.as_uuid();
        let mut memory = self.0.lock().unwrap();
        memory.attempts.push(id);
        if event.data.act == Act::Retry && !memory.failed.insert(id) {
            event.data.act = Act::Succeed;
        }
        Box::pin(count(event, effects))
    }
}
