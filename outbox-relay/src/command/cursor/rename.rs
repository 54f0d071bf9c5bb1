//! `cursor rename`.

use clap::Args;
use oncebox_command::Consent;
use serde::Serialize;
use sqlx::PgConnection;

use super::refused;
use crate::{
    command::{
        Failure, FailureKind,
        connection::{DatabaseArguments, Opened},
        output::{Output, note},
        parked::check_known,
    },
    config::is_sink_name,
    log::{
        relays::{self, Concerned, Relay, Watched},
        renaming::{self, RenameError},
    },
    parked::{change::Outcome, listing},
};

/// Give a sink's cursors and parked events another name, when it was renamed in relay.toml.
///
/// Stop the relays that run the sink, rename it here and in relay.toml, and start them again: it goes on
/// where it was. Refuses while a relay lives that runs either of the two, and when the new name has
/// cursors of its own. Killed relays are watched for the length of their lease first.
///
/// Exit codes: 0 done, 1 refused, 2 wrong usage (an unknown sink included), 3 no database.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// The sink, as it was called until now.
    #[arg(long, value_name = "OLD")]
    sink: String,
    /// What it is called from now on.
    #[arg(long, value_name = "NEW", value_parser = sink_name)]
    to: String,
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
    to: String,
    cursors: u64,
    parked: u64,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments.consent.check()?;
    let (sink, to) = (&arguments.sink, &arguments.to);
    if sink == to {
        let problem = anyhow::anyhow!("--to: `{to}` is its name already; write another one");
        return Err(Failure::new(FailureKind::Usage, problem));
    }
    let Opened {
        mut connection,
        configured,
        place,
        ..
    } = arguments.database.open().await?;
    let known = listing::sinks(&mut connection).await.map_err(Failure::of_database)?;
    check_known(std::slice::from_ref(sink), known, None)?;
    if configured.as_ref().is_some_and(|names| names.contains(sink)) {
        return Err(refused(format!(
            "sink `{sink}` stands in the configuration, so a relay would begin it anew; rename it there first"
        )));
    }
    if configured.as_ref().is_some_and(|names| !names.contains(to)) {
        note(&format!(
            "sink {to} is not configured yet; until it is, nobody publishes it"
        ));
    }
    let silent = watch(&mut connection, sink, to).await?;

    let mut acts = arguments.consent.is_given();
    let first = if acts { Outcome::Keep } else { Outcome::Undo };
    let mut renamed = renaming::rename(&mut connection, sink, to, &silent, first)
        .await
        .map_err(failure)?;
    if !acts && !arguments.consent.is_dry_run() {
        note(&describe(sink, to, renamed, "would be"));
        acts = arguments
            .consent
            .ask(&format!("rename sink {sink} to {to} in {place}?"))?;
        let done = renaming::rename(&mut connection, sink, to, &silent, Outcome::Keep).await;
        renamed = done.map_err(failure)?;
    }
    let report = Report {
        action: "rename",
        dry_run: !acts,
        sink: sink.clone(),
        to: to.clone(),
        cursors: renamed.0,
        parked: renamed.1,
    };
    arguments.output.print(&report, |report| match report.dry_run {
        true => describe(sink, to, renamed, "would be") + "\ndry run: nothing was changed\n",
        false => describe(sink, to, renamed, "are") + "; a relay that is configured with it goes on where it was\n",
    })
}

fn describe(sink: &str, to: &str, (cursors, parked): (u64, u64), what: &str) -> String {
    format!("{cursors} cursors and {parked} parked events of sink {sink} {what} those of sink {to}")
}

/// Makes sure that no relay lives which runs one of the two; returns those on the list that do not.
async fn watch(connection: &mut PgConnection, sink: &str, to: &str) -> Result<Vec<Relay>, Failure> {
    let sinks = [sink, to];
    let among = Concerned::Sinks {
        sinks: &sinks,
        owners: &[],
    };
    let listed = relays::list(connection).await.map_err(Failure::of_database)?;
    let concerned = among.of(listed);
    if let Some(term) = concerned.iter().map(|relay| relay.term).max() {
        note(&format!(
            "{} relays on the list run it; watching for {} s whether one lives",
            concerned.len(),
            term.as_secs_f32().ceil()
        ));
    }
    match relays::watch(connection, among).await.map_err(Failure::of_database)? {
        Watched::Silent(silent) => Ok(silent),
        Watched::Alive(relay) => Err(refused(format!(
            "relay {relay} lives and runs sink `{sink}` or `{to}`; stop it, rename the sink here and in its relay.toml, \
             and start it again"
        ))),
    }
}

fn failure(error: RenameError) -> Failure {
    match error {
        RenameError::Taken { .. } | RenameError::Started { .. } => refused(error.to_string()),
        RenameError::Database(error) => Failure::of_database(error),
    }
}

fn sink_name(name: &str) -> Result<String, &'static str> {
    match is_sink_name(name) {
        true => Ok(name.to_owned()),
        false => Err("write 1 to 64 lower-case letters, digits, hyphens and underscores"),
    }
}
