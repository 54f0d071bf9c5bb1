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
const MESSAGES: &str = "oncebox_sink_messages";
const SENT_EVENTS: &str = "oncebox_sink_sent_events";
const SENT_BYTES: &str = "oncebox_sink_sent_bytes";
const CONCURRENCY_LIMIT: &str = "oncebox_sink_concurrency_limit";
const SHARDS: &str = "oncebox_sink_shards";
const PARKED: &str = "oncebox_sink_parked";
const DROPPED: &str = "oncebox_sink_dropped";

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
    messages: Family<SinkLabel, Counter>,
    sent_events: Family<SinkLabel, Counter>,
    sent_bytes: Family<SinkLabel, Counter>,
    concurrency_limit: Family<SinkLabel, Gauge>,
    shards: Family<SinkLabel, Gauge>,
    parked: Family<SinkLabel, Gauge>,
    dropped: Family<SinkLabel, Counter>,
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
    messages: Counter,
    sent_events: Counter,
    sent_bytes: Counter,
    concurrency_limit: Gauge,
    shards: Gauge,
    parked: Gauge,
    dropped: Counter,
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
            messages: Family::default(),
            sent_events: Family::default(),
            sent_bytes: Family::default(),
            concurrency_limit: Family::default(),
            shards: Family::default(),
            parked: Family::default(),
            dropped: Family::default(),
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
            "Events that were not accepted, by class; each is sent again or parked",
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
            MESSAGES,
            "Messages in requests that were answered or given up; by requests, how full batches are",
            metrics.messages.clone(),
        );
        registry.register(
            SENT_EVENTS,
            "Events in those messages; by messages, how full bundles are",
            metrics.sent_events.clone(),
        );
        registry.register(
            SENT_BYTES,
            "Bytes of those messages as the target counts them",
            metrics.sent_bytes.clone(),
        );
        registry.register(
            CONCURRENCY_LIMIT,
            "Most requests in flight, after what the target said about slowing down",
            metrics.concurrency_limit.clone(),
        );
        registry.register(
            SHARDS,
            "Shards that this relay publishes, of sixteen",
            metrics.shards.clone(),
        );
        registry.register(
            PARKED,
            "Events of this relay's shards that are parked, counted up to 100000",
            metrics.parked.clone(),
        );
        registry.register(
            DROPPED,
            "Events of a sink that sends at most once whose fate is unknown",
            metrics.dropped.clone(),
        );
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
            messages: self.messages.get_or_create(&label).clone(),
            sent_events: self.sent_events.get_or_create(&label).clone(),
            sent_bytes: self.sent_bytes.get_or_create(&label).clone(),
            concurrency_limit: self.concurrency_limit.get_or_create(&label).clone(),
            shards: self.shards.get_or_create(&label).clone(),
            parked: self.parked.get_or_create(&label).clone(),
            dropped: self.dropped.get_or_create(&label).clone(),
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
    /// So many events were confirmed.
    pub fn published(&self, events: usize) {
        self.published.inc_by(count(events));
    }

    /// So many events were not accepted.
    pub fn failed(&self, class: FailureClass, events: usize) {
        let labels = FailedLabels {
            sink: self.label.sink.clone(),
            class: class.as_str(),
        };
        self.failed.get_or_create(&labels).inc_by(count(events));
    }

    /// A request with so many messages, events and bytes was answered or given up.
    pub fn request(&self, took: Duration, messages: usize, events: usize, bytes: usize) {
        self.requests.inc();
        self.request_duration.observe(took.as_secs_f64());
        self.messages.inc_by(count(messages));
        self.sent_events.inc_by(count(events));
        self.sent_bytes.inc_by(count(bytes));
    }

    /// So many requests have no answer yet, of so many that there may be.
    pub fn in_flight(&self, requests: usize, limit: usize) {
        self.in_flight.set(gauge(requests));
        self.concurrency_limit.set(gauge(limit));
    }

    /// This relay holds so many shards.
    pub fn shards(&self, shards: usize) {
        self.shards.set(gauge(shards));
    }

    /// So many events are parked.
    pub fn parked(&self, events: i64) {
        self.parked.set(events);
    }

    /// So many events may be lost.
    pub fn dropped(&self, events: usize) {
        self.dropped.inc_by(count(events));
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

    /// There are more relays than shards: the sink holds none and is ready to take over.
    pub fn standing_by(&self) {
        self.shards(0);
        self.lag(0, None);
        self.ready(true);
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

fn count(events: usize) -> u64 {
    u64::try_from(events).unwrap_or(u64::MAX)
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
