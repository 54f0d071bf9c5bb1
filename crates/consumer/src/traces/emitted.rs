//! Spans of what is sent of what handlers emit, and of sweeps.

use std::time::SystemTime;

use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::{Producer, Traces, count};
use crate::outbox::{OutboxReport, Posted, Swept};

/// Most spans of what one invocation has sent.
const MAX_SENDS: usize = 2_048;

impl Traces {
    /// What came of an outbox in the invocation whose span is `around`.
    pub(super) fn record_outbox(&self, report: &OutboxReport, around: &Context) {
        for swept in &report.sweeps {
            self.record_sweep(swept, around);
        }
        for posted in report.posted.iter().take(MAX_SENDS) {
            self.record_send(posted, around);
        }
    }

    fn record_sweep(&self, swept: &Swept, around: &Context) {
        let report = &swept.report;
        let attributes = vec![
            KeyValue::new("oncebox.consumer", self.consumer.clone()),
            KeyValue::new("oncebox.sweep.sent", count(report.sent)),
            KeyValue::new("oncebox.sweep.left", count(report.left)),
            KeyValue::new("oncebox.sweep.young", count(report.young)),
        ];
        let span = self.tracer.span_builder("sweep outbox");
        let mut span = span
            .with_kind(SpanKind::Internal)
            .with_start_time(SystemTime::from(swept.started))
            .with_attributes(attributes)
            .start_with_context(&self.tracer, around);
        if let Some(error) = &report.error {
            span.set_attribute(KeyValue::new("error.type", "outbox"));
            span.set_status(Status::error(error.clone()));
        }
        span.end_with_timestamp(SystemTime::from(swept.ended));
    }

    /// In the trace that the event carries: below the handler that emitted it, whoever sends it.
    fn record_send(&self, posted: &Posted, around: &Context) {
        let producer = posted.parent.as_ref().map(|parent| Producer {
            parent: parent.clone(),
            state: None,
        });
        let emitter =
            producer.map(|producer| TraceContextPropagator::new().extract_with_context(&Context::new(), &producer));
        let emitter = emitter.filter(|emitter| emitter.span().span_context().is_valid());
        let name = posted.to.name();
        let attributes = vec![
            KeyValue::new("messaging.system", posted.to.kind.system()),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", name.to_owned()),
            KeyValue::new("oncebox.consumer", self.consumer.clone()),
            KeyValue::new("cloudevents.event_id", posted.id.to_string()),
            KeyValue::new("cloudevents.event_type", posted.event_type.clone()),
        ];
        let span = self.tracer.span_builder(format!("send {name}"));
        let mut span = span
            .with_kind(SpanKind::Producer)
            .with_start_time(SystemTime::from(posted.started))
            .with_attributes(attributes)
            .start_with_context(&self.tracer, emitter.as_ref().unwrap_or(around));
        span.end_with_timestamp(SystemTime::from(posted.ended));
    }
}
