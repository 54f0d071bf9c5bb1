//! Traces: for each attempt to publish an event that carries a `traceparent`, a span in its trace.
//!
//! Off unless the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`): then nothing is
//! loaded, and an event costs one comparison more.
//!
//! # What goes on the wire
//! The producer's `traceparent`, unchanged, whether there are traces or not. It is the message's
//! creation context, which whoever sends the message on is not to modify (OpenTelemetry's
//! conventions for messaging spans), and a copy is the same to the last byte whichever attempt
//! made it. The relay's span and the consumer's are thus siblings below the producer's.
//!
//! # Guarantees
//! Publishing never waits for a collector: spans go into a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`),
//! and what does not fit is dropped and counted in the log at the end. No payload and no key is in a span.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use oncebox_envelope::wire;
use oncebox_otlp::Sender;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tokio::{runtime::Handle, sync::oneshot};

use crate::publish::{Message, PublishError};

const SERVICE_NAME: &str = "outbox-relay";

/// The traces of this relay.
#[derive(Debug, Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
}

/// The traces of one sink.
#[derive(Debug)]
pub struct SinkTraces {
    tracer: SdkTracer,
    span_name: String,
    attributes: Vec<KeyValue>,
}

/// One request of a sink, answered.
#[derive(Debug)]
pub struct RequestTraces<'a> {
    sink: &'a SinkTraces,
    started: SystemTime,
    ended: SystemTime,
}

impl Traces {
    /// Traces as OpenTelemetry's variables ask for them; `None` when they name no collector.
    ///
    /// Needs a running Tokio runtime, on which the spans are sent.
    ///
    /// # Errors
    /// The variables ask for what the relay does not have, or the exporter cannot be made.
    pub fn from_env() -> anyhow::Result<Option<Self>> {
        let Some(exporter) = oncebox_otlp::exporter(&Sender::Thread(Handle::current()))? else {
            return Ok(None);
        };
        tracing::info!("publishing is traced");
        let provider = SdkTracerProvider::builder()
            .with_resource(oncebox_otlp::resource(SERVICE_NAME, env!("CARGO_PKG_VERSION")))
            .with_batch_exporter(exporter);
        Ok(Some(Self {
            provider: provider.build(),
        }))
    }

    /// The traces of a sink. `system` and `destination` are the target in OpenTelemetry's words,
    /// such as `aws_sqs` and a queue's name.
    #[must_use]
    pub fn sink(&self, sink: &str, system: &'static str, destination: &str) -> SinkTraces {
        SinkTraces {
            tracer: self.provider.tracer(SERVICE_NAME),
            span_name: format!("publish {destination}"),
            attributes: vec![
                KeyValue::new("messaging.system", system),
                KeyValue::new("messaging.destination.name", destination.to_owned()),
                KeyValue::new("messaging.operation.name", "publish"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("oncebox.sink", sink.to_owned()),
            ],
        }
    }

    /// Sends what is queued and ends; what is not sent within the time is lost.
    ///
    /// # Cancel safety
    /// A cancelled call leaves the sending to go on beside the caller.
    pub async fn end(self, within: Duration) {
        let (ended, wait) = oneshot::channel();
        // A thread of its own: the runtime waits at its end for its blocking tasks, and whoever is
        // told to stop a second time must not wait for a collector.
        thread::spawn(move || ended.send(self.provider.shutdown_with_timeout(within)));
        if let Ok(Err(error)) = wait.await {
            tracing::warn!(reason = %error, "the last traces could not be sent");
        }
    }
}

impl SinkTraces {
    /// A request that was answered just now.
    #[must_use]
    pub fn request(&self, took: Duration) -> RequestTraces<'_> {
        let ended = SystemTime::now();
        RequestTraces {
            sink: self,
            started: ended - took,
            ended,
        }
    }
}

impl RequestTraces<'_> {
    /// Records an event of the request, if it carries a `traceparent`: a span from the moment that
    /// the request was made to its answer. How old the event was by then is an attribute.
    pub fn record(&self, message: &Message, attempt: u32, result: &Result<(), PublishError>) {
        let mut attributes = message.attributes.iter();
        let Some((_, parent)) = attributes.find(|(name, _)| *name == wire::ATTRIBUTE_TRACE_PARENT) else {
            return;
        };
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &TraceParent(parent));
        if !parent.span().span_context().is_valid() {
            return;
        }
        let mut attributes = self.sink.attributes.clone();
        attributes.extend([
            KeyValue::new("messaging.message.id", message.id.clone()),
            KeyValue::new("cloudevents.event_type", message.event_type.clone()),
            KeyValue::new("oncebox.age_ms", age_ms(message, self.started)),
            KeyValue::new("oncebox.attempt", i64::from(attempt)),
        ]);
        let mut status = Status::Unset;
        match result {
            Ok(()) => attributes.push(KeyValue::new("oncebox.outcome", "confirmed")),
            Err(error) => {
                attributes.push(KeyValue::new("oncebox.outcome", error.class.as_str()));
                attributes.push(KeyValue::new("error.type", error.code.clone()));
                status = Status::error(error.code.clone());
            }
        }
        let tracer = &self.sink.tracer;
        let span = tracer.span_builder(self.sink.span_name.clone());
        let mut span = span
            .with_kind(SpanKind::Producer)
            .with_start_time(self.started)
            .with_attributes(attributes)
            .start_with_context(tracer, &parent);
        span.set_status(status);
        span.end_with_timestamp(self.ended);
    }
}

fn age_ms(message: &Message, at: SystemTime) -> i64 {
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at_ms = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    (at_ms - message.time_micros / 1_000).max(0)
}

/// A `traceparent` as the one header of a message.
struct TraceParent<'a>(&'a str);

impl Extractor for TraceParent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == wire::ATTRIBUTE_TRACE_PARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![wire::ATTRIBUTE_TRACE_PARENT]
    }
}
