//! The transactional events of one batch: what is known before, whose turn it is, what is committed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::SemaphorePermit;

use super::{
    committer::Committer,
    dedupe::{Claim, DynamoDbDedupe, Owner},
    described::{Described, Record},
    effects::Effects,
    store::{Item, ItemKey},
    watermark::Stamp,
};
use crate::{
    failure::Failure,
    gap_guard::{Attempted, GapGuard, MAX_MISSED, Position, Print, Turn, Watermark, waited},
    handler::Attempt,
    invocation::Budget,
    outbox::{Emitter, Outbox, Packing, Posting},
    outcome::Verdict,
    record::Content,
    time::{self, timeout_at},
};

/// What the transactional events of a batch share.
pub(crate) struct TransactionalBatch<'a> {
    dedupe: &'a DynamoDbDedupe,
    consumer: &'a str,
    is_guarded: bool,
    budget: Budget,
    outbox: Option<(&'a Arc<Outbox>, &'a Posting<'a>)>,
    packing: Packing,
    pub(crate) committer: Committer<'a>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Records by their key's identity.
    records: HashMap<String, Item>,
    /// Watermarks by key, as last seen; what is not here has to be read.
    watermarks: HashMap<String, Option<Watermark>>,
}

/// What is to be done about an event when it is its turn.
pub(crate) enum Task<'a> {
    Handle(&'a dyn Attempt<Effects>, &'a Content),
    /// Nothing: it is dropped, or fails.
    End(Verdict),
}

/// Where an event stands in its key.
struct InTurn<'a> {
    guard: GapGuard,
    position: Position<'a>,
    known: Option<Watermark>,
    turn: Turn,
    /// How long its key has stood still while it waited.
    waited: Duration,
}

