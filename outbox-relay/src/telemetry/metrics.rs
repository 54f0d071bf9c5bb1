//! What is counted, in Prometheus' terms. The names are a contract with dashboards and alarms.

mod log;

pub use log::LogMetrics;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::publish::FailureClass;

const PUBLISHED: &str = "oncebox_sink_published";
const FAILED: &str = "oncebox_sink_failed";
const LAG_EVENTS: &str = "oncebox_sink_lag_events";
const LAG: &str = "oncebox_sink_lag";
const IN_FLIGHT: &str = "oncebox_sink_requests_in_flight";
const REQUESTS: &str = "oncebox_sink_requests";
const REQUEST_DURATION: &str = "oncebox_sink_request_duration";
const READY: &str = "oncebox_sink_ready";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedLabels {
    sink: String,
    class: &'static str,
}

/// All metrics of the relay.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    published: Family<SinkLabel, Counter>,
    failed: Family<FailedLabels, Counter>,
    requests: Family<SinkLabel, Counter>,
    request_duration: Family<SinkLabel, Histogram>,
    in_flight: Family<SinkLabel, Gauge>,
    lag_events: Family<SinkLabel, Gauge>,
    lag: Family<SinkLabel, Gauge<f64, AtomicU64>>,
    ready: Family<SinkLabel, Gauge>,
    sinks: Vec<SinkMetrics>,
    /// The log's.
    pub log: LogMetrics,
}

/// The metrics of one sink.
#[derive(Debug, Clone)]
pub struct SinkMetrics {
    label: SinkLabel,
    published: Counter,
    failed: Family<FailedLabels, Counter>,
    requests: Counter,
    request_duration: Histogram,
    in_flight: Gauge,
    lag_events: Gauge,
    lag: Gauge<f64, AtomicU64>,
    ready: Gauge,
    /// Microseconds since the Unix epoch; 0 when nothing is unsettled. Kept, so that the lag grows
    /// between two reports too.
    oldest_micros: Arc<AtomicI64>,
    /// Why the sink is not ready, where that is known.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics without a sink.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            published: Family::default(),
            failed: Family::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(|| {
                Histogram::new([
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ])
            }),
            in_flight: Family::default(),
            lag_events: Family::default(),
            lag: Family::default(),
            ready: Family::default(),
            sinks: Vec::new(),
            log: LogMetrics::default(),
        };
        let registry = &mut metrics.registry;
        metrics.log.register(registry);
        registry.register(PUBLISHED, "Events that the target confirmed", metrics.published.clone());
        registry.register(
            FAILED,
            "Events that were not accepted, by class; each is sent again",
            metrics.failed.clone(),
        );
        registry.register(
            REQUESTS,
            "Requests that were answered or given up",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            REQUEST_DURATION,
            "Time from sending a request to its answer",
            Unit::Seconds,
            metrics.request_duration.clone(),
        );
        registry.register(IN_FLIGHT, "Requests without an answer", metrics.in_flight.clone());
        registry.register(
            LAG_EVENTS,
            "Positions of the log between the last that is published without a gap and the end; an upper bound for a sink with a filter",
            metrics.lag_events.clone(),
        );
        registry.register_with_unit(
            LAG,
            "Age of the oldest event that was read and is not confirmed",
            Unit::Seconds,
            metrics.lag.clone(),
        );
        registry.register(
            READY,
            "Whether the sink holds its cursors and reaches the database",
            metrics.ready.clone(),
        );
        metrics
    }

    /// Adds a sink.
    pub fn sink(&mut self, name: &str) -> SinkMetrics {
        let label = SinkLabel { sink: name.to_owned() };
        let sink = SinkMetrics {
            published: self.published.get_or_create(&label).clone(),
            failed: self.failed.clone(),
            requests: self.requests.get_or_create(&label).clone(),
            request_duration: self.request_duration.get_or_create(&label).clone(),
            in_flight: self.in_flight.get_or_create(&label).clone(),
            lag_events: self.lag_events.get_or_create(&label).clone(),
            lag: self.lag.get_or_create(&label).clone(),
            ready: self.ready.get_or_create(&label).clone(),
            oldest_micros: Arc::default(),
            trouble: Arc::default(),
            label,
        };
        self.sinks.push(sink.clone());
        sink
    }

    /// The metrics as Prometheus' text.
    #[must_use]
    pub fn render(&self) -> String {
        for sink in &self.sinks {
            sink.lag.set(sink.lag_secs());
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// The sinks that are not ready, each with the reason.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let waiting = self.sinks.iter().filter(|sink| sink.ready.get() == 0);
        waiting
            .map(|sink| format!("{} ({})", sink.label.sink, sink.trouble()))
            .collect()
    }
}

