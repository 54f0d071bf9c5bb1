//! The demonstration: requests invoices, does its worst, and counts.
//!
//! Exit codes: 0 the promise was kept; 1 something was lost, doubled or came of a rolled-back
//! transaction; 2 it could not be run; 130 interrupted.

use std::{
    io::{Write as _, stderr, stdout},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use system_tests::demo::{self, Options, Report};
use tokio::signal::unix::{SignalKind, signal};

/// Oncebox's main job on real input: invoices that are requested, created, paid and audited, each
/// exactly once. Needs the stack of `localstack/stack.py run`; `make demo` does everything.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many invoices to request.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    invoices: u32,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Leave database, queues, tables and functions there, and tell how to look at them.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(None) => {
            let _ = writeln!(stderr(), "\ndemo: interrupted; what it had made is gone");
            ExitCode::from(130)
        }
        Ok(Some(report)) => show(&report, arguments.json),
        Err(problem) => {
            let _ = writeln!(stderr(), "\ndemo: {problem:#}");
            ExitCode::from(2)
        }
    }
}

/// `None` when it was interrupted; dropping the unfinished run cleans up.
async fn run(arguments: &Arguments) -> Result<Option<Report>> {
    let options = Options {
        invoices: usize::try_from(arguments.invoices)?,
        keep: arguments.keep,
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        report = demo::run(&options) => report.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

fn show(report: &Report, json: bool) -> ExitCode {
    let kept = report.keeps_the_promise();
    let text = if json {
        serde_json::to_string_pretty(report).unwrap_or_default()
    } else if kept {
        format!("\n{report}\n  Each exactly once.")
    } else {
        format!("\n{report}\n  THE PROMISE IS BROKEN.")
    };
    let _ = writeln!(stdout(), "{text}");
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
