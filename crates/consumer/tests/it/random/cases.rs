//! Running cases, and what they draw from.

use std::{
    cell::Cell,
    convert::Infallible,
    fmt::Debug,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use jiff::SignedDuration;
use oncebox_consumer::test_kit::{Fault, sleep, with_jumping_clock, without_waiting};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// How many cases there are of each kind where nothing else is asked for.
const CASES: u64 = 10_000;

/// Says how a case is seen again, should it panic.
struct Case<'a, S: Debug> {
    seed: u64,
    schedule: &'a S,
}

impl<S: Debug> Drop for Case<'_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { seed, schedule } = self;
            eprintln!("to see this case again: ONCEBOX_SEED={seed} ONCEBOX_CASES=1\n{schedule:#?}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Runs schedules that `draw` makes, each on a clock of its own; on as many threads as there are processors.
pub(super) fn run_cases<S: Debug>(draw: impl Fn(&mut Chance) -> S + Sync, run: impl AsyncFn(&S, Chance) + Sync) {
    run_some_cases(CASES, draw, run);
}

/// The same for cases that are large: `cases` of them where nothing else is asked for.
pub(super) fn run_some_cases<S: Debug>(
    cases: u64,
    draw: impl Fn(&mut Chance) -> S + Sync,
    run: impl AsyncFn(&S, Chance) + Sync,
) {
    let first = number("ONCEBOX_SEED").unwrap_or_else(|| rand::rng().random());
    let cases = number("ONCEBOX_CASES").unwrap_or(cases);
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        loop {
            let case = next.fetch_add(1, Ordering::SeqCst);
            if case >= cases || has_failed.load(Ordering::SeqCst) {
                return;
            }
            let seed = first.wrapping_add(case);
            let mut chance = Chance(StdRng::seed_from_u64(seed));
            let schedule = draw(&mut chance);
            let one = || {
                let schedule = &schedule;
                let _case = Case { seed, schedule };
                block_on(without_waiting(seed, run(schedule, chance)));
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(one)) {
                has_failed.store(true, Ordering::SeqCst);
                resume_unwind(panic);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
}

/// How many cases over a real back end there are at least, however slow it is, and for how long more are begun.
const FEWEST_REAL_CASES: u64 = 30;
const REAL_CASES_TAKE: Duration = Duration::from_secs(20);

/// Runs schedules that `draw` makes, one after the other and in real time: what a seed gives is the schedule, not how
/// its parts meet.
pub(super) async fn run_real_cases<S: Debug>(draw: impl Fn(&mut Chance) -> S, run: impl AsyncFn(&S, Chance)) {
    let first = number("ONCEBOX_SEED").unwrap_or_else(|| rand::rng().random());
    let cases = number("ONCEBOX_CASES");
    let begun = Instant::now();
    for case in 0.. {
        let is_enough = match cases {
            Some(cases) => case >= cases,
            None => case >= FEWEST_REAL_CASES && begun.elapsed() > REAL_CASES_TAKE,
        };
        if is_enough {
            break;
        }
        let seed = first.wrapping_add(case);
        let mut chance = Chance(StdRng::seed_from_u64(seed));
        let schedule = draw(&mut chance);
        let told = Case {
            seed,
            schedule: &schedule,
        };
        run(&schedule, chance).await;
        drop(told);
    }
}

/// What is random in a case.
pub(super) struct Chance(StdRng);

impl Chance {
    /// For somebody else to draw from.
    pub(super) fn child(&mut self) -> Self {
        Self(StdRng::seed_from_u64(self.0.random()))
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.0.random_ratio(1, n)
    }

    pub(super) fn up_to(&mut self, n: usize) -> usize {
        self.0.random_range(0..=n)
    }

    pub(super) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.0.random_range(0..=most))
    }

    pub(super) fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.0.random_range(0..choice.len())]
    }

    /// Ten minutes early, right or ten minutes late.
    pub(super) fn clock(&mut self) -> SignedDuration {
        SignedDuration::from_mins(self.of(&[-10, 0, 10]))
    }

    /// A wall clock: how far it is off, and what it is set to after how long.
    pub(super) fn wall_clock(&mut self) -> WallClock {
        let at_first = self.clock();
        let is_set = self.one_in(2);
        WallClock {
            at_first,
            set_after: self.millis(5_000),
            then: if is_set { self.clock() } else { at_first },
        }
    }

    /// What happens to requests, one of `often` of which meets with a fault; the others take their time.
    pub(super) fn faults(&mut self, often: u32) -> impl FnMut(usize) -> Option<Fault> + Send + 'static {
        let mut chance = self.child();
        move |_| {
            Some(if chance.one_in(often) {
                match chance.of(&Fault::ALL) {
                    Fault::Late(_) => Fault::Late(chance.0.random_range(0..=6)),
                    Fault::Slow(_) => Fault::Slow(chance.millis(5_000)),
                    fault => fault,
                }
            } else {
                Fault::Slow(chance.millis(60))
            })
        }
    }
}

/// The wall clock of one machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct WallClock {
    at_first: SignedDuration,
    set_after: Duration,
    then: SignedDuration,
}

impl WallClock {
    /// Runs `work` by this clock.
    pub(super) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        let off = Cell::new(self.at_first);
        let set = async {
            sleep(self.set_after).await;
            off.set(self.then);
            std::future::pending::<Infallible>().await
        };
        let work = with_jumping_clock(|| off.get(), work);
        tokio::select! {
            biased;
            done = work => done,
            never = set => match never {},
        }
    }
}

/// Runs `work` until it is killed.
pub(super) async fn until_killed<T>(killed_after: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    let kill = async {
        match killed_after {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = kill => None,
    }
}
