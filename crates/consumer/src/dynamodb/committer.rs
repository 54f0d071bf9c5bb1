//! Group commit: the events of one batch that are ready share transactions.

mod pace;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use self::pace::{Due, Ready, due};
use super::{
    dedupe::DynamoDbDedupe,
    described::{Described, Fate},
    group::{Candidate, Group, plan},
    store::{Transacted, Write},
};
use crate::{
    failure::Failure,
    outbox::Posting,
    outcome::Verdict,
    planted::{Bug, is_planted},
    time::{self, Instant, sleep_until, timeout_at},
};

/// Pauses between attempts are random, up to a bound that doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Commits what the lanes of a batch bring, as large groups as the limits allow.
///
/// A lane either works or waits for a commit of its own. When none works any more, nothing can be
/// gained by waiting: that is the moment to commit. A lone message is committed at once.
pub(crate) struct Committer<'a> {
    dedupe: &'a DynamoDbDedupe,
    /// Who sends what is emitted.
    posting: Option<&'a Posting<'a>>,
    /// From here on no commit is begun.
    until: Instant,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Lanes that may still bring something before they get an answer.
    working: usize,
    /// Lanes that have not come to their end.
    open: usize,
    waiting: Vec<Waiting>,
    next_id: u64,
    next_cell: u64,
}

/// An event that waits for its commit.
struct Waiting {
    id: u64,
    cell: u64,
    described: Described,
    /// When it came, and how long it took until then.
    since: Instant,
    took: Duration,
    not_before: Instant,
    pause: Duration,
    why: String,
    answer: oneshot::Sender<Verdict>,
}

/// A group on its way.
struct Sent {
    group: Group,
    waiting: Vec<Waiting>,
}

impl<'a> Committer<'a> {
    /// For a batch of `lanes` lanes.
    pub(crate) fn new(
        dedupe: &'a DynamoDbDedupe,
        posting: Option<&'a Posting<'a>>,
        lanes: usize,
        until: Instant,
    ) -> Self {
        let state = State {
            working: lanes,
            open: lanes,
            ..State::default()
        };
        Self {
            dedupe,
            posting,
            until,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Commits an event together with others; `took` is how long it took to describe it.
    ///
    /// # Cancel safety
    /// Dropped before it ends, the event may be committed or not.
    pub(crate) async fn commit(&self, described: Described, took: Duration) -> Verdict {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state();
            let (id, now) = (state.next_id, time::now());
            state.next_id += 1;
            state.working -= 1;
            state.waiting.push(Waiting {
                id,
                cell: 0,
                described,
                since: now,
                took,
                not_before: now,
                pause: FIRST_PAUSE,
                why: String::new(),
                answer,
            });
        }
        self.changed.notify_one();
        let mut back_to_work = BackToWork {
            committer: self,
            answered,
        };
        let verdict = (&mut back_to_work.answered).await;
        drop(back_to_work);
        verdict.unwrap_or_else(|_| Failure::retryable("the commit was given up").into())
    }

    /// A lane has come to its end.
    pub(crate) fn lane_ended(&self) {
        let mut state = self.state();
        state.working -= 1;
        state.open -= 1;
        drop(state);
        self.changed.notify_one();
    }

    /// Commits until all lanes have come to their end.
    ///
    /// # Cancel safety
    /// Dropping it leaves each group applied whole or not at all.
    pub(crate) async fn run(&self) {
        let mut sent: FuturesUnordered<BoxFuture<'_, (Sent, Vec<Fate>)>> = FuturesUnordered::new();
        let mut in_flight: HashSet<String> = HashSet::new();
        loop {
            let wake = match self.due() {
                Due::Now => {
                    let groups = self.take(&in_flight);
                    let is_more = !groups.is_empty();
                    for group in groups {
                        in_flight.extend(group.group.items().cloned());
                        sent.push(self.send(group).boxed());
                    }
                    if is_more {
                        continue;
                    }
                    // What is left is in the way of what is in flight.
                    None
                }
                Due::At(at) => Some(at),
                Due::Never => None,
            };
            if sent.is_empty() && self.state().open == 0 {
                return;
            }
            let wake = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                biased;
                done = sent.next(), if !sent.is_empty() => done,
                () = self.changed.notified() => None,
                () = wake => None,
            };
            if let Some((group, fates)) = done {
                for item in group.group.items() {
                    in_flight.remove(item);
                }
                self.deal(group, fates);
            }
        }
    }

