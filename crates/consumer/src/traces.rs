//! Traces (feature `otel`): a span for each invocation, and below it one for each event of its batch.
//!
//! Off unless the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`): then nothing is loaded.
//!
//! A batch has many producers, so an event's span is not in its producer's trace but linked to it, by the
//! event's `traceparent`. What its handler emits carries on its span, and has one of its own, when it is sent, below
//! it: in whichever invocation that is. Names and attributes are those of OpenTelemetry's semantic conventions for AWS
//! Lambda and for messaging; what they have no word for begins with `oncebox.`. No payload and no key is in a span.
//!
//! # Guarantees
//! Spans are sent before the invocation is answered, since the process may be frozen after it. A collector
//! that is down costs an invocation [`FLUSH_TIME`] at most, never its answer, and the next ones nothing for
//! [`collector::PAUSE`]; the log tells it once.

mod collector;
mod context;
#[cfg(feature = "dynamodb")]
mod emitted;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_lambda_events::event::sqs::SqsEvent;
use oncebox_envelope::wire;
use oncebox_otlp::Sender;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};

pub(crate) use self::context::InvocationTrace;
use self::{
    collector::{Change, Collector},
    context::Ids,
};
use crate::{
    outcome::Outcome,
    settlement::{EventReport, Settlement},
    start_error::{StartError, optional_env},
    time::{self, Instant, timeout_at},
};

/// How long an invocation waits for the collector at most.
const FLUSH_TIME: Duration = Duration::from_millis(500);
/// Most spans of an invocation; those of events that failed go first.
const MAX_EVENTS: usize = 2_048;

/// The traces of this process.
pub(crate) struct Traces {
    consumer: String,
    function: String,
    /// Whether there has been an invocation.
    is_warm: AtomicBool,
    tracer: SdkTracer,
    finished: Finished,
    /// One export at a time, as the exporter asks for.
    exporter: tokio::sync::Mutex<SpanExporter>,
    collector: Mutex<Collector>,
    /// Drops the tracer's provider last.
    _provider: SdkTracerProvider,
}

/// One invocation, to be told of when it is over.
pub(crate) struct Traced {
    span: Span,
    /// The name of the queue, where the batch tells it.
    queue: Option<String>,
    /// `None` where it is not recorded.
    pub(crate) trace: Option<InvocationTrace>,
}

/// Spans that have ended and are not sent yet.
#[derive(Debug, Clone, Default)]
struct Finished(Arc<Mutex<Vec<SpanData>>>);

impl Traces {
    /// Traces as OpenTelemetry's variables ask for them; `None` when they name no collector.
    ///
    /// # Errors
    /// [`StartError::Traces`].
    pub(crate) fn from_env(consumer: &str) -> Result<Option<Self>, StartError> {
        let Some(mut exporter) = oncebox_otlp::exporter(&Sender::Task).map_err(StartError::Traces)? else {
            return Ok(None);
        };
        let function = optional_env("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| consumer.to_owned());
        let resource = oncebox_otlp::resource(&function, env!("CARGO_PKG_VERSION"));
        exporter.set_resource(&resource);
        let finished = Finished::default();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_id_generator(Ids::default())
            .with_span_processor(finished.clone())
            .build();
        tracing::info!("invocations are traced");
        Ok(Some(Self {
            consumer: consumer.to_owned(),
            function,
            is_warm: AtomicBool::new(false),
            tracer: provider.tracer("oncebox-consumer"),
            finished,
            exporter: tokio::sync::Mutex::new(exporter),
            collector: Mutex::default(),
            _provider: provider,
        }))
    }

    /// An invocation that begins now, with a batch that Lambda has read from one queue.
    pub(crate) fn begin(&self, request_id: &str, batch: &SqsEvent) -> Traced {
        let arn = batch
            .records
            .first()
            .and_then(|record| record.event_source_arn.as_deref());
        let attributes = vec![
            KeyValue::new("faas.invocation_id", request_id.to_owned()),
            KeyValue::new("faas.trigger", "pubsub"),
            KeyValue::new("faas.coldstart", !self.is_warm.swap(true, Ordering::Relaxed)),
            KeyValue::new("oncebox.consumer", self.consumer.clone()),
        ];
        let span = self.tracer.span_builder(self.function.clone());
        let span = span
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &Context::new());
        Traced {
            queue: arn.and_then(|arn| arn.rsplit(':').next()).map(ToOwned::to_owned),
            trace: InvocationTrace::of(span.span_context()),
            span,
        }
    }

    /// Makes the spans of an invocation that is over and sends them, by `until` at the latest. `settlement` is
    /// `None` where the batch failed as a whole.
    ///
    /// # Cancel safety
    /// Dropped before it ends, spans are lost.
    pub(crate) async fn told(&self, invocation: Traced, settlement: Option<&Settlement>, until: Instant) {
        self.record(invocation, settlement);
        self.flush(until.min(time::now() + FLUSH_TIME)).await;
    }

