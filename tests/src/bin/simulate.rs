//! `simulate`: the relay against models, from seeds.

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use system_tests::simulation::{plan::Plan, run, shrink::shrink};

/// Runs the relay's decisions against models of Postgres and SQS, a simulation per seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
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
                    let ended = run(&Plan::of_seed(seed), false);
                    if let Ok(mut totals) = totals.lock() {
                        totals.0 += ended.events;
                        totals.1 += ended.taken;
                        totals.2 += ended.took / 1_000_000;
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
    let (events, taken, secs) = totals.into_inner().unwrap_or_default();
    let failed = failed.into_inner().unwrap_or_default();
    println!(
        "{} seeds in {:.1} s: {events} events committed, {taken} messages taken, {secs} s simulated, {} seeds with violations",
        arguments.seeds,
        began.elapsed().as_secs_f64(),
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
    let plan = Plan::of_seed(seed);
    let ended = run(&plan, true);
    if ended.violations.is_empty() {
        for line in ended.trace.lines() {
            println!("{line}");
        }
        println!("seed {seed}: no violation; trace {}", ended.trace.digest());
        return ExitCode::SUCCESS;
    }
    let (plan, ended) = if arguments.no_shrink {
        (plan, ended)
    } else {
        println!("seed {seed}: looking for a smaller plan that fails");
        let smaller = shrink(&plan);
        let ended = run(&smaller, true);
        (smaller, ended)
    };
    println!("{plan:#?}");
    for line in ended.trace.lines() {
        println!("{line}");
    }
    for violation in &ended.violations {
        println!("VIOLATION: {violation}");
    }
    println!("to see this again: make simulate SEED={seed}");
    ExitCode::FAILURE
}