impl SinkMetrics {
    /// One event was confirmed.
    pub fn published(&self) {
        self.published.inc();
    }

    /// One event was not accepted.
    pub fn failed(&self, class: FailureClass) {
        let labels = FailedLabels {
            sink: self.label.sink.clone(),
            class: class.as_str(),
        };
        self.failed.get_or_create(&labels).inc();
    }

    /// A request was answered or given up.
    pub fn request(&self, took: Duration) {
        self.requests.inc();
        self.request_duration.observe(took.as_secs_f64());
    }

    /// So many requests have no answer yet.
    pub fn in_flight(&self, requests: usize) {
        self.in_flight.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// So many positions lie between the cursor and the log's end, and the oldest event that is not
    /// confirmed has this time.
    pub fn lag(&self, events: i64, oldest_micros: Option<i64>) {
        self.lag_events.set(events);
        self.oldest_micros.store(oldest_micros.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether the sink holds its cursors and reaches the database.
    pub fn ready(&self, is_ready: bool) {
        self.set_trouble(None);
        self.ready.set(i64::from(is_ready));
    }

    /// The sink does not work, and why. Returns whether that is news.
    pub fn not_ready(&self, reason: &str) -> bool {
        self.ready.set(0);
        let before = self.set_trouble(Some(reason.to_owned()));
        before.as_deref() != Some(reason)
    }

    fn set_trouble(&self, trouble: Option<String>) -> Option<String> {
        let mut held = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, trouble)
    }

    fn trouble(&self) -> String {
        let held = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone().unwrap_or_else(|| "starting".to_owned())
    }

    fn lag_secs(&self) -> f64 {
        let oldest = self.oldest_micros.load(Ordering::Relaxed);
        if oldest == 0 {
            return 0.0;
        }
        let oldest = UNIX_EPOCH + Duration::from_micros(oldest.unsigned_abs());
        SystemTime::now()
            .duration_since(oldest)
            .unwrap_or_default()
            .as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_dashboards_know_are_there() {
        let mut metrics = Metrics::new();
        let sink = metrics.sink("tap");
        sink.published();
        sink.failed(FailureClass::Throttled);
        sink.request(Duration::from_millis(3));
        sink.lag(7, Some(1));
        sink.ready(true);
        let text = metrics.render();
        for line in [
            "oncebox_sink_published_total{sink=\"tap\"} 1",
            "oncebox_sink_failed_total{sink=\"tap\",class=\"throttled\"} 1",
            "oncebox_sink_requests_total{sink=\"tap\"} 1",
            "oncebox_sink_lag_events{sink=\"tap\"} 7",
            "oncebox_sink_lag_seconds{sink=\"tap\"} 1",
            "oncebox_sink_requests_in_flight{sink=\"tap\"} 0",
            "oncebox_sink_ready{sink=\"tap\"} 1",
            "oncebox_sink_request_duration_seconds_count{sink=\"tap\"} 1",
        ] {
            assert!(text.contains(line), "{line} in:\n{text}");
        }
    }

    #[test]
    fn a_relay_is_ready_when_every_sink_is() {
        let mut metrics = Metrics::new();
        let (a, b) = (metrics.sink("a"), metrics.sink("b"));
        a.ready(true);
        assert_eq!(metrics.not_ready(), ["b (starting)"]);
        b.ready(true);
        assert!(metrics.not_ready().is_empty());
        assert!(a.not_ready("no database"), "news");
        assert!(!a.not_ready("no database"), "no news");
        assert_eq!(metrics.not_ready(), ["a (no database)"]);
        a.ready(true);
        assert!(a.not_ready("no database"), "news again");
    }
}
