//! The database's side of the loop: one job at a time, beside the sending.
//!
//! The connection moves into the job and comes back with its answer, so the loop never waits for the
//! database while it could send, and no two statements meet on one connection.

use std::sync::Arc;

use tokio::{
    task::{JoinSet, yield_now},
    time::timeout,
};

use super::{PipelineError, poll::Poll};
use crate::{
    database::STATEMENT_TIMEOUT,
    log::{
        Seq,
        connection::Connection,
        cursor::Horizon,
        page::{self, PageLimits, Selection},
        parked::{Changes, Count, Edition},
        store::{self, Claim},
    },
    publish::Publisher,
    sink::{
        Sink,
        outgoing::Draft,
        reader::{Found, PageWanted},
    },
};

/// Most parked events that are taken at once to be sent again.
const MAX_RETRIES: i64 = 500;

/// So many messages are made before others have their turn.
const DRAFTED_AT_ONCE: usize = 16;

/// What a sink's jobs are about, the same for all of them.
#[derive(Debug)]
pub(super) struct Subject<P> {
    pub(super) sink: Arc<Sink<P>>,
    pub(super) shards: Vec<i16>,
}

/// Something to do with the database.
#[derive(Debug)]
pub(super) enum Job {
    /// Look at the log's end.
    Look(Poll),
    /// Read a page, and with `ask_parked` which of its keys have parked events.
    Page {
        wanted: Box<PageWanted>,
        limits: PageLimits,
        ask_parked: bool,
    },
    /// Write places and changes.
    Save { claims: Vec<Claim>, changes: Changes },
    /// Find parked events that are to be sent again.
    Retries { loaded: Vec<Seq> },
    /// Read events again that gave up their payload.
    Load { log: Vec<Seq>, parked: Vec<Seq> },
    /// See how long the log is, while nothing may be read.
    Measure,
}

/// What a job has brought.
#[derive(Debug)]
pub(super) enum Done {
    Looked(Poll, Horizon),
    Read {
        wanted: Box<PageWanted>,
        found: Vec<Found>,
        drafts: Vec<Draft>,
        read_to: i64,
        parked_keys: Vec<String>,
    },
    Saved {
        claims: Vec<Claim>,
        changes: Changes,
        /// Which of the parked events that were to be taken may be sent.
        taken: Vec<Seq>,
    },
    Retries {
        drafts: Vec<(Draft, Edition)>,
        count: Count,
    },
    Loaded {
        asked: Vec<Seq>,
        drafts: Vec<(Draft, Option<Edition>)>,
    },
    Measured(Seq),
}

/// A connection, and the job that is using it.
#[derive(Debug)]
pub(super) struct Desk<P, C> {
    subject: Arc<Subject<P>>,
    idle: Option<C>,
    busy: JoinSet<(C, Result<Done, PipelineError>)>,
}

