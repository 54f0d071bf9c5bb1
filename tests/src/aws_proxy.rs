//! A proxy between a process and AWS that does what a test tells it to.
//!
//! It speaks AWS's JSON protocols and its query protocol as far as it must, and understands the
//! operations that hand over messages: `SendMessageBatch`, `PublishBatch` and `PutEvents`. What no rule
//! is for goes through untouched. It writes down every message that AWS took, in that order: this is
//! what a test compares with what was committed.

mod faults;
mod gate;
mod record;
mod request;
mod sending;
mod server;

use std::sync::{Arc, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{Stack, rights::Calls};
use record::Record;
use server::Inner;

pub use faults::{Chosen, Fault, Moment};
pub use gate::Gate;
pub use record::Send;
pub use request::{Entry, Request};

/// The proxy; it ends with this value.
#[derive(Debug)]
pub struct AwsProxy {
    /// What a process gets as `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    inner: Arc<Inner>,
    _server: JoinSet<()>,
}

type Matcher = Box<dyn Fn(&Request) -> bool + std::marker::Send>;

/// What is to happen to the next requests that match.
struct Rule {
    matches: Matcher,
    times: usize,
    fault: Fault,
}

impl AwsProxy {
    /// Starts a proxy in front of the stack's LocalStack.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(stack: &Stack) -> Result<Self> {
        let inner = Arc::new(Inner::new(stack.endpoint.clone()));
        let (endpoint, server) = server::serve(inner.clone()).await?;
        Ok(Self {
            endpoint,
            inner,
            _server: server,
        })
    }

    /// Lets `fault` happen to the next `times` requests that match. Rules are tried in the order
    /// of their making; one that is used up counts no more.
    pub fn inject(&self, times: usize, fault: Fault, matches: impl Fn(&Request) -> bool + std::marker::Send + 'static) {
        self.inner.rules().push(Rule {
            matches: Box::new(matches),
            times,
            fault,
        });
    }

    /// Holds the next `times` requests that match, until the test decides.
    #[must_use]
    pub fn hold(
        &self,
        times: usize,
        moment: Moment,
        matches: impl Fn(&Request) -> bool + std::marker::Send + 'static,
    ) -> Gate {
        let gate = Gate::new();
        self.inject(times, Fault::Hold(moment, gate.clone()), matches);
        gate
    }

    /// Ends all rules: from now on everything goes through.
    pub fn heal(&self) {
        self.inner.rules().clear();
    }

    /// The messages that the targets took, in the order in which they took them, copies included.
    #[must_use]
    pub fn taken(&self) -> Vec<Entry> {
        self.inner.record().taken.clone()
    }

    /// Every request that hands over messages, seen so far.
    #[must_use]
    pub fn sends(&self) -> Vec<Send> {
        self.inner.record().sends.clone()
    }

    /// Which calls were made, whatever came of them, and which rights they ask for.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.inner.record().calls.clone()
    }

    /// The FIFO groups that were seen with two requests in flight at once; must be none.
    #[must_use]
    pub fn overlapping_groups(&self) -> Vec<String> {
        self.inner.record().overlapping_groups.clone()
    }
}

impl Inner {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault for a request, counted as used.
    fn fault_for(&self, request: &Request) -> Fault {
        let mut rules = self.rules();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && (rule.matches)(request));
        rule.map_or(Fault::None, |rule| {
            rule.times -= 1;
            rule.fault.clone()
        })
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}
