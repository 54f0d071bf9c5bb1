//! `cursor rebase`.

use clap::Args;
use oncebox_command::Consent;
use serde::Serialize;
use sqlx::PgConnection;

use super::refused;
use crate::{
    command::{
        Failure,
        connection::{DatabaseArguments, Opened},
        output::{Output, lines, note, size},
        table::Table,
    },
    log::{
        rebase::{self, RebaseError, Rebased},
        relays::{self, Concerned, Relay, Watched},
    },
    parked::change::Outcome,
};

/// `outbox-relay cursor rebase …`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// After pg_upgrade only, where transaction ids go on: note the cluster's new identifier and
    /// rewrite nothing.
    #[arg(long)]
    adopt: bool,
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
    rows: i64,
    rows_to_rewrite: i64,
    log_bytes: i64,
    sequence_set_to: Option<i64>,
    keys_mended: i64,
    relays_forgotten: usize,
    sinks: Vec<SinkReport>,
}

#[derive(Debug, Serialize)]
struct SinkReport {
    sink: String,
    /// The first position that is published from now on; null when there is nothing to publish.
    from: Option<i64>,
    to_publish_at_most: i64,
}

/// The report as JSON when no cursor is foreign.
#[derive(Debug, Serialize)]
struct NothingReport {
    action: &'static str,
}

/// The report of `--adopt` as JSON.
#[derive(Debug, Serialize)]
struct AdoptReport {
    action: &'static str,
    dry_run: bool,
    cursors: u64,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments.consent.check()?;
    let Opened {
        mut connection, place, ..
    } = arguments.database.open().await?;
    let silent = watch(&mut connection).await?;
    let mut acts = arguments.consent.is_given();
    let first = if acts { Outcome::Keep } else { Outcome::Undo };
    let asks = !acts && !arguments.consent.is_dry_run();
    if arguments.adopt {
        let mut cursors = rebase::adopt(&mut connection, &silent, first).await.map_err(failure)?;
        if asks {
            acts = arguments.consent.ask(&format!(
                "{cursors} cursors: did pg_upgrade make {place} of the database that they are from?"
            ))?;
            cursors = rebase::adopt(&mut connection, &silent, Outcome::Keep)
                .await
                .map_err(failure)?;
        }
        let report = AdoptReport {
            action: "adopt",
            dry_run: !acts,
            cursors,
        };
        return arguments.output.print(&report, |report| match report.dry_run {
            true => format!("{cursors} cursors would be adopted\ndry run: nothing was changed\n"),
            false => format!("{cursors} cursors adopted\n"),
        });
    }

    note("reading the log once for each place at which cursors stand");
    let mut rebased = match rebase::rebase(&mut connection, &silent, first).await {
        Err(error @ RebaseError::Nothing) => {
            let report = NothingReport { action: "nothing" };
            return arguments.output.print(&report, |_| format!("{error}\n"));
        }
        outcome => outcome.map_err(failure)?,
    };
    if asks {
        note(describe(&rebased, silent.len(), true).trim_end());
        acts = arguments.consent.ask(&format!("rewrite the log of {place}?"))?;
        rebased = rebase::rebase(&mut connection, &silent, Outcome::Keep)
            .await
            .map_err(failure)?;
    }
    let report = Report {
        action: "rebase",
        dry_run: !acts,
        rows: rebased.survey.rows,
        rows_to_rewrite: rebased.survey.rows_to_rewrite,
        log_bytes: rebased.survey.bytes,
        sequence_set_to: rebased.sequence_set_to,
        keys_mended: rebased.keys_mended,
        relays_forgotten: silent.len(),
        sinks: sinks(&rebased),
    };
    arguments
        .output
        .print(&report, |report| describe(&rebased, silent.len(), report.dry_run))
}

/// Makes sure that no relay lives. One that came with the dump stands still.
async fn watch(connection: &mut PgConnection) -> Result<Vec<Relay>, Failure> {
    let listed = relays::list(connection).await.map_err(Failure::of_database)?;
    if let Some(term) = listed.iter().map(|relay| relay.term).max() {
        note(&format!(
            "{} relays are on the list; watching for {} s whether one lives",
            listed.len(),
            term.as_secs_f32().ceil()
        ));
    }
    match relays::watch(connection, Concerned::All)
        .await
        .map_err(Failure::of_database)?
    {
        Watched::Silent(silent) => Ok(silent),
        Watched::Alive(relay) => Err(failure(RebaseError::Lives(relay))),
    }
}

fn sinks(rebased: &Rebased) -> Vec<SinkReport> {
    let report = |sink: &rebase::SinkSurvey| SinkReport {
        sink: sink.sink.clone(),
        from: sink.first_unpublished.values().copied().flatten().min(),
        to_publish_at_most: sink.to_publish,
    };
    rebased.survey.sinks.iter().map(report).collect()
}

fn describe(rebased: &Rebased, forgotten: usize, dry_run: bool) -> String {
    let survey = &rebased.survey;
    let mut table = Table::new(&["SINK", "#GOES ON FROM", "#TO PUBLISH AT MOST"]);
    for sink in sinks(rebased) {
        let from = sink
            .from
            .map_or_else(|| "the log's end".to_owned(), |from| from.to_string());
        table.row([sink.sink, from, sink.to_publish_at_most.to_string()]);
    }
    let will = if dry_run { "would be" } else { "were" };
    let mut text = lines(&table);
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!(
        "{} of {} rows {will} rewritten; the log uses {}, and a rewrite takes up to as much again, on disk and as WAL",
        survey.rows_to_rewrite,
        survey.rows,
        size(survey.bytes)
    ));
    if let Some(to) = rebased.sequence_set_to {
        line(format!("the sequence was behind the log and {will} set to {to}"));
    }
    if rebased.keys_mended > 0 {
        line(format!(
            "{} keys' counters were behind their events and {will} raised",
            rebased.keys_mended
        ));
    }
    if forgotten > 0 {
        line(format!("{forgotten} relays that do not live {will} taken off the list"));
    }
    if dry_run {
        line("dry run: nothing was changed".to_owned());
    } else {
        line("relays may start. When it suits: vacuum (analyze) oncebox.event; reindex index concurrently oncebox.event_xid".to_owned());
    }
    text
}

fn failure(error: RebaseError) -> Failure {
    match error {
        RebaseError::Nothing | RebaseError::Lives(_) | RebaseError::Subscribed(_) | RebaseError::NotInPlace => {
            refused(error.to_string())
        }
        RebaseError::Database(error) => Failure::of_database(error),
    }
}
