//! `oncebox-consumer record`: what the dedupe record of an event says, and saying how an attempt has ended.

use clap::{Args, Subcommand, ValueEnum};
use oncebox_command::Consent;
use oncebox_consumer::operator::{RecordStanding, Resolution};
use oncebox_envelope::EventId;
use serde::Serialize;

use crate::{failure::Failure, output::Output, tables::Tables};

/// `oncebox-consumer record …`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what the record of an event says: its state, who wrote it, its lease and until when it counts.
    ///
    /// Behind a gap guard, numbered events have no record of their own: see `gap show`.
    ///
    /// Exit codes: 0 done; 1 there is no record; 2 wrong usage; 3 the table cannot be reached or read.
    #[command(verbatim_doc_comment)]
    Show {
        #[command(flatten)]
        tables: Tables,
        /// The event's id.
        #[arg(value_name = "EVENT_ID")]
        event: EventId,
        #[command(flatten)]
        output: Output,
    },
    /// Say how an attempt in mode `leased` has ended of which nobody knew (state `unknown`), once you have found out.
    ///
    /// A handler that parks sets an event with an unknown end aside, and every copy of it with it (reason
    /// `unknown_outcome`). Look at its receiver, say here whether the effect has happened, then redrive the dead letter.
    ///
    /// Exit codes: 0 done, or told by a dry run; 1 refused or not confirmed: there is no record, its end is known, or it was
    /// changed meanwhile, and nothing was changed; 2 wrong usage; 3 the table cannot be reached, read or written: nothing was
    /// changed, unless the message says that this is not known.
    #[command(verbatim_doc_comment)]
    Resolve {
        #[command(flatten)]
        tables: Tables,
        /// The event's id.
        #[arg(value_name = "EVENT_ID")]
        event: EventId,
        /// How it has ended.
        #[arg(long = "as", value_name = "STATE")]
        state: State,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        output: Output,
    },
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// The effect has happened: what comes again is a duplicate.
    Done,
    /// It has not: the next delivery tries again.
    Released,
}

/// The report of `resolve` as JSON.
#[derive(Debug, Serialize)]
struct Resolved<'a> {
    action: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    record: Report<'a>,
    /// What it was resolved as, or would be.
    resolved: &'static str,
}

/// The report as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    consumer: &'a str,
    event_id: String,
    state: String,
    owner: String,
    fence: Option<u64>,
    beat: Option<u64>,
    lease_ms: Option<u64>,
    has_response: bool,
    /// RFC 3339; `null` where it counts for good.
    expires: Option<String>,
}

impl<'a> Report<'a> {
    fn of(tables: &'a Tables, event: EventId, record: RecordStanding) -> Self {
        Self {
            consumer: tables.consumer(),
            event_id: event.to_string(),
            state: record.state,
            owner: record.owner,
            fence: record.fence,
            beat: record.beat,
            lease_ms: record.lease.and_then(|lease| u64::try_from(lease.as_millis()).ok()),
            has_response: record.has_response,
            expires: record.expires.map(|expires| expires.to_string()),
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Show { tables, event, output } => {
            let record = tables.open().await.record(event).await?;
            let record = record.ok_or_else(|| no_record(&tables, event))?;
            output.print(&Report::of(&tables, event, record), text)
        }
        Action::Resolve {
            tables,
            event,
            state,
            consent,
            output,
        } => {
            consent.check()?;
            let operator = tables.open().await;
            let seen = operator.record(event).await?.ok_or_else(|| no_record(&tables, event))?;
            if seen.state != "unknown" {
                let problem = format!(
                    "the state of its record is `{}`, and only `unknown` is for a person to resolve; nothing was changed",
                    seen.state
                );
                return Err(Failure::refused(problem));
            }
            let (resolution, name, means) = match state {
                State::Done => (
                    Resolution::Done,
                    "done",
                    "its effect has happened; copies are duplicates",
                ),
                State::Released => (
                    Resolution::Released,
                    "released",
                    "its effect has not happened; the next delivery tries again",
                ),
            };
            let before = text(&Report::of(&tables, event, seen.clone()));
            let acts = consent.ask(&format!("{before}\nset it to `{name}` ({means})?"))?;
            let after = match acts {
                true => operator.resolve(event, resolution, &seen).await?,
                false => seen,
            };
            let resolved = Resolved {
                action: "resolve",
                dry_run: !acts,
                record: Report::of(&tables, event, after),
                resolved: name,
            };
            output.print(&resolved, |resolved| {
                let end = match resolved.dry_run {
                    true => format!("it would be set to `{name}`\ndry run: nothing was changed"),
                    false => format!("{means}; now redrive its dead letter"),
                };
                format!("{}\n{end}", text(&resolved.record))
            })
        }
    }
}

fn no_record(tables: &Tables, event: EventId) -> Failure {
    let consumer = tables.consumer();
    let problem = format!("consumer {consumer} has no record of event {event}; behind a gap guard see `gap show`");
    Failure::refused(problem)
}

fn text(report: &Report<'_>) -> String {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let lines = [
        ("consumer", Some(report.consumer.to_owned())),
        ("event", Some(report.event_id.clone())),
        ("state", Some(report.state.clone())),
        ("owner", Some(report.owner.clone())),
        ("fence", number(report.fence)),
        ("beat", number(report.beat)),
        ("lease", report.lease_ms.map(|millis| format!("{millis} ms"))),
        ("response", report.has_response.then(|| "kept".to_owned())),
        ("expires", report.expires.clone()),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let lines: Vec<String> = lines.map(|(name, value)| format!("{name:<9} {value}")).collect();
    lines.join("\n")
}
