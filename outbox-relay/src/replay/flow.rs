//! The loop that reads a replay's events and sends them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{rate::Rate, tally::Tally};
use crate::{
    database::{STATEMENT_TIMEOUT, session::Session, trouble},
    lease::term::Lease,
    log::{
        Seq,
        page::PageLimits,
        replay::{self, Fixed, Wanted},
    },
    publish::Publisher,
    sink::{
        Sink,
        dispatch::{Answer, Dispatch, Panicked},
        outgoing::{Draft, Origin},
    },
};

const PAGE: PageLimits = PageLimits {
    span: 1_000,
    max_bytes: 4 * 1024 * 1024,
};
/// Positions that are looked at for one page, where a filter leaves most of them out.
const SCANNED: Seq = 20_000;
/// Most events on their way at once, those that wait behind a stuck one included.
const MAX_ON_WAY: usize = 10_000;
/// Most bytes of messages on their way; one page more may be read on top.
const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;
/// So many refusals are the target's fault, and not that of single events.
const MAX_REFUSED: usize = 1_000;
/// Time between two reports.
const REPORT: Duration = Duration::from_secs(1);

/// A replay: which events go where, how fast.
#[derive(Debug)]
pub struct Replay<P> {
    /// The sink, with the target of the replay.
    pub sink: Arc<Sink<P>>,
    /// Which events.
    pub wanted: Wanted,
    /// Out of which.
    pub fixed: Fixed,
    /// Events per second; 0 for no bound.
    pub per_sec: u32,
}

/// Where a replay stands.
#[derive(Debug)]
pub struct Standing<'a> {
    /// What became of the events so far.
    pub tally: &'a Tally,
    /// Everything before this position is settled; a replay that begins here goes on.
    pub next: Seq,
    /// Everything up to here has been read.
    pub read_to: Seq,
    /// Time since the beginning.
    pub elapsed: Duration,
}

/// Why a replay ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// It was told to.
    #[error("told to stop")]
    Told,
    /// The database; what it said.
    #[error("the database could not be read: {0}")]
    Database(String),
    /// The target refuses one event after the other.
    #[error(
        "the target refuses one event after the other; see the reasons, then mend the target or narrow the selection"
    )]
    TooManyRefused,
}

/// How a replay ended.
#[derive(Debug)]
pub struct Ended {
    /// What became of the events.
    pub tally: Tally,
    /// Why it ended before its end; `None` when it did not.
    pub stop: Option<Stop>,
    /// Everything before this position is settled.
    pub next: Seq,
    /// How long it took.
    pub elapsed: Duration,
}

