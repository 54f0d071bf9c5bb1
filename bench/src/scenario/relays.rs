//! Several relays over one log.

use anyhow::{Result, ensure};

use crate::{
    measure::{Bench, Load},
    report::{Section, thousands},
};

pub(super) async fn run(bench: &mut Bench) -> Result<Section> {
    let load = Load {
        is_fifo: true,
        latency_ms: 5,
        in_flight: 16,
        events: bench.pick(200_000, 20_000),
    };
    let mut rows = Vec::new();
    for relays in bench.relays.clone() {
        let measured = bench.relay(&load, relays).await?;
        // A key with two requests under way belongs to two relays at once, or to one that is wrong.
        ensure!(
            measured.stats.overlaps == 0,
            "{} events were sent while another request with their key was under way",
            measured.stats.overlaps
        );
        rows.push(vec![
            relays.to_string(),
            thousands(measured.rate),
            format!("{:.2}", measured.cpu),
            format!("{:.2}", measured.postgres_cpu),
            format!("{:.0}", measured.rss_mib),
            measured.stats.duplicates.to_string(),
        ]);
    }
    Ok(Section {
        title: "Relays",
        about: format!(
            "{} keyed events to a FIFO queue, 5 ms, 16 requests in flight per relay. No event was lost or out of its \
             key's order, and no key had two requests under way. CPU of all relays in seconds per 100,000 events.",
            thousands(load.events as f64)
        ),
        header: vec![
            "relays",
            "events/s",
            "CPU",
            "CPU of Postgres",
            "peak MiB of one",
            "duplicates",
        ],
        rows,
        goals: Vec::new(),
    })
}
