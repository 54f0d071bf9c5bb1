//! The state of each sink as a log line a minute, where nobody scrapes `/metrics`.
//!
//! Alarms are made of these lines (`infra/relay.yaml`): the names of their fields are a contract.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

const EVERY: Duration = Duration::from_secs(60);
const GETTING_READY: Duration = Duration::from_millis(200);
const LAG_SECONDS: &str = "oncebox_sink_lag_seconds";
const LAG_EVENTS: &str = "oncebox_sink_lag_events";
const PARKED: &str = "oncebox_sink_parked";
const READY: &str = "oncebox_sink_ready";

/// Logs a line for each sink, once all are ready and then every minute, until it is told to end.
///
/// # Errors
/// Never.
pub async fn log(metrics: Arc<Metrics>, end: CancellationToken) -> anyhow::Result<()> {
    let began = Instant::now();
    while !metrics.not_ready().is_empty() && began.elapsed() < EVERY && !end.is_cancelled() {
        let _ = timeout(GETTING_READY, end.cancelled()).await;
    }
    while !end.is_cancelled() {
        for (sink, state) in states(&metrics.render()) {
            // A sink that cannot read the log does not know how far behind it is: no value says so,
            // and the alarm rings; a 0 would keep it silent.
            let measured = |name| state.get(name).filter(|_| state.get(READY) == Some(&1.0));
            tracing::info!(
                sink,
                lag_seconds = measured(LAG_SECONDS),
                lag_events = measured(LAG_EVENTS),
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
