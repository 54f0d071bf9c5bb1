//! `oncebox-consumer record`: what the dedupe record of an event says.

use clap::{Args, Subcommand};
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

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Action::Show { tables, event, output } = arguments.action;
    let Some(record) = tables.open().await.record(event).await? else {
        let consumer = tables.consumer();
        let problem = format!("consumer {consumer} has no record of event {event}; behind a gap guard see `gap show`");
        return Err(Failure::refused(problem));
    };
    let report = Report {
        consumer: tables.consumer(),
        event_id: event.to_string(),
        state: record.state,
        owner: record.owner,
        fence: record.fence,
        beat: record.beat,
        lease_ms: record.lease.and_then(|lease| u64::try_from(lease.as_millis()).ok()),
        has_response: record.has_response,
        expires: record.expires.map(|expires| expires.to_string()),
    };
    output.print(&report, text)
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