    fn due(&self) -> Due {
        let state = self.state();
        let ready: Vec<Ready> = state
            .waiting
            .iter()
            .map(|waiting| Ready {
                since: waiting.since,
                took: waiting.took,
                not_before: waiting.not_before,
                writes: waiting.described.writes.len(),
            })
            .collect();
        due(&ready, state.working > 0, time::now(), self.until)
    }

    /// Takes out what can go now.
    fn take(&self, in_flight: &HashSet<String>) -> Vec<Sent> {
        let now = time::now();
        let mut state = self.state();
        if now >= self.until {
            for waiting in std::mem::take(&mut state.waiting) {
                let why = if waiting.why.is_empty() {
                    "no time"
                } else {
                    &waiting.why
                };
                let verdict = Failure::retryable(format!("not committed within the time of this invocation: {why}"));
                state.answer(waiting.answer, verdict.into());
            }
            return Vec::new();
        }
        let ready = state.waiting.iter().filter(|waiting| waiting.not_before <= now);
        let candidates: Vec<Candidate<'_>> = ready
            .map(|waiting| Candidate {
                id: waiting.id,
                cell: waiting.cell,
                writes: &waiting.described.writes,
            })
            .collect();
        let groups = plan(&candidates, in_flight);
        let mut by_id: HashMap<u64, Waiting> = state.waiting.drain(..).map(|waiting| (waiting.id, waiting)).collect();
        let sent = groups.into_iter().map(|group| {
            let members = group.members.iter();
            let waiting = members.filter_map(|member| by_id.remove(&member.id)).collect();
            Sent { group, waiting }
        });
        let sent: Vec<Sent> = sent.collect();
        let mut left: Vec<Waiting> = by_id.into_values().collect();
        left.sort_by_key(|waiting| waiting.id);
        state.waiting = left;
        sent
    }

    /// Sends a group once (the SDK may send it again by itself) and finds out what it means for
    /// each of its events.
    async fn send(&self, sent: Sent) -> (Sent, Vec<Fate>) {
        let token = Uuid::new_v4().to_string();
        let writes = match is_planted(Bug::RecordBeforeEffect) {
            true => Cow::Owned(self.without_records(&sent.group.writes).await),
            false => Cow::Borrowed(sent.group.writes.as_slice()),
        };
        let answer = self.dedupe.store.transact(&token, &writes);
        let answer = match timeout_at(self.until, answer).await {
            Ok(Transacted::Unknown(_)) if is_planted(Bug::UnknownIsDone) => Transacted::Committed,
            Ok(answer) => answer,
            Err(_) => Transacted::Unknown("no answer".to_owned()),
        };
        let mut fates: Vec<Fate> = match answer {
            Transacted::Committed => {
                let done = |waiting: &Waiting| Fate::Settled(waiting.described.done());
                sent.waiting.iter().map(done).collect()
            }
            Transacted::Canceled(reasons) => {
                let members = sent.group.members.iter().zip(&sent.waiting);
                let fates =
                    members.map(|(member, waiting)| waiting.described.fate(&sent.group.reasons_of(member, &reasons)));
                let fates: Vec<Fate> = fates.collect();
                if fates.iter().all(|fate| *fate == Fate::Again) {
                    let later = || Fate::Later("canceled without a reason".to_owned());
                    fates.iter().map(|_| later()).collect()
                } else {
                    fates
                }
            }
            Transacted::Busy(why) => sent.waiting.iter().map(|_| Fate::Later(why.clone())).collect(),
            // A deployment is wrong, or one event is; the messages must outlive both.
            Transacted::Refused(why) => {
                let refused = || Failure::retryable(format!("DynamoDB refused the transaction: {why}"));
                sent.waiting.iter().map(|_| Fate::Suspect(refused().into())).collect()
            }
            Transacted::Unknown(why) => self.read(&sent, |_| true, &why).await,
        };
        if fates.contains(&Fate::Read) {
            let asked: Vec<bool> = fates.iter().map(|fate| *fate == Fate::Read).collect();
            let read = self
                .read(&sent, |index| asked[index], "the dedupe record could not be read")
                .await;
            for (fate, read) in fates.iter_mut().zip(read) {
                if *fate == Fate::Read {
                    *fate = read;
                }
            }
        }
        (sent, fates)
    }

