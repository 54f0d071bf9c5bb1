//! Structured logs: one JSON object a line on standard output, ids as fields, never a payload.

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` sets the level (`info` by default).
///
/// # Errors
/// `RUST_LOG` is no filter.
pub fn start() -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            anyhow::anyhow!("RUST_LOG: {error}; write a level or directives like `info,outbox_relay=debug`")
        })?,
        _ => EnvFilter::new("info"),
    };
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_target(false)
        .init();
    Ok(())
}
