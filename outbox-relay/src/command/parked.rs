//! `outbox-relay parked`: what a sink has set aside, and what becomes of it.

mod change;
mod edit;
mod list;
mod selection;

use clap::{Args, Subcommand};
use oncebox_command::Consent;

use self::selection::Selected;
pub(super) use self::selection::check_known;
use super::{Failure, FailureKind, connection::DatabaseArguments, output::Output};
use crate::parked::filter::State;

/// `outbox-relay parked …`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List parked events.
    List(Listed),
    /// Show everything about parked events; the data only with --data.
    Show {
        #[command(flatten)]
        listed: Listed,
        /// Show the data too.
        #[arg(long)]
        data: bool,
    },
    /// Let the relay send them again. A key is a unit: all its events go along, in order.
    Retry(Chosen),
    /// Take a retry back: they wait for a person again. A key is a unit.
    Hold(Chosen),
    /// Delete them for good. Events behind them in their keys stay.
    Skip(Chosen),
    /// Replace the data or attributes of one event of a sink; `parked retry` sends it then.
    Edit(edit::Arguments),
}

#[derive(Debug, Args)]
struct Listed {
    #[command(flatten)]
    database: DatabaseArguments,
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Chosen {
    #[command(flatten)]
    listed: Listed,
    /// Every parked event; needed where there is no filter.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Runs it.
///
/// # Errors
/// See [`FailureKind`]; what a person must do stands in the message.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::List(listed) => list::list(listed).await,
        Action::Show { listed, data } => list::show(listed, data).await,
        Action::Retry(chosen) => change::run(chosen, change::Verb::Set(State::Retry)).await,
        Action::Hold(chosen) => change::run(chosen, change::Verb::Set(State::Parked)).await,
        Action::Skip(chosen) => change::run(chosen, change::Verb::Skip).await,
        Action::Edit(arguments) => edit::run(arguments).await,
    }
}

fn usage(problem: String) -> Failure {
    Failure::new(FailureKind::Usage, anyhow::anyhow!(problem))
}

fn nothing_found() -> Failure {
    Failure::new(
        FailureKind::Runtime,
        anyhow::anyhow!("no parked event is selected; `outbox-relay parked list` shows what there is"),
    )
}
