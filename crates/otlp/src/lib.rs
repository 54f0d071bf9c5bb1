//! Where traces go: OpenTelemetry's environment variables, read as its specification says, and an exporter
//! that speaks OTLP over HTTP (`http/protobuf`) through the HTTP and TLS crates that the AWS SDK brings anyway.
//!
//! The relay and the functions share it, so that the same variables mean the same to both. What is
//! traced, and when it is sent, is theirs.
//!
//! # Guarantees
//! - Unless a collector is named (`OTEL_EXPORTER_OTLP_ENDPOINT` or its variant for traces), nothing is loaded.
//! - A variable that asks for what is not there is an error that names it and what to set, never its value.

mod settings;
mod transport;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use tokio::runtime::Handle;

use self::settings::Wanted;

/// Who sends the spans.
#[derive(Debug, Clone)]
pub enum Sender {
    /// A thread of the SDK's own, which has no runtime: requests run on this one. What fails is tried again.
    Thread(Handle),
    /// A task of the runtime, with little time: what fails is given up. (Between two attempts the exporter
    /// would put the task's thread to sleep.)
    Task,
}

/// Why there are no traces, though somebody asked for them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable asks for something that is not there; the text names it and what to set instead.
    #[error("{0}")]
    Unsupported(String),
    /// The system's certificate authorities cannot be read.
    #[error("the system's certificate authorities cannot be read; install them, or name a collector by http://")]
    Certificates(#[source] std::io::Error),
    /// The exporter cannot be made of OpenTelemetry's variables.
    #[error("the exporter of traces cannot be made of the variables OTEL_EXPORTER_OTLP_*")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

/// An exporter as OpenTelemetry's variables ask for it; `None` when they name no collector.
///
/// Nothing is sent yet. A collector by `http://`, which one beside the process usually is, costs no look at the
/// system's certificates.
///
/// # Errors
/// [`Error`].
pub fn exporter(sender: &Sender) -> Result<Option<SpanExporter>, Error> {
    let is_tls = match settings::wanted().map_err(Error::Unsupported)? {
        Wanted::Nothing => return Ok(None),
        Wanted::Http => false,
        Wanted::Https => true,
    };
    let builder = SpanExporter::builder().with_http();
    let builder = match (sender, is_tls) {
        (Sender::Thread(runtime), false) => {
            builder.with_http_client(transport::on_runtime(runtime.clone(), transport::plain()))
        }
        (Sender::Thread(runtime), true) => {
            let client = transport::tls().map_err(Error::Certificates)?;
            builder.with_http_client(transport::on_runtime(runtime.clone(), client))
        }
        (Sender::Task, false) => builder.with_http_client(transport::plain()),
        (Sender::Task, true) => builder.with_http_client(transport::tls().map_err(Error::Certificates)?),
    };
    let builder = match sender {
        Sender::Thread(_) => builder,
        Sender::Task => builder.with_retry_policy(RetryPolicy::disabled()),
    };
    builder.build().map(Some).map_err(Error::Exporter)
}

/// Who the traces are of: `service`, unless the environment says it, and its version.
#[must_use]
pub fn resource(service: &str, version: &'static str) -> Resource {
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", version));
    match settings::names_a_service() {
        true => resource.build(),
        false => resource.with_service_name(service.to_owned()).build(),
    }
}
