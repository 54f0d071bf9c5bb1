//! `cursor delete`.

use clap::Args;
use oncebox_command::Consent;
use serde::Serialize;
use sqlx::PgConnection;

use super::{refused, reset::failure};
use crate::{
    command::{
        Failure,
        connection::{DatabaseArguments, Opened},
        output::{Output, note},
        parked::check_known,
    },
    log::{
        moving::{self, MoveError},
        relays::{self, Concerned, Relay, Watched},
        standing,
    },
    parked::{change::Outcome, listing},
};

/// `outbox-relay cursor delete …`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// The sink.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// Delete its parked events too.
    #[arg(long)]
    parked_too: bool,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    output: Output,
}

/// The report as JSON.
#[derive(Debug, Serialize)]
struct Report {
    action: &'static str,
    dry_run: bool,
    sink: String,
    cursors: u64,
    parked: u64,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments.consent.check()?;
    let Opened {
        mut connection,
        configured,
        place,
        ..
    } = arguments.database.open().await?;
    let sink = &arguments.sink;
    let known = listing::sinks(&mut connection).await.map_err(Failure::of_database)?;
    check_known(std::slice::from_ref(sink), known, None)?;
    if configured.is_some_and(|names| names.contains(sink)) {
        let problem = format!(
            "sink `{sink}` stands in the configuration; remove it there and restart the relays first, \
             or use `cursor reset` to move it"
        );
        return Err(refused(problem));
    }
    let silent = watch(&mut connection, sink).await?;

    let mut acts = arguments.consent.is_given();
    let first = if acts { Outcome::Keep } else { Outcome::Undo };
    let (with_parked, mut deleted) = (arguments.parked_too, (0, 0));
    for outcome in [
        Some(first),
        (!acts && !arguments.consent.is_dry_run()).then_some(Outcome::Keep),
    ] {
        let Some(outcome) = outcome else { continue };
        if !acts && outcome == Outcome::Keep {
            note(&describe(sink, deleted, "would be deleted"));
            acts = arguments
                .consent
                .ask(&format!("delete the cursors of sink {sink} in {place}?"))?;
        }
        let done = moving::delete(&mut connection, sink, with_parked, &silent, outcome).await;
        deleted = done.map_err(failure)?;
    }
    let report = Report {
        action: "delete",
        dry_run: !acts,
        sink: sink.clone(),
        cursors: deleted.0,
        parked: deleted.1,
    };
    arguments.output.print(&report, |report| match report.dry_run {
        true => describe(sink, deleted, "would be deleted") + "\ndry run: nothing was changed\n",
        false => describe(sink, deleted, "deleted") + "; a sink of this name begins anew\n",
    })
}

fn describe(sink: &str, (cursors, parked): (u64, u64), what: &str) -> String {
    format!("sink {sink}: {cursors} cursors and {parked} parked events {what}")
}

/// Fails when a relay that lives has the sink or holds a shard of it. Returns those that are silent.
async fn watch(connection: &mut PgConnection, sink: &str) -> Result<Vec<Relay>, Failure> {
    let standings = standing::read(connection, Some(sink))
        .await
        .map_err(Failure::of_database)?;
    let owners: Vec<String> = standings.into_iter().filter_map(|standing| standing.owner).collect();
    let owners = owners.as_slice();
    let sinks = [sink];
    match relays::watch(connection, Concerned::Sinks { sinks: &sinks, owners })
        .await
        .map_err(Failure::of_database)?
    {
        Watched::Silent(silent) => Ok(silent),
        Watched::Alive(relay) => {
            let sink = sink.to_owned();
            Err(failure(MoveError::Lives { relay, sink }))
        }
    }
}
