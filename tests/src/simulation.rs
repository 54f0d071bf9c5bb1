//! The relay's decisions, run against models of Postgres and of SQS on one clock, from one seed.
//!
//! What runs is the relay's own code: membership and leases, the supervisor, the reader and its windows, lanes, bundles,
//! retries, parking, draining. What is modelled is what it talks to: Postgres' visibility, its sequence and its crashes
//! (`postgres`), queues (`target`), the network (`connection`), processes that are killed or stand still (`relay`).
//! The same seed gives the same trace.
//!
//! # Reading order
//! [`plan`] (what a seed means), [`run`] (how it goes), [`check`] (what must hold); then the models: [`world`],
//! [`postgres`], [`connection`], [`target`], [`relay`], [`producer`], [`weather`]; [`shrink`] and [`trace`] (to find out why).

pub mod check;
pub mod connection;
pub mod plan;
pub mod postgres;
pub mod producer;
pub mod relay;
pub mod shrink;
pub mod target;
pub mod trace;
pub mod weather;
pub mod world;

use rand::{SeedableRng as _, rngs::StdRng};

use self::{
    plan::{Fault, Plan},
    relay::RelayProcess,
    target::TargetModel,
    trace::Trace,
    world::{Micros, Shared, World},
};

/// Longest that it may take until everything is delivered, once nothing goes wrong any more: a retry waits 20 s at most,
/// a statement without an answer 30 s.
const DRAINS_WITHIN: Micros = 120_000_000;
/// How long it goes on after that: what comes late must not break anything either.
const AFTERWARDS: Micros = 3_000_000;
/// A process that is to be frozen is, when it has got a page of the log and is about to send it; or else after so long.
const FREEZES_WITHIN: Micros = 300_000;
/// How often a person lets parked events go again, once it is calm.
const RETRY_EVERY: Micros = 500_000;

/// How a simulation went.
#[derive(Debug)]
pub struct Ended {
    /// What broke a promise.
    pub violations: Vec<String>,
    /// Committed events.
    pub events: usize,
    /// Messages that targets took, copies included.
    pub taken: usize,
    /// How long it took, in the simulation's time.
    pub took: Micros,
    /// What happened.
    pub trace: Trace,
}

/// Runs a plan to its end.
#[must_use]
pub fn run(plan: &Plan, keeps_lines: bool) -> Ended {
    let random = StdRng::seed_from_u64(plan.seed ^ 0x5eed);
    let shared = Shared::new(World::new(random, plan.weather, Trace::new(keeps_lines)));
    prepare(&mut shared.world(), plan);
    let mut processes = Processes {
        shared: shared.clone(),
        plan,
        running: Vec::new(),
        started: 0,
        to_start: (0..plan.relays).map(|_| 0).collect(),
    };
    let mut faults = plan.faults.clone();
    faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let (mut now, mut drained_at, mut next_retry) = (0, None, plan.calm_at);
    let mut is_calm = false;
    loop {
        processes.start_due(now);
        while let Some((_, fault)) = faults.pop_if(|(at, _)| *at <= now) {
            processes.suffer(fault, now);
        }
        if now >= plan.calm_at {
            let mut world = shared.world();
            if !is_calm {
                is_calm = true;
                world.weather = world.weather.calm();
                world.note(|| "calm".to_owned());
                for target in world.targets.values_mut() {
                    target.refused.clear();
                }
            }
            if now >= next_retry {
                next_retry = now + RETRY_EVERY;
                let skipped = world.postgres.skip_unconfirmed();
                world.record.skipped.extend(skipped);
                world.postgres.retry_parked(None);
            }
        }
        now += plan.step;
        let got_pages = std::mem::take(&mut shared.world().got_pages);
        for process in &mut processes.running {
            process.freeze_if_due(now - plan.step, got_pages.contains(&process.name));
            process.step(now);
        }
        let mut world = shared.world();
        world.run_until(now);
        let is_over = is_calm && faults.is_empty() && world.record.open == 0;
        if drained_at.is_none() && is_over && is_drained(plan, &world) {
            world.note(|| "drained".to_owned());
            drained_at = Some(now);
        }
        let ends = drained_at.map_or(plan.calm_at + DRAINS_WITHIN, |at| at + AFTERWARDS);
        if now >= ends || !world.record.violations.is_empty() {
            break;
        }
    }
    let (violations, events, taken) = {
        let world = shared.world();
        let mut violations = world.record.violations.clone();
        if violations.is_empty() {
            for sink in &plan.sinks {
                let Some(target) = world.targets.get(&sink.name) else {
                    continue;
                };
                violations.extend(check::violations(sink, &world.postgres, target, &world.record));
            }
            if drained_at.is_none() && violations.is_empty() {
                violations.push("it was not drained in time".to_owned());
            }
        }
        let taken = world.targets.values().map(|target| target.taken.len()).sum();
        (violations, world.postgres.committed().count(), taken)
    };
    drop(processes);
    let trace = std::mem::replace(&mut shared.world().trace, Trace::new(false));
    Ended {
        violations,
        events,
        taken,
        took: now,
        trace,
    }
}