    fn record(&self, mut invocation: Traced, settlement: Option<&Settlement>) {
        let span = &mut invocation.span;
        if let Some(settlement) = settlement {
            span.set_attribute(KeyValue::new(
                "messaging.batch.message_count",
                count(settlement.records),
            ));
            let left_out = settlement.events.len().saturating_sub(MAX_EVENTS);
            if left_out > 0 {
                span.set_attribute(KeyValue::new("oncebox.events_left_out", count(left_out)));
            }
        } else {
            span.set_attribute(KeyValue::new("error.type", "batch"));
            span.set_status(Status::error("the batch failed as a whole"));
        }
        let around = Context::new().with_remote_span_context(span.span_context().clone());
        let events = settlement
            .map(|settlement| settlement.events.as_slice())
            .unwrap_or_default();
        let (failed, others): (Vec<_>, Vec<_>) = events.iter().partition(|event| is_error(event));
        for event in failed.into_iter().chain(others).take(MAX_EVENTS) {
            self.record_event(&invocation, event, &around);
        }
        #[cfg(feature = "dynamodb")]
        if let Some(report) = settlement.and_then(|settlement| settlement.outbox.as_ref()) {
            self.record_outbox(report, &around);
        }
        invocation.span.end();
    }

    fn record_event(&self, invocation: &Traced, event: &EventReport, around: &Context) {
        let mut attributes = vec![
            KeyValue::new("messaging.system", "aws_sqs"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.message.id", event.message_id.clone()),
            KeyValue::new("oncebox.consumer", self.consumer.clone()),
            KeyValue::new("oncebox.outcome", event.outcome.as_str()),
        ];
        let more = [
            invocation
                .queue
                .clone()
                .map(|queue| KeyValue::new("messaging.destination.name", queue)),
            event
                .event_id
                .map(|id| KeyValue::new("cloudevents.event_id", id.to_string())),
            event
                .event_type
                .clone()
                .map(|name| KeyValue::new("cloudevents.event_type", name)),
            event
                .attempt
                .map(|attempt| KeyValue::new("oncebox.attempt", i64::from(attempt))),
        ];
        attributes.extend(more.into_iter().flatten());
        let mut status = Status::Unset;
        if is_error(event) {
            let class = event.reason.map_or(event.outcome.as_str(), |reason| reason.as_str());
            attributes.push(KeyValue::new("error.type", class));
            status = Status::error(class);
        }
        let name = match &invocation.queue {
            Some(queue) => format!("process {queue}"),
            None => "process".to_owned(),
        };
        let ended = SystemTime::from(event.settled_at);
        let span = self.tracer.span_builder(name);
        let span = span
            .with_kind(SpanKind::Consumer)
            .with_start_time(ended - event.duration)
            .with_attributes(attributes)
            .with_links(event.producer.as_ref().and_then(Producer::link).into_iter().collect());
        // What it has emitted names this span already.
        let is_done = event.outcome == Outcome::Done;
        let trace = invocation.trace.filter(|_| is_done);
        let id = trace.and_then(|trace| event.event_id.map(|event| trace.span_of(event)));
        let mut span = Ids::given(id, || span.start_with_context(&self.tracer, around));
        span.set_status(status);
        span.end_with_timestamp(ended);
    }

    async fn flush(&self, until: Instant) {
        let spans = self.finished.take();
        if spans.is_empty() || !self.collector().is_asked(time::now()) {
            return;
        }
        let exporting = async { self.exporter.lock().await.export(spans).await };
        let sent = match timeout_at(until, exporting).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        let change = self.collector().answered(sent.is_ok(), time::now());
        match (change, sent) {
            (Some(Change::Lost), Err(reason)) => {
                tracing::warn!(reason, "traces could not be sent, and are lost until they can");
            }
            (Some(Change::Back), _) => tracing::info!("traces are sent again"),
            _ => {}
        }
    }

    fn collector(&self) -> MutexGuard<'_, Collector> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Duplicates and what waits for its turn are no errors: that is how it is meant to be.
fn is_error(event: &EventReport) -> bool {
    match event.outcome {
        Outcome::Retryable | Outcome::LeaseLost | Outcome::Permanent => true,
        Outcome::Done | Outcome::Duplicate | Outcome::Expired | Outcome::Ignored => false,
        Outcome::InProgress | Outcome::NotStarted | Outcome::Held => false,
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The context that an event's producer has given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) parent: String,
    pub(crate) state: Option<String>,
}

impl Producer {
    fn link(&self) -> Option<Link> {
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), self);
        let producer: SpanContext = context.span().span_context().clone();
        producer.is_valid().then(|| Link::with_context(producer))
    }
}

impl Extractor for Producer {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            wire::ATTRIBUTE_TRACE_PARENT => Some(&self.parent),
            "tracestate" => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![wire::ATTRIBUTE_TRACE_PARENT, "tracestate"]
    }
}

impl Finished {
    fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.spans())
    }

    fn spans(&self) -> MutexGuard<'_, Vec<SpanData>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpanProcessor for Finished {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.spans().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
