//! Producers: transactions that do what `oncebox.enqueue` does, step by step, while others go on.

use rand::{RngExt as _, rngs::StdRng};
use uuid::Uuid;

use super::{
    check::Outcome,
    postgres::Enqueued,
    world::{Micros, World},
};

/// A transaction to be.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// When it begins.
    pub at: Micros,
    /// Whether it takes its transaction id long before it writes.
    pub early_xid: bool,
    /// What it does, and how long it waits before each.
    pub steps: Vec<(Micros, Step)>,
    /// How long it waits before it ends.
    pub before_end: Micros,
    /// Whether it commits.
    pub commits: bool,
}

/// Something that a transaction does.
#[derive(Debug, Clone)]
pub struct Step {
    /// The event that it enqueues.
    pub event: Enqueued,
    /// Whether it rolls back to a savepoint before it.
    pub is_undone: bool,
}

/// What a transaction has come to.
struct Running {
    plan: Transaction,
    next: usize,
    xid: Option<i64>,
    life: u64,
    /// What it will have written, should it commit.
    written: Vec<Uuid>,
    waited: Micros,
}

/// Longest that a transaction waits for a key's lock.
const LOCK_TIMEOUT: Micros = 5_000_000;

/// Draws a transaction.
#[must_use]
pub fn random(random: &mut StdRng, at: Micros, keys: usize, number: &mut u64) -> Transaction {
    let is_long = random.random_bool(0.08);
    let pause = |random: &mut StdRng| random.random_range(0..if is_long { 800_000 } else { 3_000 });
    let mut events: Vec<Enqueued> = (0..random.random_range(1..5))
        .map(|_| {
            *number += 1;
            let key = random
                .random_bool(0.8)
                .then(|| format!("key-{}", random.random_range(0..keys)));
            let kind = if random.random_bool(0.7) { "created" } else { "paid" };
            Enqueued {
                id: uuid::Builder::from_random_bytes(random.random()).into_uuid(),
                key,
                event_type: format!("invoice.{kind}.v1"),
                data: format!("{{\"number\":{number}}}"),
            }
        })
        .collect();
    // In the same order always, or two of them wait for each other.
    events.sort_by(|one, other| one.key.cmp(&other.key));
    let steps = events
        .into_iter()
        .map(|event| {
            let is_undone = random.random_bool(0.1);
            (pause(random), Step { event, is_undone })
        })
        .collect();
    Transaction {
        at,
        early_xid: random.random_bool(0.3),
        steps,
        before_end: pause(random),
        commits: random.random_bool(0.85),
    }
}

/// Plans a transaction.
pub fn begin(world: &mut World, plan: Transaction) {
    world.at(plan.at, |world| {
        let life = world.postgres.life;
        let mut running = Running {
            plan,
            next: 0,
            xid: None,
            life,
            written: Vec::new(),
            waited: 0,
        };
        if !world.postgres.is_up {
            finish(world, running, Outcome::RolledBack);
            return;
        }
        if running.plan.early_xid {
            running.xid = Some(world.postgres.begin());
        }
        go_on(world, running);
    });
}

fn go_on(world: &mut World, running: Running) {
    match running.plan.steps.get(running.next) {
        Some((pause, _)) => {
            let pause = *pause;
            world.after(pause, |world| write(world, running));
        }
        None => {
            let pause = running.plan.before_end;
            world.after(pause, |world| end(world, running));
        }
    }
}

/// (1) the transaction gets its id, (2) the key's row is locked, (3) the position is taken, and after a moment the row is
/// there.
fn write(world: &mut World, mut running: Running) {
    const TRY_AGAIN: Micros = 1_000;
    if running.life != world.postgres.life {
        finish(world, running, Outcome::RolledBack);
        return;
    }
    let xid = *running.xid.get_or_insert_with(|| world.postgres.begin());
    let Some((_, step)) = running.plan.steps.get(running.next).cloned() else {
        return;
    };
    let key_seq = match &step.event.key {
        None => None,
        Some(key) => match world.postgres.next_in_key(xid, key) {
            Some(number) => Some(number),
            None if running.waited > LOCK_TIMEOUT => {
                world.postgres.end(xid, false);
                finish(world, running, Outcome::RolledBack);
                return;
            }
            None => {
                running.waited += TRY_AGAIN;
                world.after(TRY_AGAIN, |world| write(world, running));
                return;
            }
        },
    };
    let seq = world.postgres.next_seq();
    let moment = world.random.random_range(0..200);
    world.after(moment, move |world| {
        if running.life != world.postgres.life {
            finish(world, running, Outcome::RolledBack);
            return;
        }
        let time = i64::try_from(world.now).unwrap_or(0) + 1_760_000_000_000_000;
        world.postgres.write(xid, seq, &step.event, key_seq, time);
        let (id, key) = (step.event.id, step.event.key.as_deref());
        if step.is_undone {
            world.postgres.roll_back_row(xid, seq, key);
        } else {
            running.written.push(id);
        }
        running.next += 1;
        go_on(world, running);
    });
}

fn end(world: &mut World, running: Running) {
    if running.life != world.postgres.life {
        finish(world, running, Outcome::RolledBack);
        return;
    }
    let commits = running.plan.commits;
    if let Some(xid) = running.xid {
        world.postgres.end(xid, commits);
    }
    let outcome = if commits {
        Outcome::Committed
    } else {
        Outcome::RolledBack
    };
    finish(world, running, outcome);
}

fn finish(world: &mut World, running: Running, outcome: Outcome) {
    let seqs: Vec<String> = running.written.iter().map(ToString::to_string).collect();
    let xid = running.xid;
    world.note(|| format!("transaction {xid:?} {outcome:?}: {}", seqs.join(" ")));
    for (_, step) in &running.plan.steps {
        let is_kept = outcome == Outcome::Committed && running.written.contains(&step.event.id);
        let outcome = if is_kept {
            Outcome::Committed
        } else {
            Outcome::RolledBack
        };
        world.record.attempted.insert(step.event.id.to_string(), outcome);
    }
    world.record.open -= 1;
}
