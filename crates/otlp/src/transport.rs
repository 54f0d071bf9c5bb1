//! How traces are sent: the AWS SDK's HTTP and TLS crates.

use std::{env, io, time::Duration};

use async_trait::async_trait;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use tokio::runtime::Handle;

/// The OpenTelemetry specification's default for one export.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a client's requests on the runtime. The batches are sent from a thread of the SDK's own,
/// which has no runtime.
#[derive(Debug)]
struct OnRuntime<C> {
    runtime: Handle,
    client: C,
}

/// A client for HTTP.
pub(super) fn plain() -> impl HttpClient + Clone {
    HyperClient::with_default_connector(timeout(), None)
}

/// A client for HTTPS that trusts the system's certificate authorities.
///
/// # Errors
/// The system has none.
pub(super) fn tls() -> io::Result<impl HttpClient + Clone> {
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(HyperClient::new(connector, timeout(), None))
}

/// The same client for a thread without a runtime.
pub(super) fn on_runtime(runtime: Handle, client: impl HttpClient + Clone + 'static) -> impl HttpClient {
    OnRuntime { runtime, client }
}

#[async_trait]
impl<C: HttpClient + Clone + 'static> HttpClient for OnRuntime<C> {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime
            .spawn(async move { client.send_bytes(request).await })
            .await?
    }
}

fn timeout() -> Duration {
    let milliseconds = |name| env::var(name).ok()?.trim().parse().ok();
    milliseconds("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
        .or_else(|| milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT"))
        .map_or(DEFAULT_TIMEOUT, Duration::from_millis)
}
