//! Structured logs: one JSON object a line on standard output, ids as fields, never a payload.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Starts logging. `RUST_LOG` sets the level (`info` by default).
///
/// # Errors
/// `RUST_LOG` is no filter.
pub fn start() -> anyhow::Result<()> {
    let lines = tracing_subscriber::fmt::layer().json().with_target(false);
    subscriber(lines, filter("info")?).init();
    Ok(())
}

/// Starts logging for a command: plain lines on standard error, warnings unless `RUST_LOG` says more.
///
/// # Errors
/// As [`start`].
pub fn start_on_stderr() -> anyhow::Result<()> {
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    subscriber(lines, filter("warn")?).init();
    Ok(())
}

fn subscriber(lines: impl Layer<Registry> + Send + Sync, filter: EnvFilter) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .with(filter_fn(|metadata| !shows_payloads(metadata)))
}

/// At `trace` the SDK logs its requests and replies, and others the bytes of their connections, whatever `RUST_LOG` was
/// meant to show.
fn shows_payloads(metadata: &Metadata<'_>) -> bool {
    const OTHERS: [&str; 5] = ["aws_", "hyper", "h2", "rustls", "sqlx"];
    *metadata.level() == Level::TRACE && OTHERS.iter().any(|other| metadata.target().starts_with(other))
}

fn filter(default: &str) -> anyhow::Result<EnvFilter> {
    match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            anyhow::anyhow!("RUST_LOG: {error}; write a level or directives like `info,outbox_relay=debug`")
        }),
        _ => Ok(EnvFilter::new(default)),
    }
}

#[cfg(test)]
mod tests;
