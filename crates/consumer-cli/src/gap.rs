//! `oncebox-consumer gap`: where a key stands, and passing by an event that is lost.

use std::{collections::BTreeSet, fmt::Write as _};

use clap::{Args, Subcommand};
use oncebox_command::Consent;
use oncebox_consumer::operator::KeyStanding;
use serde::Serialize;

use crate::{
    failure::Failure,
    output::{Output, clean},
    watermarks,
};

/// `oncebox-consumer gap …`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show how far the consumer has come within a key, what it waits for and what was passed by.
    Show(Named),
    /// Pass by the event that a key waits for, because it is lost.
    ///
    /// Those that are held behind it go on at their next delivery. If it comes after all, it has its effect then: late,
    /// and once. Before you skip, look for it: in the consumer's dead-letter queue, and among the events that the relay
    /// has parked (`outbox-relay parked list --key …`).
    ///
    /// Exit codes: 0 done, or told by a dry run; 1 refused or not confirmed: the key waits for another one, or the
    /// consumer has gone on meanwhile, and nothing was changed; 2 wrong usage; 3 the table cannot be reached, read or
    /// written: nothing was changed, unless the message says that this is not known.
    #[command(verbatim_doc_comment)]
    Skip {
        #[command(flatten)]
        named: Named,
        /// The sequence of the event that is lost, as the reason of the held event names it.
        #[arg(long, value_name = "NUMBER")]
        sequence: i64,
        #[command(flatten)]
        consent: Consent,
    },
    /// Give up events that were passed by: set aside, or skipped.
    ///
    /// A consumer remembers a thousand of a key, so that each has its effect when it is redriven; when that many are there, no
    /// other can be passed by. One that is given up is a duplicate from then on: if it comes after all, it has no effect.
    /// Redrive what is worth it before.
    ///
    /// Exit codes: as of `gap skip`.
    #[command(verbatim_doc_comment)]
    Forget {
        #[command(flatten)]
        named: Named,
        /// The sequence of one of them; may be repeated.
        #[arg(long, value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
        sequence: Vec<i64>,
        /// All of them.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The report of `forget` as JSON.
#[derive(Debug, Serialize)]
struct Forgotten<'a> {
    #[serde(flatten)]
    report: Report<'a>,
    /// What was given up, or would be.
    forgotten: BTreeSet<i64>,
}

#[derive(Debug, Args)]
struct Named {
    #[command(flatten)]
    watermarks: watermarks::Consumer,
    /// The key, as `partitionkey` says it.
    #[arg(long, short, value_name = "KEY")]
    key: String,
    #[command(flatten)]
    output: Output,
}

/// The report as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    action: &'static str,
    dry_run: bool,
    consumer: &'a str,
    key: &'a str,
    /// `null` where nothing is known of the key.
    last: Option<i64>,
    first: Option<i64>,
    /// RFC 3339.
    moved_at: Option<String>,
    awaited: i64,
    missed: Vec<i64>,
    /// What was skipped, or would be.
    skipped: Option<i64>,
}

impl<'a> Report<'a> {
    fn of(named: &'a Named, standing: KeyStanding, action: &'static str) -> Self {
        Self {
            action,
            dry_run: false,
            consumer: named.watermarks.consumer(),
            key: &named.key,
            last: standing.last,
            first: standing.first,
            moved_at: standing.moved_at.map(|at| at.to_string()),
            awaited: standing.awaited,
            missed: standing.missed,
            skipped: None,
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Show(named) => {
            let standing = named.watermarks.open().await?.key(&named.key).await?;
            named.output.print(&Report::of(&named, standing, "show"), text)
        }
        Action::Skip {
            named,
            sequence,
            consent,
        } => skip(&named, sequence, consent).await,
        Action::Forget {
            named,
            sequence,
            all,
            consent,
        } => forget(&named, (!all).then(|| sequence.into_iter().collect()), consent).await,
    }
}

async fn skip(named: &Named, sequence: i64, consent: Consent) -> Result<(), Failure> {
    consent.check()?;
    let operator = named.watermarks.open().await?;
    let seen = operator.key(&named.key).await?;
    if seen.awaited != sequence {
        let problem = format!(
            "the key waits for sequence {}, not for {sequence}; nothing was changed",
            seen.awaited
        );
        return Err(Failure::refused(problem));
    }
    let before = Report::of(named, seen.clone(), "skip");
    let acts = consent.ask(&format!("{}\nskip sequence {sequence} for good?", text(&before)))?;
    let after = match acts {
        true => operator.skip(&named.key, sequence, &seen).await?,
        false => seen,
    };
    let report = Report {
        dry_run: !acts,
        skipped: Some(sequence),
        ..Report::of(named, after, "skip")
    };
    named.output.print(&report, text)
}

/// Without sequences, all of them.
async fn forget(named: &Named, sequences: Option<BTreeSet<i64>>, consent: Consent) -> Result<(), Failure> {
    consent.check()?;
    let operator = named.watermarks.open().await?;
    let seen = operator.key(&named.key).await?;
    let missed: BTreeSet<i64> = seen.missed.iter().copied().collect();
    let forgotten = sequences.unwrap_or_else(|| missed.clone());
    if let Some(other) = forgotten.difference(&missed).next() {
        let problem = format!("sequence {other} was not passed by; nothing was changed");
        return Err(Failure::refused(problem));
    }
    if forgotten.is_empty() {
        return Err(Failure::refused(
            "nothing was passed by; nothing was changed".to_owned(),
        ));
    }
    let count = forgotten.len();
    let before = Report::of(named, seen.clone(), "forget");
    let acts = consent.ask(&format!("{}\ngive up {count} of them for good?", text(&before)))?;
    let after = match acts {
        true => operator.forget(&named.key, &forgotten, &seen).await?,
        false => seen,
    };
    let report = Report {
        dry_run: !acts,
        ..Report::of(named, after, "forget")
    };
    named.output.print(&Forgotten { report, forgotten }, |forgotten| {
        let end = match forgotten.report.dry_run {
            true => format!("{count} would be given up\ndry run: nothing was changed"),
            false => format!("{count} are given up; if one comes after all, it has no effect"),
        };
        format!("{}{end}", text(&forgotten.report))
    })
}

fn text(report: &Report<'_>) -> String {
    let mut text = format!("consumer {}, key {}: ", clean(report.consumer), clean(report.key));
    let _ = match report.last {
        Some(last) => {
            let moved = report
                .moved_at
                .as_ref()
                .map(|at| format!(" at {at}"))
                .unwrap_or_default();
            writeln!(text, "done up to sequence {last}{moved}, waits for {}", report.awaited)
        }
        None => writeln!(text, "nothing is known of it; a guard from one waits for 1"),
    };
    if !report.missed.is_empty() {
        let missed: Vec<String> = report.missed.iter().map(i64::to_string).collect();
        let _ = writeln!(text, "passed by without an effect: {}", missed.join(", "));
    }
    if let Some(skipped) = report.skipped {
        let _ = match report.dry_run {
            true => writeln!(
                text,
                "sequence {skipped} would be skipped\ndry run: nothing was changed"
            ),
            false => writeln!(
                text,
                "sequence {skipped} is skipped; what is held behind it goes on at its next delivery"
            ),
        };
    }
    text
}
