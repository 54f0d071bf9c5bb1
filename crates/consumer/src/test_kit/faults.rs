//! What goes wrong between a function and its store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};

use super::clock;
use crate::{
    dynamodb::store::{Cancellation, Item, ItemKey, Page, Store, Transacted, Write},
    time::{self, Instant},
};

/// What happens to one request. To one that reads: it is answered, by an error, late or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It never arrives.
    LoseRequest,
    /// It is applied, and its answer lost.
    LoseReply,
    /// It arrives when so many later ones have been answered; until then it seems lost, and after a minute it is.
    Late(u32),
    /// It is refused for now: the table is throttled.
    Throttle,
    /// It is refused for now: another transaction is changing one of its items.
    Conflict,
    /// It never arrives, and no answer comes either.
    HangBefore,
    /// It is applied, and no answer comes.
    HangAfter,
    /// It takes so long, and is applied in the middle of it.
    Slow(Duration),
}

impl Fault {
    /// Every kind of fault.
    pub const ALL: [Self; 8] = [
        Self::LoseRequest,
        Self::LoseReply,
        Self::Late(2),
        Self::Throttle,
        Self::Conflict,
        Self::HangBefore,
        Self::HangAfter,
        Self::Slow(Duration::from_millis(100)),
    ];
}

/// What the kit does to the transactions of an inbox.
#[cfg(feature = "postgres")]
pub(crate) struct InboxFaults {
    pub(crate) gate: Arc<super::gate::Gate>,
    commits: Mutex<(usize, Option<Plan>)>,
}

#[cfg(feature = "postgres")]
impl InboxFaults {
    pub(crate) fn new(gate: Arc<super::gate::Gate>) -> Self {
        Self {
            gate,
            commits: Mutex::default(),
        }
    }

    /// From now on, commits meet with the faults of `plan`; they are counted anew. Only [`Fault::LoseRequest`] and
    /// [`Fault::LoseReply`] mean something here.
    pub(crate) fn plan(&self, plan: impl FnMut(usize) -> Option<Fault> + Send + 'static) {
        *self.commits.lock().unwrap_or_else(PoisonError::into_inner) = (0, Some(Box::new(plan)));
    }

    /// What the next commit meets with.
    pub(crate) fn next_commit(&self) -> Option<Fault> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let number = commits.0;
        commits.0 += 1;
        commits.1.as_mut().and_then(|plan| plan(number))
    }
}

/// A store whose requests meet with faults.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
}

/// Which fault the request of this number meets with, counted from 0.
type Plan = Box<dyn FnMut(usize) -> Option<Fault> + Send>;

struct State {
    plan: Plan,
    reads: (usize, Plan),
    requests: usize,
    /// Requests on their way.
    late: VecDeque<Late>,
}

/// A request that is on its way.
struct Late {
    /// How many others go first.
    after: u32,
    since: Instant,
    token: String,
    writes: Vec<Write>,
}

/// No network holds a request for longer, and no client waits so long.
const LONGEST_ON_ITS_WAY: Duration = Duration::from_secs(60);

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        let state = State {
            plan: Box::new(|_| None),
            reads: (0, Box::new(|_| None)),
            requests: 0,
            late: VecDeque::new(),
        };
        Self {
            inner,
            state: Mutex::new(state),
        }
    }

    /// From now on, requests meet with the faults of `plan`; they are counted anew.
    pub(crate) fn plan(&self, plan: impl FnMut(usize) -> Option<Fault> + Send + 'static) {
        let mut state = self.state();
        (state.plan, state.requests) = (Box::new(plan), 0);
    }

    /// The same for requests that read, which are counted for themselves.
    pub(crate) fn plan_reads(&self, plan: impl FnMut(usize) -> Option<Fault> + Send + 'static) {
        self.state().reads = (0, Box::new(plan));
    }

    /// How many requests that write there have been since the last plan.
    pub(crate) fn requests(&self) -> usize {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut state = self.state();
        let number = state.requests;
        state.requests += 1;
        (state.plan)(number)
    }

    fn next_read_fault(&self) -> Option<Fault> {
        let (number, plan) = &mut self.state().reads;
        let fault = plan(*number);
        *number += 1;
        fault
    }

    /// Lets those arrive whose time has come.
    async fn arrive(&self) {
        let mut due = Vec::new();
        {
            let mut state = self.state();
            let now = time::now();
            state.late.retain(|late| now - late.since <= LONGEST_ON_ITS_WAY);
            for late in &mut state.late {
                late.after = late.after.saturating_sub(1);
            }
            while state.late.front().is_some_and(|late| late.after == 0) {
                due.extend(state.late.pop_front());
            }
        }
        for late in due {
            self.inner.transact(&late.token, &late.writes).await;
        }
    }
}

impl Store for FaultyStore {
    fn transact<'a>(&'a self, token: &'a str, writes: &'a [Write]) -> BoxFuture<'a, Transacted> {
        async move {
            let lost = || Transacted::Unknown("lost by the test kit".to_owned());
            let answer = match self.next_fault() {
                None => self.inner.transact(token, writes).await,
                Some(Fault::LoseRequest) => lost(),
                Some(Fault::LoseReply) => {
                    self.inner.transact(token, writes).await;
                    lost()
                }
                Some(Fault::Late(after)) => {
                    let late = Late {
                        after: after + 1,
                        since: time::now(),
                        token: token.to_owned(),
                        writes: writes.to_vec(),
                    };
                    self.state().late.push_back(late);
                    lost()
                }
                Some(Fault::Throttle) => Transacted::Busy("ThrottlingException".to_owned()),
                Some(Fault::Conflict) => {
                    let mut reasons = vec![Cancellation::None; writes.len()];
                    if let Some(last) = reasons.last_mut() {
                        *last = Cancellation::Busy("TransactionConflict".to_owned());
                    }
                    Transacted::Canceled(reasons)
                }
                Some(Fault::HangBefore) => std::future::pending().await,
                Some(Fault::HangAfter) => {
                    self.inner.transact(token, writes).await;
                    std::future::pending().await
                }
                Some(Fault::Slow(length)) => {
                    clock::sleep(length / 2).await;
                    let answer = self.inner.transact(token, writes).await;
                    clock::sleep(length / 2).await;
                    answer
                }
            };
            self.arrive().await;
            answer
        }
        .boxed()
    }

    fn read<'a>(&'a self, keys: &'a [ItemKey]) -> BoxFuture<'a, Result<Vec<Option<Item>>, String>> {
        async move {
            match self.next_read_fault() {
                None => self.inner.read(keys).await,
                Some(Fault::LoseRequest | Fault::LoseReply | Fault::Late(_)) => Err("lost by the test kit".to_owned()),
                Some(Fault::Throttle) => Err("ThrottlingException".to_owned()),
                Some(Fault::Conflict) => Err("TransactionConflict".to_owned()),
                Some(Fault::HangBefore | Fault::HangAfter) => std::future::pending().await,
                Some(Fault::Slow(length)) => {
                    clock::sleep(length / 2).await;
                    let answer = self.inner.read(keys).await;
                    clock::sleep(length / 2).await;
                    answer
                }
            }
        }
        .boxed()
    }

    fn query<'a>(
        &'a self,
        partition: &'a ItemKey,
        after: Option<&'a Item>,
        limit: u16,
    ) -> BoxFuture<'a, Result<Page, String>> {
        self.inner.query(partition, after, limit)
    }
}
