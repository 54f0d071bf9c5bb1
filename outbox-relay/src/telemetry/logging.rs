//! Structured logs: one JSON object a line on standard output, ids as fields, never a payload.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` sets the level (`info` by default).
///
/// # Errors
/// `RUST_LOG` is no filter.
pub fn start() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter("info")?)
        .with_target(false)
        .init();
    Ok(())
}

/// Starts logging for a command: plain lines on standard error, warnings unless `RUST_LOG` says more.
///
/// # Errors
/// As [`start`].
pub fn start_on_stderr() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(filter("warn")?)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    Ok(())
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
