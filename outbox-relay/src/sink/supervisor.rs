//! Keeps a sink running, in its fair share of the shards: claims what is free, runs the pipeline,
//! hands over what others should have, starts again.
//!
//! Whatever a pipeline held in memory is dropped with its connection. After a crash Postgres may
//! give out transaction ids and sequence numbers again that were never made durable, so only a
//! place that was saved may be trusted afterwards.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Sink, backoff,
    pipeline::{self, PipelineError},
    unanswered::Unanswered,
};
use crate::{
    database::STATEMENT_TIMEOUT,
    lease::{
        member::{Membership, Roster},
        shares::{Plan, plan},
        term::{Moment, Terms},
    },
    log::{
        connection::{Connect, Connection},
        store::{self, Claim, Start},
    },
    planted::{Bug, is_planted},
    publish::{FailureClass, Publisher},
};

/// A session that lasted this long was sound: the next failure is the first of a new row.
const STEADY: Duration = Duration::from_secs(30);

/// What a supervisor shares with the relay's other parts.
#[derive(Debug, Clone)]
pub struct Surroundings<D> {
    /// The database.
    pub database: D,
    /// The times of its leases.
    pub terms: Terms,
    /// Whether this relay may publish, who else is there, and who holds what.
    pub roster: watch::Receiver<Roster>,
    /// Told when the relay is to stop.
    pub end: CancellationToken,
}

/// How a sink ended that was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether nothing of this sink may still arrive at its target. If not, its shards must not be
    /// handed over before the lease is over.
    pub is_clean: bool,
}

/// Runs a sink until it is told to end. Errors of the database and of the lease are survived; the
/// sink starts again from the saved cursor, with backoff.
///
/// # Errors
/// [`PipelineError::Elsewhere`] when the cursors are not this database's, and
/// [`PipelineError::Panicked`].
pub async fn supervise<P: Publisher, D: Connect>(
    sink: Arc<Sink<P>>,
    start: Start,
    surroundings: Surroundings<D>,
) -> Result<Ended, PipelineError> {
    let end = surroundings.end.clone();
    let clock = surroundings.terms.clock;
    let mut failures = 0;
    let mut session = Session {
        sink: Arc::clone(&sink),
        surroundings,
        changed_at: clock.now(),
        unanswered: Unanswered::default(),
    };
    loop {
        let began = Instant::now();
        session.changed_at = clock.now();
        let outcome = session.run(start).await;
        if began.elapsed() > STEADY {
            failures = 0;
        }
        sink.metrics.shards(0);
        match outcome {
            Ok(ended) => {
                sink.metrics.ready(false);
                return Ok(ended);
            }
            Err(error @ (PipelineError::Elsewhere(_) | PipelineError::Panicked)) => {
                sink.metrics.not_ready(&error.to_string());
                return Err(error);
            }
            Err(PipelineError::Superseded(error)) => {
                sink.metrics.not_ready(&error.to_string());
                tracing::warn!(sink = sink.name, reason = %error, "the sink starts again from its cursors");
            }
            Err(error @ (PipelineError::Database(_) | PipelineError::Timeout)) => {
                if end.is_cancelled() {
                    tracing::warn!(sink = sink.name, reason = %error, "ended without saving the cursor; some events will be published again");
                    return Ok(Ended { is_clean: false });
                }
                failures += 1;
                let reason = error.to_string();
                let is_news = sink.metrics.not_ready(&reason);
                let wait = backoff::delay(FailureClass::Throttled, failures, sink.chance.fraction());
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                // Once per reason: an outage of hours is one line, not thousands.
                if is_news {
                    tracing::error!(
                        sink = sink.name,
                        reason,
                        attempt = failures,
                        retry_in_ms,
                        "the sink stopped and will start again from its cursor"
                    );
                } else {
                    tracing::debug!(
                        sink = sink.name,
                        reason,
                        attempt = failures,
                        retry_in_ms,
                        "the sink is still stopped"
                    );
                }
                let _ = timeout(wait, end.cancelled()).await;
            }
        }
    }
}

/// From a connection to its loss, or to the end.
struct Session<P, D> {
    sink: Arc<Sink<P>>,
    surroundings: Surroundings<D>,
    /// When this session last changed who holds what; what the roster shows from before that is old.
    changed_at: Moment,
    /// Requests that were given up, in this session or an earlier one.
    unanswered: Unanswered,
}

impl<P: Publisher, D: Connect> Session<P, D> {
    async fn run(&mut self, start: Start) -> Result<Ended, PipelineError> {
        if !self.may_hand_over().await {
            return Ok(Ended { is_clean: false });
        }
        if self.surroundings.end.is_cancelled() {
            return Ok(Ended { is_clean: true });
        }
        let mut connection = self.surroundings.database.session().await?;
        in_time(store::prepare(&mut connection, &self.sink.name, start)).await?;
        let mut held: Vec<(i16, i64)> = Vec::new();
        loop {
            // What is held stands still here: no pipeline runs.
            let Some((me, plan)) = self.next_plan(&held).await else {
                if !held.is_empty() {
                    in_time_sql(connection.release(&self.sink.name, &held)).await?;
                }
                connection.close().await?;
                return Ok(Ended { is_clean: true });
            };
            let claims = self.rearrange(&mut connection, me.as_ref(), &plan, &held).await?;
            held = claims.iter().flat_map(|claim| claim.shards.iter().copied()).collect();
            self.sink.metrics.shards(held.len());
            let (Some(me), false) = (me, held.is_empty()) else {
                self.sink.metrics.lag(0, None);
                self.sink.metrics.ready(true);
                continue;
            };
            let ended = self.work(me, connection, claims, &held).await;
            if !ended.is_clean && !is_planted(Bug::UnansweredForgotten) {
                self.unanswered.note(self.surroundings.terms.clock.now());
            }
            connection = ended.outcome?;
            if !self.may_hand_over().await {
                return Ok(Ended { is_clean: false });
            }
        }
    }