fn prepare(world: &mut World, plan: &Plan) {
    for sink in &plan.sinks {
        world.targets.insert(sink.name.clone(), TargetModel::new(sink.is_fifo));
    }
    let events: Vec<String> = plan
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.steps)
        .map(|(_, step)| step.event.id.to_string())
        .collect();
    for (index, scope) in &plan.refused {
        if let Some(id) = events.get(index % events.len().max(1)) {
            for target in world.targets.values_mut() {
                target.refused.insert(id.clone(), *scope);
            }
        }
    }
    world.record.open = plan.transactions.len();
    for transaction in &plan.transactions {
        producer::begin(world, transaction.clone());
    }
}

fn is_drained(plan: &Plan, world: &World) -> bool {
    let is_done = |sink: &plan::SinkPlan| {
        let target = world.targets.get(&sink.name);
        sink.guarantee == outbox_relay::sink::Guarantee::AtMostOnce
            || target.is_some_and(|target| check::missing(sink, &world.postgres, target, &world.record).is_empty())
    };
    world.postgres.is_up && world.postgres.parked.is_empty() && plan.sinks.iter().all(is_done)
}

/// The relays' processes.
struct Processes<'a> {
    shared: Shared,
    plan: &'a Plan,
    running: Vec<RelayProcess>,
    started: u64,
    /// When others are started.
    to_start: Vec<Micros>,
}

impl Processes<'_> {
    fn start_due(&mut self, now: Micros) {
        let due = self.to_start.iter().filter(|at| **at <= now).count();
        self.to_start.retain(|at| *at > now);
        for _ in 0..due {
            self.started += 1;
            let (plan, name) = (self.plan, format!("relay{}", self.started));
            let seed = plan.seed.wrapping_mul(31).wrapping_add(self.started);
            let process = RelayProcess::start(&self.shared, name, plan, seed);
            self.running.push(process);
        }
    }

    fn suffer(&mut self, fault: Fault, now: Micros) {
        self.shared.world().note(|| format!("{fault:?}"));
        match fault {
            Fault::Kill(which, pause) => {
                if let Some(index) = self.pick(which) {
                    let killed = self.running.remove(index);
                    let name = killed.name.clone();
                    drop(killed);
                    for target in self.shared.world().targets.values_mut() {
                        target.forget(&name);
                    }
                    self.to_start.push(now + pause);
                }
            }
            Fault::Freeze(which, pause, turns) => {
                if let Some(index) = self.pick(which)
                    && let Some(process) = self.running.get_mut(index)
                {
                    process.freeze_soon(turns, pause, now + FREEZES_WITHIN);
                }
            }
            Fault::Stop(which, pause) => {
                if let Some(index) = self.pick(which)
                    && let Some(process) = self.running.get(index)
                {
                    process.stop();
                    self.to_start.push(now + pause);
                }
            }
            Fault::Join => self.to_start.push(now),
            Fault::Crash(pause) => {
                let mut world = self.shared.world();
                world.postgres.crash();
                world.after(pause, |world| world.postgres.is_up = true);
            }
            Fault::Retry => {
                self.shared.world().postgres.retry_parked(None);
            }
            Fault::Skip => {
                let mut world = self.shared.world();
                let oldest = world.postgres.parked.iter().next();
                let oldest = oldest.map(|((sink, seq), row)| (sink.clone(), *seq, row.row.id.to_string()));
                if let Some((sink, seq, id)) = oldest
                    && world.postgres.skip_parked(&sink, seq)
                {
                    world.record.skipped.insert((sink, id));
                }
            }
        }
    }

    fn pick(&self, which: usize) -> Option<usize> {
        which.checked_rem(self.running.len())
    }
}
