//! Chaos on real parts: breaks what can be broken, and lets the ledger tell.
//!
//! Exit codes: 0 every promise was kept; 1 one was broken; 2 the run could not be carried out; 130 interrupted.

use std::{
    io::{Write as _, stderr, stdout},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use system_tests::chaos::{self, Report, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// Real relays, functions, Postgres and LocalStack under faults; every promise is checked. Needs the stack
/// of `localstack/stack.py run`; `make chaos` does everything.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long writers write and faults happen; then everything is healed and has to arrive.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// What transactions and faults are drawn from, as an earlier run has told it.
    #[arg(long)]
    seed: Option<u64>,
    /// Events per second.
    #[arg(long, default_value_t = 12.0)]
    rate: f64,
    /// Relay processes.
    #[arg(long, default_value_t = 3)]
    relays: u8,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(None) => ExitCode::from(130),
        Ok(Some(report)) => show(&report, arguments.json),
        Err(problem) => {
            let _ = writeln!(stderr(), "chaos: {problem:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Option<Report>> {
    let length = Duration::try_from_secs_f64(arguments.minutes * 60.0)?;
    let mut settings = Settings::new(length, arguments.seed.unwrap_or_else(Settings::any_seed));
    settings.rate = arguments.rate;
    settings.relays = arguments.relays.into();
    let tell = |line: &str| {
        let _ = writeln!(stderr(), "chaos: {line}");
    };
    tell(&format!("seed {}", settings.seed));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        report = chaos::run(&settings, tell) => report.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

fn show(report: &Report, json: bool) -> ExitCode {
    let is_well = report.is_well();
    let text = if json {
        serde_json::to_string_pretty(&report.to_json()).unwrap_or_default()
    } else if is_well {
        format!("\n{report}\n  Every promise was kept.")
    } else {
        format!("\n{report}\n  A PROMISE IS BROKEN.")
    };
    let _ = writeln!(stdout(), "{text}");
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
