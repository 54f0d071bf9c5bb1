//! The dashboard of the templates shows what functions really write.

use std::collections::BTreeSet;

use oncebox_consumer::{Outcome, metrics};
use serde_json::Value;

const TEMPLATE: &str = include_str!("../../../../infra/observe.yaml");

/// The body of the template's dashboard: the block below `DashboardBody`, as far as it is indented.
fn body() -> Value {
    let (_, below) = TEMPLATE.split_once("DashboardBody: !Sub |\n").unwrap();
    let indent = below.len() - below.trim_start().len();
    let block = below
        .lines()
        .take_while(|line| line.len() - line.trim_start().len() >= indent);
    serde_json::from_str(&block.collect::<String>()).unwrap()
}

/// Each metric's names and dimensions, without what is only about how it is drawn.
fn shown(body: &Value) -> Vec<Vec<&str>> {
    let widgets = body["widgets"].as_array().unwrap();
    assert!(!widgets.is_empty());
    let metrics = widgets
        .iter()
        .flat_map(|widget| widget["properties"]["metrics"].as_array().unwrap());
    metrics
        .map(|metric| metric.as_array().unwrap().iter().filter_map(Value::as_str).collect())
        .collect()
}

#[test]
fn the_dashboard_is_json_and_each_metric_that_it_shows_is_one_that_is_written() {
    let body = body();
    let others = [
        metrics::AGE_MS,
        metrics::ATTEMPT_MS,
        metrics::DEDUPE_MS,
        metrics::EMITTED,
        metrics::OUTBOX_AGE_SECS,
    ];
    let counts = Outcome::ALL.map(metrics::count_of);
    let ours: BTreeSet<&str> = counts.into_iter().chain(others).collect();
    let mut seen = BTreeSet::new();
    for metric in shown(&body) {
        match metric.as_slice() {
            [metrics::NAMESPACE, name, metrics::CONSUMER, _] => {
                assert!(ours.contains(name), "no function writes {metric:?}");
                seen.insert(*name);
            }
            // Amazon SQS Developer Guide, "Available CloudWatch metrics"; AWS Lambda Developer Guide, "Types of metrics".
            [
                "AWS/SQS",
                "ApproximateAgeOfOldestMessage"
                | "ApproximateNumberOfMessagesVisible"
                | "ApproximateNumberOfMessagesNotVisible",
                "QueueName",
                _,
            ]
            | [
                "AWS/Lambda",
                "Duration" | "Errors" | "Invocations" | "Throttles",
                "FunctionName",
                _,
            ] => {}
            other => panic!("an unknown metric: {other:?}"),
        }
    }
    // A function that stands still, fails or sets aside shows.
    for name in [
        metrics::PROCESSED,
        metrics::RETRYABLE,
        metrics::PERMANENT,
        metrics::AGE_MS,
    ] {
        assert!(seen.contains(name), "{name} is not shown");
    }
}

#[test]
fn the_alarm_on_what_is_not_sent_reads_a_metric_that_is_written() {
    let (_, alarm) = TEMPLATE.split_once("  TakePaymentOutboxAlarm:\n").unwrap();
    let (alarm, _) = alarm.split_once("\n\n").unwrap();
    for line in [
        format!("Namespace: {}", metrics::NAMESPACE),
        format!("MetricName: {}", metrics::OUTBOX_AGE_SECS),
        format!("- Name: {}", metrics::CONSUMER),
    ] {
        assert!(alarm.contains(&line), "no `{line}` in:\n{alarm}");
    }
}