/// Sends all of it, or what can be sent until `end`: then takes no new events and waits for the
/// answers that are out, at most for the sink's drain timeout. Calls `report` about every second.
///
/// # Errors
/// [`Panicked`].
///
/// # Cancel safety
/// A cancelled call may have sent anything that was on its way.
pub async fn run<P: Publisher>(
    replay: Replay<P>,
    session: Session,
    lease: Lease,
    end: &CancellationToken,
    mut report: impl FnMut(&Standing<'_>),
) -> Result<Ended, Panicked> {
    let begin = Instant::now();
    let mut flow = Flow {
        dispatch: Dispatch::new(Arc::clone(&replay.sink), lease),
        rate: Rate::new(replay.per_sec, begin),
        tally: Tally::default(),
        drafts: VecDeque::new(),
        read_to: replay.fixed.after,
        source: Arc::new(Source {
            sink: replay.sink,
            wanted: replay.wanted,
            fixed: replay.fixed,
        }),
        session: Some(session),
        reading: JoinSet::new(),
        begin,
    };
    let stop = flow.work(end, &mut report).await?;
    if stop.is_some() {
        flow.drain().await?;
    }
    report(&flow.standing());
    Ok(Ended {
        stop,
        next: flow.next(),
        elapsed: begin.elapsed(),
        tally: flow.tally,
    })
}

/// What pages are read of.
struct Source<P> {
    sink: Arc<Sink<P>>,
    wanted: Wanted,
    fixed: Fixed,
}

/// The session, drafts and the position up to which they are all.
type Read = (Session, Result<(Vec<Draft>, Seq), String>);

struct Flow<P> {
    source: Arc<Source<P>>,
    dispatch: Dispatch<P>,
    rate: Rate,
    tally: Tally,
    /// Read, and not on their way yet.
    drafts: VecDeque<Draft>,
    read_to: Seq,
    /// The connection, unless it is reading.
    session: Option<Session>,
    reading: JoinSet<Read>,
    begin: Instant,
}

enum Woken {
    Answered(Answer),
    Read(Box<Read>),
    Due,
}

impl<P: Publisher> Flow<P> {
    async fn work(
        &mut self,
        end: &CancellationToken,
        report: &mut impl FnMut(&Standing<'_>),
    ) -> Result<Option<Stop>, Panicked> {
        let mut report_at = self.begin + REPORT;
        loop {
            while let Some(answer) = self.dispatch.answer_that_is_there() {
                self.settle(answer?);
            }
            if self.tally.refused >= MAX_REFUSED {
                return Ok(Some(Stop::TooManyRefused));
            }
            self.push();
            self.dispatch.send();
            self.read_on();
            if self.is_done() {
                return Ok(None);
            }
            if report_at <= Instant::now() {
                report(&self.standing());
                report_at = Instant::now() + REPORT;
            }
            let woken = self.wait(end, self.wake().map_or(report_at, |wake| wake.min(report_at)));
            match woken.await? {
                None => return Ok(Some(Stop::Told)),
                Some(Woken::Answered(answer)) => self.settle(answer),
                Some(Woken::Read(read)) => {
                    let (session, read) = *read;
                    self.session = Some(session);
                    match read {
                        Ok((drafts, read_to)) => {
                            self.drafts.extend(drafts);
                            self.read_to = read_to;
                        }
                        Err(said) => return Ok(Some(Stop::Database(said))),
                    }
                }
                Some(Woken::Due) => {}
            }
        }
    }

    /// Waits until there is something to do; `None` when it is told to end. Only waits.
    async fn wait(&mut self, end: &CancellationToken, wake: Instant) -> Result<Option<Woken>, Panicked> {
        tokio::select! {
            biased;
            () = end.cancelled() => Ok(None),
            Some(answer) = self.dispatch.answer() => Ok(Some(Woken::Answered(answer?))),
            Some(read) = self.reading.join_next() => {
                let read = read.map_err(|_| Panicked)?;
                Ok(Some(Woken::Read(Box::new(read))))
            }
            () = tokio::time::sleep_until(wake) => Ok(Some(Woken::Due)),
        }
    }

    /// Lets events go as far as the rate and the room allow.
    fn push(&mut self) {
        let now = Instant::now();
        let keeps_order = self.source.sink.keeps_order;
        while self.has_room()
            && let Some(draft) = self.drafts.front()
        {
            let lane = draft.key().filter(|_| keeps_order);
            if self.tally.holds_back(lane) {
                self.drafts.pop_front();
                continue;
            }
            if !self.rate.take(now) {
                return;
            }
            if let Some(draft) = self.drafts.pop_front() {
                self.tally.begin(draft.seq());
                self.dispatch.push(draft.outgoing(Origin::Replay, keeps_order));
            }
        }
    }

    fn has_room(&self) -> bool {
        self.tally.on_way() < MAX_ON_WAY && self.dispatch.held_bytes() < MAX_HELD_BYTES
    }

    /// Starts to read a page when the last one has gone and nothing is read already.
    fn read_on(&mut self) {
        if !self.drafts.is_empty() || !self.has_room() || self.read_to >= self.source.fixed.up_to {
            return;
        }
        let Some(mut session) = self.session.take() else { return };
        let (source, position) = (Arc::clone(&self.source), self.read_to);
        self.reading.spawn(async move {
            let Source { sink, wanted, fixed } = source.as_ref();
            let page = replay::read(&mut session, fixed, wanted, position, SCANNED, PAGE);
            let read = match timeout(STATEMENT_TIMEOUT, page).await {
                Err(_) => Err("no answer within 30 s".to_owned()),
                Ok(Err(error)) => Err(trouble::explain(&error)),
                Ok(Ok(None)) => Ok((Vec::new(), fixed.up_to)),
                Ok(Ok(Some(page))) => {
                    let drafts = page.rows.into_iter().map(|row| Draft::of(row, &sink.publisher));
                    Ok((drafts.collect(), page.read_to))
                }
            };
            (session, read)
        });
    }

    fn is_done(&self) -> bool {
        self.read_to >= self.source.fixed.up_to && self.drafts.is_empty() && self.tally.on_way() == 0
    }

    fn wake(&self) -> Option<Instant> {
        let has_next = !self.drafts.is_empty() && self.has_room();
        let rate = self.rate.next().filter(|_| has_next);
        rate.into_iter().chain(self.dispatch.next_due()).min()
    }

    fn settle(&mut self, answer: Answer) {
        let settled = self.dispatch.settle(answer);
        self.tally.settle(settled);
    }

    /// Waits for the answers that are out; what they do not settle is left to who goes on.
    async fn drain(&mut self) -> Result<(), Panicked> {
        let deadline = Instant::now() + self.source.sink.drain_timeout;
        while let Ok(Some(answer)) = timeout_at(deadline, self.dispatch.answer()).await {
            self.settle(answer?);
        }
        self.dispatch.abort();
        Ok(())
    }

    fn next(&self) -> Seq {
        let next = self.drafts.front().map_or(self.read_to.saturating_add(1), Draft::seq);
        self.tally.first_open(next)
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            tally: &self.tally,
            next: self.next(),
            read_to: self.read_to,
            elapsed: self.begin.elapsed(),
        }
    }
}
