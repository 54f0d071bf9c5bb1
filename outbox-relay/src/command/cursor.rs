//! `outbox-relay cursor`: how far sinks have published, and moving that.

mod delete;
mod rebase;
mod rename;
mod reset;
mod show;

use clap::{Args, Subcommand};

use super::{Failure, FailureKind};

/// `outbox-relay cursor …`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show how far each sink has published.
    Show(show::Arguments),
    /// Move a sink's cursors: publish again, or pass by.
    Reset(reset::Arguments),
    /// Delete the cursors of a sink that is not configured any more; they keep the log from being freed.
    Delete(delete::Arguments),
    Rename(rename::Arguments),
    /// Make the log and all cursors this cluster's, after a restore, a clone or an upgrade.
    Rebase(rebase::Arguments),
}

/// Runs it.
///
/// # Errors
/// See [`FailureKind`]; what a person must do stands in the message.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Show(arguments) => show::run(arguments).await,
        Action::Reset(arguments) => reset::run(arguments).await,
        Action::Delete(arguments) => delete::run(arguments).await,
        Action::Rename(arguments) => rename::run(arguments).await,
        Action::Rebase(arguments) => rebase::run(arguments).await,
    }
}

fn refused(problem: String) -> Failure {
    Failure::new(FailureKind::Runtime, anyhow::anyhow!(problem))
}
