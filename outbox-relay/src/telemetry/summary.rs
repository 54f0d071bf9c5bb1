//! The state of each sink as a log line a minute, where nobody scrapes `/metrics`.
//!
//! Alarms are made of these lines (`infra/relay.yaml`): the names of their fields are a contract.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

const EVERY: Duration = Duration::from_secs(60);
const LAG_SECONDS: &str = "oncebox_sink_lag_seconds";
const LAG_EVENTS: &str = "oncebox_sink_lag_events";
const PARKED: &str = "oncebox_sink_parked";
const READY: &str = "oncebox_sink_ready";

/// Logs a line for each sink, at once and then every minute, until it is told to end.
pub async fn log(metrics: Arc<Metrics>, end: CancellationToken) -> anyhow::Result<()> {
    while !end.is_cancelled() {
        for (sink, state) in states(&metrics.render()) {
            // Only what there is: an alarm on a value that nobody measured would never ring.
            tracing::info!(
                sink,
                lag_seconds = state.get(LAG_SECONDS),
                lag_events = state.get(LAG_EVENTS),
                parked = state.get(PARKED),
                ready = state.get(READY),
                "sink state"
            );
        }
        let _ = timeout(EVERY, end.cancelled()).await;
    }
    Ok(())
}

type State = BTreeMap<&'static str, f64>;

/// The gauges of each sink, as whoever scrapes the metrics sees them.
fn states(text: &str) -> BTreeMap<String, State> {
    let mut states = BTreeMap::<String, State>::new();
    for line in text.lines() {
        for name in [LAG_SECONDS, LAG_EVENTS, PARKED, READY] {
            let sample = line.strip_prefix(name).and_then(|rest| rest.strip_prefix("{sink=\""));
            let Some((sink, value)) = sample.and_then(|rest| rest.split_once("\"} ")) else {
                continue;
            };
            if let Ok(value) = value.parse() {
                states.entry(sink.to_owned()).or_default().insert(name, value);
            }
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_what_the_metrics_say() {
        let mut metrics = Metrics::new();
        for (name, behind) in [("a-tap", 7), ("b", 0)] {
            let sink = metrics.sink(name);
            sink.lag(behind, (behind > 0).then_some(1));
            sink.ready(behind == 0);
        }
        let states = states(&metrics.render());
        assert_eq!(states.keys().collect::<Vec<_>>(), ["a-tap", "b"]);
        assert_eq!((states["a-tap"][LAG_EVENTS], states["a-tap"][READY]), (7.0, 0.0));
        assert!(states["a-tap"][LAG_SECONDS] > 1e9, "since 1970");
        assert_eq!((states["b"][LAG_SECONDS], states["b"][READY]), (0.0, 1.0));
    }

    #[test]
    fn parked_events_are_told_once_they_are_counted() {
        let states =
            states("# HELP x\noncebox_sink_parked{sink=\"tap\"} 3\noncebox_sink_published_total{sink=\"tap\"} 9\n");
        assert_eq!(states["tap"], State::from([(PARKED, 3.0)]));
    }
}