    /// For a planted fault: commits the records, and tells what is left.
    async fn without_records(&self, writes: &[Write]) -> Vec<Write> {
        let is_record = |write: &&Write| write.table == self.dedupe.table;
        let (records, effects): (Vec<&Write>, Vec<&Write>) = writes.iter().partition(is_record);
        let owned = |writes: Vec<&Write>| -> Vec<Write> { writes.into_iter().cloned().collect() };
        let (token, records) = (Uuid::new_v4().to_string(), owned(records));
        match self.dedupe.store.transact(&token, &records).await {
            Transacted::Committed => owned(effects),
            _ => writes.to_vec(),
        }
    }

    /// What the records say, by strongly consistent reads. Where one is not there, it is not there
    /// *yet*: a lost request may still be on its way, and the next try meets its record.
    async fn read(&self, sent: &Sent, asked: impl Fn(usize) -> bool, why: &str) -> Vec<Fate> {
        let wanted = sent.waiting.iter().enumerate().filter(|(index, _)| asked(*index));
        let (places, keys): (Vec<usize>, Vec<_>) =
            wanted.map(|(index, waiting)| (index, waiting.described.key())).unzip();
        let mut fates: Vec<Fate> = sent.waiting.iter().map(|_| Fate::Later(why.to_owned())).collect();
        if let Ok(Ok(items)) = timeout_at(self.until, self.dedupe.store.read(&keys)).await {
            for (place, item) in places.into_iter().zip(items) {
                if let Some(verdict) = sent.waiting[place].described.settled_by(item.as_ref()) {
                    fates[place] = Fate::Settled(verdict);
                }
            }
        }
        fates
    }

    /// Answers who is settled, and puts the others back in their places.
    fn deal(&self, sent: Sent, fates: Vec<Fate>) {
        let mut state = self.state();
        let is_alone = sent.waiting.len() == 1;
        let suspects = fates.iter().filter(|fate| matches!(fate, Fate::Suspect(_))).count();
        // Suspects are halved until the one at fault is alone; the others are committed meanwhile.
        let cells = [state.next_cell + 1, state.next_cell + 2];
        state.next_cell += 2;
        let mut seen = 0;
        for (mut waiting, fate) in sent.waiting.into_iter().zip(fates) {
            match fate {
                Fate::Settled(verdict) => {
                    if let (Some(posting), Verdict::Done) = (self.posting, &verdict) {
                        posting.look_at(waiting.described.parcels());
                    }
                    state.answer(waiting.answer, verdict);
                    continue;
                }
                Fate::Suspect(verdict) if is_alone => {
                    // The parcel that takes what it emits may be full: what lies there is to go.
                    if let Some(posting) = self.posting {
                        posting.look_at(waiting.described.parcels());
                    }
                    state.answer(waiting.answer, verdict);
                    continue;
                }
                Fate::Suspect(_) => {
                    waiting.cell = cells[usize::from(seen * 2 >= suspects)];
                    seen += 1;
                }
                Fate::Again => {}
                Fate::Later(why) => {
                    waiting.not_before = time::after_about(waiting.pause);
                    waiting.pause = (waiting.pause * 2).min(LONGEST_PAUSE);
                    waiting.why = why;
                }
                Fate::Read => waiting.why = "the dedupe record could not be read".to_owned(),
            }
            state.waiting.push(waiting);
        }
        state.waiting.sort_by_key(|waiting| waiting.id);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whoever gets an answer works on.
    fn answer(&mut self, to: oneshot::Sender<Verdict>, verdict: Verdict) {
        if to.send(verdict).is_ok() {
            self.working += 1;
        }
    }
}

/// Counts a lane that stops waiting by itself as one that works.
struct BackToWork<'a> {
    committer: &'a Committer<'a>,
    answered: oneshot::Receiver<Verdict>,
}

impl Drop for BackToWork<'_> {
    fn drop(&mut self) {
        let mut state = self.committer.state();
        // Terminated: the answer was taken, and counted when it was given.
        if self.answered.is_terminated() {
            return;
        }
        self.answered.close();
        if self.answered.try_recv().is_err() {
            state.working += 1;
        }
    }
}
