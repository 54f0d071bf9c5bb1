//! A relay's process: the real membership, supervisors and pipelines on a clock of their own.
//!
//! Each process has a runtime whose clock stands still until it is moved on. So it can be frozen in the middle of
//! anything (`SIGSTOP`), killed (`SIGKILL`) and told to stop (`SIGTERM`), and nothing that it does is left to
//! the machine.

use std::{sync::Arc, time::Duration};

use outbox_relay::{
    chance::Chance,
    lease::{
        member::{Member, Roster},
        term::{Clock, Terms},
    },
    log::store::Start,
    publish::BatchLimits,
    sink::{
        Sink,
        supervisor::{Ended, Surroundings, supervise},
    },
    telemetry::metrics::Metrics,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    task::{JoinSet, yield_now},
    time::{Instant, advance, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Database,
    plan::Plan,
    target::{MAX_BYTES, Target},
    world::{HostClock, Micros, Shared},
};

/// A relay's process.
#[derive(Debug)]
pub struct RelayProcess {
    /// Its name, which nobody else has or had.
    pub name: String,
    runtime: Runtime,
    clock: HostClock,
    end: CancellationToken,
    /// Stands still until then.
    frozen_until: Option<Micros>,
    /// After how many turns, for how long, and when at the latest.
    to_freeze: Option<(usize, Micros, Micros)>,
}

impl RelayProcess {
    /// Starts a process.
    ///
    /// # Panics
    /// The operating system refuses a runtime.
    #[must_use]
    pub fn start(shared: &Shared, name: String, plan: &Plan, seed: u64) -> Self {
        #[expect(clippy::expect_used, reason = "without a runtime there is no simulation")]
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // One task's turn at a time, so that it can be frozen between any two.
            .event_interval(1)
            .build()
            .expect("a runtime");
        let end = CancellationToken::new();
        let began = shared.world().now;
        let origin = runtime.block_on(async { Instant::now() });
        let clock = HostClock { origin, began };
        let main = main(shared.clone(), clock, name.clone(), plan.clone(), seed, end.clone());
        runtime.spawn(main);
        shared.world().note(|| format!("{name}: starts"));
        Self {
            name,
            runtime,
            clock,
            end,
            frozen_until: None,
            to_freeze: None,
        }
    }

    /// Lets the process go on until this time.
    pub fn step(&mut self, until: Micros) {
        if self.frozen_until.is_some_and(|thaws| thaws > until) {
            return;
        }
        let to = self.clock.origin + Duration::from_micros(until - self.clock.began);
        let was_frozen = self.frozen_until.take().is_some();
        self.runtime.block_on(async {
            if was_frozen {
                // Its clock went on while it did not: all that became due meanwhile is due at once.
                advance(to.saturating_duration_since(Instant::now())).await;
            }
            sleep_until(to).await;
        });
    }

    /// Lets the process be frozen for a while at the next good moment, or at the latest at that time: after so many turns of
    /// tasks that have something to do then.
    pub fn freeze_soon(&mut self, turns: usize, pause: Micros, latest: Micros) {
        self.to_freeze = Some((turns, pause, latest));
    }

    /// `SIGSTOP`, if it is to be: `SIGCONT` comes by itself.
    pub fn freeze_if_due(&mut self, now: Micros, is_good_moment: bool) {
        let is_due = |(_, _, latest): &mut (usize, Micros, Micros)| is_good_moment || *latest <= now;
        if self.frozen_until.is_some() {
            return;
        }
        let Some((turns, pause, _)) = self.to_freeze.take_if(is_due) else {
            return;
        };
        self.frozen_until = Some(now + pause);
        self.runtime.block_on(async {
            for _ in 0..turns {
                yield_now().await;
            }
        });
    }

    /// `SIGTERM`.
    pub fn stop(&self) {
        self.end.cancel();
    }
}

/// Hands each roster to one sink after the other: several that wait for one channel are woken in an order that
/// tokio draws.
async fn hand_on(mut roster: watch::Receiver<Roster>, sinks: Vec<watch::Sender<Roster>>) {
    while roster.changed().await.is_ok() {
        let now = roster.borrow_and_update().clone();
        for sink in &sinks {
            sink.send_replace(now.clone());
        }
    }
}

/// What `outbox-relay run` does between its start and its end.
async fn main(shared: Shared, clock: HostClock, name: String, plan: Plan, seed: u64, end: CancellationToken) {
    let terms = Terms {
        clock: Clock::Runtime(clock.origin),
        ..Terms::of_lease(plan.lease)
    };
    let chance = Chance::seeded(seed);
    let database = Database {
        shared: shared.clone(),
        clock,
        host: name.clone(),
    };
    let names = plan.sinks.iter().map(|sink| sink.name.clone()).collect();
    let (member, roster) = Member::new(database.clone(), name.clone(), names, terms);
    let member = member.with_chance(chance.clone());
    let mut metrics = Metrics::new();
    let (mut running, mut rosters) = (JoinSet::new(), Vec::new());
    let drain_timeout = plan.drain_timeout;
    for plan in plan.sinks {
        let target = Target {
            shared: shared.clone(),
            clock,
            host: name.clone(),
            sink: plan.name.clone(),
            terms,
        };
        let sink = Sink {
            metrics: metrics.sink(&plan.name),
            name: plan.name,
            selection: plan.selection,
            publisher: target,
            keeps_order: plan.is_fifo,
            limits: BatchLimits {
                max_entries: 10,
                max_bytes: MAX_BYTES,
            },
            bundle: plan.bundle,
            guarantee: plan.guarantee,
            max_in_flight: plan.max_in_flight,
            max_window: plan.max_window,
            max_held_bytes: plan.max_held_bytes,
            drain_timeout,
            chance: chance.clone(),
            traces: None,
        };
        let (own, seen) = watch::channel(Roster::default());
        rosters.push(own);
        let surroundings = Surroundings {
            database: database.clone(),
            terms,
            roster: seen,
            end: end.clone(),
        };
        running.spawn(supervise(Arc::new(sink), Start::Beginning, surroundings));
    }
    let mut membership = JoinSet::new();
    membership.spawn(hand_on(roster, rosters));
    let end_membership = CancellationToken::new();
    let is_clean = Arc::new(std::sync::atomic::AtomicBool::new(false));
    membership.spawn({
        let (end, is_clean) = (end_membership.clone(), Arc::clone(&is_clean));
        async move {
            member
                .run(end, || is_clean.load(std::sync::atomic::Ordering::SeqCst))
                .await
        }
    });
    let mut all_clean = true;
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(Ok(Ended { is_clean })) => all_clean &= is_clean,
            Ok(Err(error)) => {
                let what = format!("{name}: a sink ended: {error}");
                shared.world().record.violations.push(what);
                all_clean = false;
            }
            Err(error) => {
                let what = format!("{name}: a sink's task ended: {error}");
                shared.world().record.violations.push(what);
                all_clean = false;
            }
        }
        end.cancel();
    }
    is_clean.store(all_clean, std::sync::atomic::Ordering::SeqCst);
    end_membership.cancel();
    while membership.join_next().await.is_some() {}
    shared.world().note(|| format!("{name}: ended, clean: {all_clean}"));
}
