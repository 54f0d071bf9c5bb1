//! `simulate`: the relay or the consumer against models, from seeds.

use std::{process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use system_tests::{consumer_simulation as consumer, simulation as relay, simulation::trace::Trace};

/// Runs the decisions of the relay or of the consumer against models of what they talk to, a simulation per seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Whose decisions are run.
    #[arg(long, value_enum, default_value_t = Side::Relay)]
    side: Side,
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed alone, and print all that happened.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many simulations at once; as many as there are processors, unless told.
    #[arg(long)]
    threads: Option<u64>,
    /// Do not look for a smaller plan when a seed fails.
    #[arg(long)]
    no_shrink: bool,
}

/// Whose decisions are run, and against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// The relay, against Postgres and queues.
    Relay,
    /// The consumer, against a queue, Lambda and DynamoDB.
    Consumer,
}

/// A simulation that has ended.
struct Ended {
    violations: Vec<String>,
    /// What the side's events came to: what is committed, and what was taken or had its effect.
    events: usize,
    came_to: usize,
    took_secs: u64,
    trace: Trace,
    /// What its seed means.
    plan: String,
}

impl Side {
    fn run(self, seed: u64, keeps_lines: bool) -> Ended {
        match self {
            Self::Relay => of_relay(&relay::plan::Plan::of_seed(seed), keeps_lines),
            Self::Consumer => of_consumer(&consumer::plan::Plan::of_seed(seed), keeps_lines),
        }
    }

    /// The same of the smallest plan that fails too.
    fn run_shrunk(self, seed: u64) -> Ended {
        match self {
            Self::Relay => of_relay(&relay::shrink::shrink(&relay::plan::Plan::of_seed(seed)), true),
            Self::Consumer => of_consumer(&consumer::shrink::shrink(&consumer::plan::Plan::of_seed(seed)), true),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Consumer => "consumer",
        }
    }

    fn came_to(self) -> &'static str {
        match self {
            Self::Relay => "messages taken",
            Self::Consumer => "effects",
        }
    }
}

fn of_relay(plan: &relay::plan::Plan, keeps_lines: bool) -> Ended {
    let ended = relay::run(plan, keeps_lines);
    Ended {
        violations: ended.violations,
        events: ended.events,
        came_to: ended.taken,
        took_secs: ended.took / 1_000_000,
        trace: ended.trace,
        plan: format!("{plan:#?}"),
    }
}

fn of_consumer(plan: &consumer::plan::Plan, keeps_lines: bool) -> Ended {
    let ended = consumer::run(plan, keeps_lines);
    Ended {
        violations: ended.violations,
        events: ended.events,
        came_to: ended.effects,
        took_secs: ended.took / 1_000_000,
        trace: ended.trace,
        plan: format!("{plan:#?}"),
    }
}

#[expect(clippy::print_stdout, reason = "what it prints is what it is for")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return one(seed, &arguments);
    }
    let threads = arguments.threads.unwrap_or_else(|| {
        let threads = std::thread::available_parallelism();
        threads.map_or(1, |threads| threads.get() as u64)
    });
    let began = Instant::now();
    let (from, to) = (arguments.from, arguments.from + arguments.seeds);
    let next = std::sync::atomic::AtomicU64::new(from);
    let failed = std::sync::Mutex::new(Vec::new());
    let totals = std::sync::Mutex::new((0_usize, 0_usize, 0_u64));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= to {
                        break;
                    }
                    let ended = arguments.side.run(seed, false);
                    if let Ok(mut totals) = totals.lock() {
                        totals.0 += ended.events;
                        totals.1 += ended.came_to;
                        totals.2 += ended.took_secs;
                    }
                    if !ended.violations.is_empty()
                        && let Ok(mut failed) = failed.lock()
                    {
                        println!("seed {seed}: {}", ended.violations.join("; "));
                        failed.push(seed);
                    }
                    let done = seed + 1 - from;
                    if done.is_multiple_of(1_000) {
                        println!(
                            "{done} of {} seeds, {:.0} s",
                            arguments.seeds,
                            began.elapsed().as_secs_f64()
                        );
                    }
                }
            });
        }
    });
    let (events, came_to, secs) = totals.into_inner().unwrap_or_default();
    let failed = failed.into_inner().unwrap_or_default();
    println!(
        "{} seeds in {:.1} s: {events} events committed, {came_to} {}, {secs} s simulated, {} seeds with violations",
        arguments.seeds,
        began.elapsed().as_secs_f64(),
        arguments.side.came_to(),
        failed.len()
    );
    match failed.iter().min() {
        None => ExitCode::SUCCESS,
        Some(_) if arguments.no_shrink => ExitCode::FAILURE,
        Some(seed) => one(*seed, &arguments),
    }
}

#[expect(clippy::print_stdout, reason = "what it prints is what it is for")]
fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let ended = arguments.side.run(seed, true);
    if ended.violations.is_empty() {
        for line in ended.trace.lines() {
            println!("{line}");
        }
        println!("seed {seed}: no violation; trace {}", ended.trace.digest());
        return ExitCode::SUCCESS;
    }
    let ended = if arguments.no_shrink {
        ended
    } else {
        println!("seed {seed}: looking for a smaller plan that fails");
        arguments.side.run_shrunk(seed)
    };
    println!("{}", ended.plan);
    for line in ended.trace.lines() {
        println!("{line}");
    }
    for violation in &ended.violations {
        println!("VIOLATION: {violation}");
    }
    println!(
        "to see this again: make simulate SIDE={} SEED={seed}",
        arguments.side.name()
    );
    ExitCode::FAILURE
}