impl<'a> TransactionalBatch<'a> {
    pub(crate) fn new(
        dedupe: &'a DynamoDbDedupe,
        consumer: &'a str,
        is_guarded: bool,
        emits: Option<(&'a Arc<Outbox>, &'a Posting<'a>)>,
        lanes: usize,
        budget: Budget,
    ) -> Self {
        let posting = emits.map(|(_, posting)| posting);
        Self {
            dedupe,
            consumer,
            is_guarded,
            budget,
            outbox: emits,
            packing: Packing::default(),
            committer: Committer::new(dedupe, posting, lanes, budget.work_until),
            known: Mutex::default(),
        }
    }

    /// Where an event stands, if the gap guard looks after it.
    fn position<'c>(&self, content: &'c Content) -> Option<Position<'c>> {
        Position::of(content).filter(|_| self.is_guarded)
    }

    /// Reads in one go what may be known of `events`: of each its record where it has been
    /// delivered before, and the watermark of its key.
    ///
    /// Where it cannot be read, nothing is known: the commit finds out.
    pub(crate) async fn look_up(&self, events: impl Iterator<Item = (&Content, u32)>) {
        let mut keys: Vec<ItemKey> = Vec::new();
        let mut watermarks: HashSet<&str> = HashSet::new();
        for (content, receive_count) in events {
            let position = self.position(content);
            if position.is_some() || receive_count > 1 {
                keys.push(self.claim(content).record(&self.dedupe.table));
            }
            watermarks.extend(position.map(|position| position.key));
        }
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(key.identity()));
        let records = keys.len();
        keys.extend(watermarks.iter().map(|key| self.watermark_key(key)));
        if keys.is_empty() {
            return;
        }
        let Ok(Ok(items)) = timeout_at(self.budget.start_until, self.dedupe.store.read(&keys)).await else {
            return;
        };
        let mut known = self.known();
        let mut items = items.into_iter();
        for (key, item) in keys.iter().zip(items.by_ref().take(records)) {
            known.records.extend(item.map(|item| (key.identity(), item)));
        }
        for (key, item) in watermarks.into_iter().zip(items) {
            // One that cannot be understood is read again, and told of, when its key has its turn.
            let watermark = match &item {
                None => Some(None),
                Some(item) => Watermark::read(item).map(Some),
            };
            known
                .watermarks
                .extend(watermark.map(|watermark| (key.to_owned(), watermark)));
        }
    }

    /// Has the effect of an event that nobody orders.
    pub(crate) async fn consume(
        &self,
        handler: &dyn Attempt<Effects>,
        content: &Content,
        permit: SemaphorePermit<'_>,
    ) -> Verdict {
        let claim = self.claim(content);
        let owner = {
            let known = self.known();
            let record = known.records.get(&claim.record(&self.dedupe.table).identity());
            record.and_then(|record| claim.owner(record))
        };
        match owner {
            Some(Owner::AnotherPayload) => return Failure::payload_mismatch().into(),
            Some(Owner::Another | Owner::Me) => return Verdict::Duplicate,
            None => {}
        }
        self.handle(handler, content, Record::Event(claim), permit).await
    }

    /// Has the effect of an event when it is its turn within its key.
    ///
    /// The watermark is known before the handler begins, so the handler sees what its predecessors
    /// have done; and the commit holds only if nothing has moved it since.
    pub(crate) async fn consume_in_turn(
        &self,
        guard: GapGuard,
        position: Position<'_>,
        content: &Content,
        task: Task<'_>,
        waits_since: Option<Timestamp>,
        permit: SemaphorePermit<'_>,
    ) -> Attempted {
        let known = match self.watermark(position.key).await {
            Ok(known) => known,
            Err(failure) => return Attempted::alone(failure),
        };
        let print = match &task {
            Task::Handle(_, content) => Some(Print::of(content)),
            // Data that lies in S3 was not fetched: the payload's hash is not the real one.
            Task::End(_) => content.envelope.data_ref.is_none().then(|| Print::of(content)),
        };
        let waited = waited(known.as_ref(), waits_since);
        let turn = guard.turn(known.as_ref(), position.sequence, print);
        let place = InTurn {
            guard,
            position,
            known,
            turn,
            waited,
        };
        Attempted {
            verdict: self.do_task(place, content, task, permit).await,
            retry: turn.retry(position.sequence, waited),
        }
    }

    /// What is to be done about an event, as its place in its key says.
    async fn do_task(
        &self,
        place: InTurn<'_>,
        content: &Content,
        task: Task<'_>,
        permit: SemaphorePermit<'_>,
    ) -> Verdict {
        let InTurn {
            guard,
            position,
            known,
            turn,
            waited,
        } = place;
        match turn {
            Turn::Duplicate => return Verdict::Duplicate,
            Turn::Mismatch => return Failure::payload_mismatch().into(),
            Turn::Gap { expected } => return guard.held(expected, position.sequence, waited),
            Turn::Before => {
                return match task {
                    Task::Handle(handler, content) => self.consume(handler, content, permit).await,
                    Task::End(verdict) => verdict,
                };
            }
            Turn::Next | Turn::Late => {}
        }
        let print = Some(Print::of_dropped(content));
        let stamp = |print| {
            let key = Watermark::key(self.consumer, position.key);
            Stamp::new(guard, key, known.as_ref(), position.sequence, print)
        };
        // From before the guard, or from a time before the first event that it saw.
        let claim = self.claim(match &task {
            Task::Handle(_, content) => content,
            Task::End(_) => content,
        });
        let record = claim.record(&self.dedupe.table).identity();
        let owner = self.known().records.get(&record).and_then(|record| claim.owner(record));
        let (handler, content) = match (owner, task) {
            (Some(Owner::AnotherPayload), Task::Handle(..)) => return Failure::payload_mismatch().into(),
            (Some(_), _) => return self.stamp_alone(position, stamp(print), Verdict::Duplicate).await,
            (None, Task::End(failed @ Verdict::Failed(_))) => return failed,
            (None, Task::End(verdict)) => return self.stamp_alone(position, stamp(print), verdict).await,
            (None, Task::Handle(handler, content)) => (handler, content),
        };
        let stamp = stamp(Some(Print::of(content)));
        let after = stamp.after.clone();
        let verdict = self.handle(handler, content, Record::Key(stamp), permit).await;
        self.remember(position, (verdict == Verdict::Done).then_some(after));
        verdict
    }

    /// Lets the successors of an event go on that was set aside, if it is the one they wait for.
    ///
    /// # Errors
    /// Why they cannot.
    pub(crate) async fn pass_by(&self, guard: GapGuard, position: Position<'_>) -> Result<(), String> {
        let known = self
            .watermark(position.key)
            .await
            .map_err(|failure| failure.to_string())?;
        if guard.turn(known.as_ref(), position.sequence, None) != Turn::Next {
            return Ok(());
        }
        if known.as_ref().is_some_and(|known| known.missed.len() >= MAX_MISSED) {
            return Err(format!(
                "{MAX_MISSED} events of its key were passed by already; redrive them, or see `oncebox-consumer gap forget`"
            ));
        }
        let key = Watermark::key(self.consumer, position.key);
        let stamp = Stamp::new(guard, key, known.as_ref(), position.sequence, None);
        match self.stamp_alone(position, stamp, Verdict::Done).await {
            Verdict::Failed(failure) => Err(failure.to_string()),
            _ => Ok(()),
        }
    }

    async fn handle(
        &self,
        handler: &dyn Attempt<Effects>,
        content: &Content,
        record: Record,
        permit: SemaphorePermit<'_>,
    ) -> Verdict {
        let started = time::now();
        let emitter = self.outbox.map(|(outbox, posting)| {
            let span = posting.invocation.trace_parent_for(content.envelope.id);
            Emitter::new(Arc::clone(outbox), &content.envelope, span)
        });
        let mut effects = Effects::emitting(emitter);
        let described = handler.attempt(content.envelope.clone(), &mut effects);
        match timeout_at(self.budget.work_until, described).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return failure.into(),
            Err(_) => return Failure::retryable("the handler was not done within the time of this invocation").into(),
        }
        drop(permit);
        let letters = effects.take_letters();
        let parcels = self.outbox.map(|(outbox, _)| self.packing.pack(outbox, letters));
        let parcels = parcels.unwrap_or_default();
        match Described::new(record, &self.dedupe.table, effects, &self.dedupe.tables, parcels) {
            Ok(described) => self.committer.commit(described, time::now() - started).await,
            Err(failure) => failure.into(),
        }
    }

    async fn stamp_alone(&self, position: Position<'_>, stamp: Stamp, done: Verdict) -> Verdict {
        let after = stamp.after.clone();
        let described = Described::without_effects(Record::Key(stamp), &self.dedupe.table, done.clone());
        let verdict = self.committer.commit(described, Duration::ZERO).await;
        self.remember(position, (verdict == done).then_some(after));
        verdict
    }

    async fn watermark(&self, key: &str) -> Result<Option<Watermark>, Failure> {
        if let Some(known) = self.known().watermarks.get(key) {
            return Ok(known.clone());
        }
        let item = [self.watermark_key(key)];
        let read = timeout_at(self.budget.work_until, self.dedupe.store.read(&item)).await;
        let watermark = match read {
            Ok(Ok(items)) => match items.first() {
                Some(Some(item)) => {
                    let unreadable = || Failure::retryable("the watermark of its key is unreadable");
                    Some(Watermark::read(item).ok_or_else(unreadable)?)
                }
                _ => None,
            },
            Ok(Err(why)) => {
                return Err(Failure::retryable(format!(
                    "the watermark of its key could not be read: {why}"
                )));
            }
            Err(_) => return Err(Failure::retryable("the watermark of its key could not be read in time")),
        };
        self.known().watermarks.insert(key.to_owned(), watermark.clone());
        Ok(watermark)
    }

    /// What is not sure is forgotten, and read again.
    fn remember(&self, position: Position<'_>, watermark: Option<Watermark>) {
        let mut known = self.known();
        match watermark {
            Some(watermark) => known.watermarks.insert(position.key.to_owned(), Some(watermark)),
            None => known.watermarks.remove(position.key),
        };
    }

    fn claim(&self, content: &Content) -> Claim {
        Claim::new(self.consumer, content, self.dedupe)
    }

    fn watermark_key(&self, key: &str) -> ItemKey {
        ItemKey::new(self.dedupe.table.as_str(), Watermark::key(self.consumer, key))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
