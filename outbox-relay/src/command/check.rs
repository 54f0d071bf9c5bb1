//! `outbox-relay check`: what would go wrong, before it does.

mod clock;
mod database;
mod finding;
mod rights;
mod targets;

use std::path::PathBuf;

use clap::Args;

use self::finding::{Area, Findings};
use super::{Failure, FailureKind, output::Output};
use crate::config::Config;

/// Check configuration, database and targets, and tell the fix for each fault.
///
/// One line per check. Reads only: nothing is sent, written or changed.
///
/// Exit codes: 0 when all is well (warnings are), 2 on a fault of the configuration or a target, 3 on one
/// of the database.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The configuration; `env:NAME` for a variable that holds the whole text.
    #[arg(
        long,
        short,
        default_value = "relay.toml",
        env = "OUTBOX_RELAY_CONFIG",
        value_name = "FILE"
    )]
    config: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
///
/// # Errors
/// See [`FailureKind`]; the lines say what is to be done.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut findings = Findings::new();
    match Config::load(&arguments.config, |name| std::env::var(name).ok()) {
        Err(error) => findings.fault(Area::Configuration, error.to_string()),
        Ok(config) => {
            let sinks = config.sinks.len();
            let text = format!("{} is valid: {sinks} sinks", arguments.config.display());
            findings.ok(Area::Configuration, text);
            database::check(&config, &mut findings).await;
            targets::check(&config, &mut findings).await;
        }
    }
    arguments.output.print(&findings, Findings::text)?;
    let kind = match (findings.has_fault_of_database(), findings.faults()) {
        (_, 0) => return Ok(()),
        (true, _) => FailureKind::Database,
        (false, _) => FailureKind::Usage,
    };
    let (faults, warnings) = (findings.faults(), findings.warnings());
    Err(Failure::new(
        kind,
        anyhow::anyhow!("faults: {faults}, warnings: {warnings}"),
    ))
}