    /// Waits until nothing that was given up may still arrive: whoever is next has to wait for the end
    /// of the term. Returns false when it was told to end before.
    async fn may_hand_over(&self) -> bool {
        let end = &self.surroundings.end;
        loop {
            let left = self
                .unanswered
                .left(self.surroundings.terms.term, self.surroundings.terms.clock.now());
            if left.is_zero() {
                return true;
            }
            if end.is_cancelled() {
                return false;
            }
            let _ = timeout(left, end.cancelled()).await;
        }
    }

    /// Runs a pipeline until the roster says that something has to change.
    async fn work(
        &mut self,
        me: Membership,
        connection: D::Connection,
        claims: Vec<Claim>,
        held: &[(i16, i64)],
    ) -> pipeline::Ended<D::Connection> {
        let stop = self.surroundings.end.child_token();
        let sink = Arc::clone(&self.sink);
        let running = pipeline::run(sink, claims, connection, me.lease, &stop);
        tokio::pin!(running);
        loop {
            tokio::select! {
                biased;
                ended = &mut running => return ended,
                changed = self.surroundings.roster.changed() => {
                    if changed.is_err() || self.plan(held).is_some_and(|(_, plan)| !plan.is_empty()) {
                        break;
                    }
                }
            }
        }
        stop.cancel();
        running.await
    }

    /// Waits until something is to be changed about what is held, or until the end (`None`).
    async fn next_plan(&mut self, held: &[(i16, i64)]) -> Option<(Option<Membership>, Plan)> {
        let end = self.surroundings.end.clone();
        loop {
            if end.is_cancelled() {
                return None;
            }
            if let Some((me, plan)) = self.plan(held) {
                if !plan.is_empty() || !held.is_empty() {
                    return Some((me, plan));
                }
                if me.is_some() && plan.share == 0 {
                    self.sink.metrics.standing_by();
                }
            }
            tokio::select! {
                biased;
                () = end.cancelled() => return None,
                changed = timeout(self.surroundings.terms.term, self.surroundings.roster.changed()) => match changed {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    // Whoever holds nothing has no pipeline that would notice.
                    Err(_) => {
                        self.sink.metrics.not_ready("the relay cannot renew its lease");
                    }
                },
            }
        }
    }

    /// What is to be changed, as far as the roster is newer than the last change.
    fn plan(&mut self, held: &[(i16, i64)]) -> Option<(Option<Membership>, Plan)> {
        let roster = self.surroundings.roster.borrow_and_update();
        let Some(me) = &roster.me else {
            // Declared dead: everything that was held is lost.
            let lost = held.iter().map(|(shard, _)| *shard).collect();
            return (!held.is_empty()).then(|| {
                let plan = Plan {
                    lost,
                    ..Plan::default()
                };
                (None, plan)
            });
        };
        let is_new = roster.looked_at.is_some_and(|at| at > self.changed_at);
        let members = roster.members.get(&self.sink.name);
        let rows = roster.cursors.get(&self.sink.name);
        match (is_new, members, rows) {
            (true, Some(members), Some(rows)) => Some((Some(me.clone()), plan(&me.id, members, rows, held))),
            _ => None,
        }
    }

    /// Hands over, takes, and takes again what is kept: returns the claims to work on from now on.
    async fn rearrange(
        &mut self,
        connection: &mut D::Connection,
        me: Option<&Membership>,
        plan: &Plan,
        held: &[(i16, i64)],
    ) -> Result<Vec<Claim>, PipelineError> {
        let name = &self.sink.name;
        if !plan.release.is_empty() {
            in_time_sql(connection.release(name, &plan.release)).await?;
        }
        let is_kept = |shard: &&(i16, i64)| !plan.release.contains(shard) && !plan.lost.contains(&shard.0);
        let mut wanted: Vec<(i16, i64)> = held.iter().filter(is_kept).copied().collect();
        let kept = wanted.len();
        wanted.extend(&plan.take);
        let claims = match me {
            Some(me) if !wanted.is_empty() => in_time(store::claim(connection, name, &me.id, &wanted)).await?,
            _ => Vec::new(),
        };
        self.changed_at = self.surroundings.terms.clock.now();
        tracing::info!(
            sink = name,
            kept,
            taken = plan.take.len(),
            released = plan.release.len(),
            lost = plan.lost.len(),
            groups = claims.len(),
            "shards rearranged"
        );
        Ok(claims)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, store::StoreError>>) -> Result<T, PipelineError> {
    let done = timeout(STATEMENT_TIMEOUT, work)
        .await
        .map_err(|_| PipelineError::Timeout)?;
    Ok(done?)
}

async fn in_time_sql<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, PipelineError> {
    let done = timeout(STATEMENT_TIMEOUT, work)
        .await
        .map_err(|_| PipelineError::Timeout)?;
    Ok(done?)
}
