use super::*;

#[test]
fn the_names_that_dashboards_know_are_there() {
    let mut metrics = Metrics::new();
    let sink = metrics.sink("tap");
    sink.published(1);
    sink.failed(FailureClass::Throttled, 1);
    sink.request(Duration::from_millis(3), 4, 9, 1_000);
    sink.in_flight(0, 8);
    sink.shards(16);
    sink.parked(3);
    sink.dropped(2);
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
        "oncebox_sink_messages_total{sink=\"tap\"} 4",
        "oncebox_sink_sent_events_total{sink=\"tap\"} 9",
        "oncebox_sink_sent_bytes_total{sink=\"tap\"} 1000",
        "oncebox_sink_concurrency_limit{sink=\"tap\"} 8",
        "oncebox_sink_shards{sink=\"tap\"} 16",
        "oncebox_sink_parked{sink=\"tap\"} 3",
        "oncebox_sink_dropped_total{sink=\"tap\"} 2",
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
