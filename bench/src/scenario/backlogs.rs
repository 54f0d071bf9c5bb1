//! Backlogs of very different sizes.

use anyhow::Result;

use crate::{
    measure::{Bench, Load, median},
    report::{Goal, Section, thousands},
};

/// Events, and rounds: short runs say little alone.
const SIZES: [(i64, usize); 3] = [(10_000, 5), (100_000, 3), (1_000_000, 1)];
const QUICK_SIZES: [(i64, usize); 2] = [(5_000, 1), (50_000, 1)];
/// How much slower the slowest may be than the fastest, in percent.
const MOST_SPREAD: f64 = 10.0;
const MOST_MIB: f64 = 150.0;

pub(super) async fn run(bench: &mut Bench) -> Result<Section> {
    let sizes = bench.pick(SIZES.as_slice(), QUICK_SIZES.as_slice());
    let (mut rows, mut rates, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    for (events, rounds) in sizes {
        let load = Load {
            is_fifo: false,
            latency_ms: 5,
            in_flight: 16,
            events: *events,
        };
        let mut runs = Vec::new();
        for _ in 0..*rounds {
            runs.push(bench.relay(&load).await?);
        }
        let rate = median(runs.iter().map(|run| run.rate));
        let mib = runs.iter().map(|run| run.rss_mib).fold(0.0, f64::max);
        rates.push(rate);
        peak = peak.max(mib);
        rows.push(vec![
            thousands(load.events as f64),
            thousands(rate),
            format!("{:.2}", median(runs.iter().map(|run| run.cpu))),
            format!("{mib:.0}"),
        ]);
    }
    let (slowest, fastest) = (
        rates.iter().copied().fold(f64::MAX, f64::min),
        rates.iter().copied().fold(0.0, f64::max),
    );
    Ok(Section {
        title: "Backlogs",
        about: "The relay alone, standard queue, 5 ms, 16 in flight. CPU in seconds per 100,000 events, the start included."
            .to_owned(),
        header: vec!["backlog", "events/s", "CPU", "peak MiB"],
        rows,
        goals: vec![
            Goal::at_most("backlogs: slowest below fastest", (1.0 - slowest / fastest) * 100.0, MOST_SPREAD, 1, "%"),
            Goal::at_most("backlogs: peak memory of the relay", peak, MOST_MIB, 0, "MiB"),
        ],
    })
}
