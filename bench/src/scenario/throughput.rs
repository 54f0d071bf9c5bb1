//! The relay beside the bare AWS SDK.

use anyhow::Result;

use crate::{
    measure::{Bench, Load, Measured, median},
    report::{Goal, Section, thousands},
};

/// What is sent, and the least share of the bare SDK's rate that the relay should have.
const CASES: [(bool, u64, usize, f64); 4] = [
    (false, 5, 16, 90.0),
    (false, 0, 32, 50.0),
    (true, 5, 16, 35.0),
    (true, 0, 32, 35.0),
];
/// The most CPU per event that the relay should take, as a multiple of the bare SDK's.
const MOST_CPU: f64 = 2.0;

pub(super) async fn run(bench: &mut Bench) -> Result<Section> {
    let (events, rounds) = (bench.pick(200_000, 20_000), bench.pick(3, 1));
    let (mut rows, mut goals) = (Vec::new(), Vec::new());
    for (is_fifo, latency_ms, in_flight, least_share) in CASES {
        let load = Load {
            is_fifo,
            latency_ms,
            in_flight,
            events,
        };
        let (mut bare, mut relay) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bare.push(bench.bare(&load).await?);
            relay.push(bench.relay(&load).await?);
        }
        // Each round is a pair, so what else the machine did at that time is in both.
        let ratio =
            |of: fn(&Measured) -> f64| median(relay.iter().zip(&bare).map(|(relay, bare)| of(relay) / of(bare)));
        let (rate, cpu) = (ratio(|run| run.rate), ratio(|run| run.cpu));
        for (who, runs, ratios) in [("bare SDK", &bare, None), ("relay", &relay, Some((rate, cpu)))] {
            rows.push(row(&load, who, runs, ratios));
        }
        goals.push(Goal::at_least(
            format!("{}: relay ÷ bare SDK", load.name()),
            rate,
            least_share,
        ));
        goals.push(Goal::at_most(
            format!("{}: CPU per event, relay ÷ bare SDK", load.name()),
            cpu,
            MOST_CPU,
            2,
            "×",
        ));
    }
    Ok(Section {
        title: "Throughput",
        about: format!(
            "A backlog of {} events of 1 KB and 10,000 keys, batches of ten, to the local endpoint; medians of {rounds} \
             alternating rounds. CPU in seconds per 100,000 events. The bare SDK sends from memory; the relay's share \
             of the machine is what Postgres and the endpoint leave.",
            thousands(events as f64)
        ),
        header: vec![
            "load",
            "who",
            "events/s",
            "÷ bare",
            "CPU",
            "÷ bare",
            "CPU of Postgres",
            "CPU of endpoint",
            "peak MiB",
            "duplicates",
        ],
        rows,
        goals,
    })
}

fn row(load: &Load, who: &str, runs: &[Measured], ratios: Option<(f64, f64)>) -> Vec<String> {
    let middle = |of: fn(&Measured) -> f64| median(runs.iter().map(of));
    let share = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    vec![
        load.name(),
        who.to_owned(),
        thousands(middle(|run| run.rate)),
        share(ratios.map(|(rate, _)| rate)),
        format!("{:.2}", middle(|run| run.cpu)),
        share(ratios.map(|(_, cpu)| cpu)),
        format!("{:.2}", middle(|run| run.postgres_cpu)),
        format!("{:.2}", middle(|run| run.endpoint_cpu)),
        format!("{:.0}", middle(|run| run.rss_mib)),
        runs.iter().map(|run| run.stats.duplicates).sum::<u64>().to_string(),
    ]
}