impl<P: Publisher, C: Connection> Desk<P, C> {
    pub(super) fn new(connection: C, subject: Subject<P>) -> Self {
        Self {
            subject: Arc::new(subject),
            idle: Some(connection),
            busy: JoinSet::new(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// Starts a job; does nothing while another is under way.
    pub(super) fn start(&mut self, job: Job) {
        let Some(mut connection) = self.idle.take() else {
            debug_assert!(false, "one job at a time");
            return;
        };
        let subject = Arc::clone(&self.subject);
        self.busy.spawn(async move {
            let done = match timeout(STATEMENT_TIMEOUT, run(&subject, job, &mut connection)).await {
                Ok(done) => done,
                Err(_) => Err(PipelineError::Timeout),
            };
            (connection, done)
        });
    }

    /// Waits for the job that is under way; never ends when there is none.
    ///
    /// # Cancel safety
    /// A cancelled call has taken nothing.
    pub(super) async fn done(&mut self) -> Result<Done, PipelineError> {
        match self.busy.join_next().await {
            Some(Ok((connection, done))) => {
                self.idle = Some(connection);
                done
            }
            Some(Err(_)) => Err(PipelineError::Panicked),
            None => std::future::pending().await,
        }
    }

    /// The connection, unless a job is using it.
    pub(super) fn into_connection(self) -> Option<C> {
        self.idle
    }
}

async fn run<P: Publisher, C: Connection>(
    subject: &Subject<P>,
    job: Job,
    connection: &mut C,
) -> Result<Done, PipelineError> {
    match job {
        Job::Look(mut poll) => {
            let horizon = poll.look(connection).await?;
            Ok(Done::Looked(poll, horizon))
        }
        Job::Page {
            wanted,
            limits,
            ask_parked,
        } => read(subject, wanted, limits, ask_parked, connection).await,
        Job::Save { claims, changes } => {
            let taken = connection.save(&subject.sink.name, &claims, &changes).await?;
            Ok(Done::Saved { claims, changes, taken })
        }
        Job::Retries { loaded } => {
            let (sink, shards) = (&subject.sink.name, &subject.shards);
            let rows = connection
                .retries(sink, shards, &loaded, subject.sink.keeps_order, MAX_RETRIES)
                .await?;
            let count = connection.count_parked(sink, shards).await?;
            let draft = |(row, edition)| (Draft::of(row, &subject.sink.publisher), edition);
            Ok(Done::Retries {
                drafts: rows.into_iter().map(draft).collect(),
                count,
            })
        }
        Job::Load { log, parked } => load(subject, log, parked, connection).await,
        Job::Measure => Ok(Done::Measured(connection.sequence_position().await?)),
    }
}

async fn load<P: Publisher, C: Connection>(
    subject: &Subject<P>,
    log: Vec<Seq>,
    parked: Vec<Seq>,
    connection: &mut C,
) -> Result<Done, PipelineError> {
    let publisher = &subject.sink.publisher;
    let mut drafts = Vec::with_capacity(log.len() + parked.len());
    if !log.is_empty() {
        let rows = connection.again(&log).await?;
        drafts.extend(rows.into_iter().map(|row| (Draft::of(row, publisher), None)));
    }
    if !parked.is_empty() {
        let rows = connection.parked(&subject.sink.name, &parked).await?;
        drafts.extend(
            rows.into_iter()
                .map(|(row, edition)| (Draft::of(row, publisher), Some(edition))),
        );
    }
    let asked = [log, parked].concat();
    Ok(Done::Loaded { asked, drafts })
}

async fn read<P: Publisher, C: Connection>(
    subject: &Subject<P>,
    wanted: Box<PageWanted>,
    limits: PageLimits,
    ask_parked: bool,
    connection: &mut C,
) -> Result<Done, PipelineError> {
    let selection = Selection {
        shards: (wanted.shards.len() < usize::from(store::SHARDS.unsigned_abs())).then(|| wanted.shards.clone()),
        ..subject.sink.selection.clone()
    };
    let page = page::read(connection, &wanted.run, &selection, wanted.position, limits).await?;
    let (rows, read_to) = page.map_or_else(|| (Vec::new(), wanted.position), |page| (page.rows, page.read_to));
    let found = |row: &page::Row| Found {
        seq: row.seq,
        shard: row.shard,
        time_micros: row.time_micros,
    };
    let found: Vec<Found> = rows.iter().map(found).collect();
    let parked_keys = if ask_parked && subject.sink.keeps_order {
        let mut keys: Vec<&str> = rows.iter().filter_map(|row| row.key.as_deref()).collect();
        keys.sort_unstable();
        keys.dedup();
        connection.parked_keys(&subject.sink.name, &keys).await?
    } else {
        Vec::new()
    };
    Ok(Done::Read {
        wanted,
        found,
        drafts: drafts(rows, &subject.sink.publisher).await,
        read_to,
        parked_keys,
    })
}

/// Makes the messages of a page. That takes milliseconds, so the requests that are under way on this
/// thread have their turns in between: their answers would wait for it, and with them what is sent next.
async fn drafts<P: Publisher>(rows: Vec<page::Row>, publisher: &P) -> Vec<Draft> {
    let mut drafts = Vec::with_capacity(rows.len());
    for row in rows {
        if drafts.len() % DRAFTED_AT_ONCE == DRAFTED_AT_ONCE - 1 {
            yield_now().await;
        }
        drafts.push(Draft::of(row, publisher));
    }
    drafts
}
