//! `parked list` and `parked show`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Listed, nothing_found};
use crate::{
    command::{
        Failure,
        connection::Opened,
        output::{age, lines, note, time},
        table::{Table, clean},
    },
    parked::listing::{self, Details, ParkedEvent},
};

#[derive(Debug, Serialize)]
struct Listing {
    /// How many are selected in all.
    total: i64,
    events: Vec<ParkedEvent>,
}

pub(super) async fn list(listed: Listed) -> Result<(), Failure> {
    let filter = listed.selected.filter()?;
    let Opened {
        mut connection,
        configured,
        ..
    } = listed.database.open().await?;
    listed
        .selected
        .check_sinks(&mut connection, configured.as_deref())
        .await?;
    let found = listing::list(&mut connection, &filter, listed.selected.limit()).await;
    let (events, total) = found.map_err(Failure::of_database)?;
    listed.output.print(&Listing { total, events }, |listing| {
        if listing.total == 0 {
            return "no parked events\n".to_owned();
        }
        let mut text = table(&listing.events);
        let shown = i64::try_from(listing.events.len()).unwrap_or(i64::MAX);
        if shown < listing.total {
            let _ = writeln!(text, "{shown} of {}; --limit shows more", listing.total);
        }
        text
    })
}

/// The table of a list.
pub(super) fn table(events: &[ParkedEvent]) -> String {
    let mut table = Table::new(&[
        "SINK",
        "#SEQ",
        "ID",
        "TYPE",
        "KEY",
        "STATE",
        "CLASS",
        "CODE",
        "REASON",
        "#ATTEMPTS",
        "AGE",
    ]);
    for event in events {
        let event = event.clone();
        table.row([
            event.sink,
            event.seq.to_string(),
            event.id.to_string(),
            event.event_type,
            event.key.unwrap_or_default(),
            event.state,
            event.class,
            event.code,
            event.reason,
            event.attempts.to_string(),
            age(event.age_secs),
        ]);
    }
    lines(&table)
}

#[derive(Debug, Serialize)]
struct Shown {
    events: Vec<ShownEvent>,
}

#[derive(Debug, Serialize)]
struct ShownEvent {
    #[serde(flatten)]
    details: Details,
    time: String,
    parked_at: String,
    edited_at: Option<String>,
}

pub(super) async fn show(listed: Listed, with_data: bool) -> Result<(), Failure> {
    let filter = listed.selected.filter()?;
    let Opened {
        mut connection,
        configured,
        ..
    } = listed.database.open().await?;
    listed
        .selected
        .check_sinks(&mut connection, configured.as_deref())
        .await?;
    let limit = listed.selected.limit();
    let found = listing::details(&mut connection, &filter, with_data, limit).await;
    let found = found.map_err(Failure::of_database)?;
    if found.is_empty() {
        return Err(nothing_found());
    }
    if i64::try_from(found.len()) == Ok(limit) {
        note(&format!("the first {limit}; --limit shows more"));
    }
    let events = found.into_iter().map(|details| ShownEvent {
        time: time(details.time_micros),
        parked_at: time(details.parked_micros),
        edited_at: details.edited_micros.map(time),
        details,
    });
    let events = events.collect();
    listed.output.print(&Shown { events }, |shown| {
        let blocks: Vec<String> = shown.events.iter().map(block).collect();
        blocks.join("\n")
    })
}

fn block(shown: &ShownEvent) -> String {
    let (details, event) = (&shown.details, &shown.details.event);
    let headers = details.headers.to_string();
    let (seq, id, shard) = (event.seq.to_string(), event.id.to_string(), details.shard.to_string());
    let (attempts, bytes) = (event.attempts.to_string(), details.data_bytes.to_string());
    let sequence = details
        .sequence
        .map(|sequence| sequence.to_string())
        .unwrap_or_default();
    let fields = [
        ("sink", event.sink.as_str()),
        ("seq", &seq),
        ("id", &id),
        ("type", &event.event_type),
        ("kind", &details.kind),
        ("key", event.key.as_deref().unwrap_or_default()),
        ("sequence", &sequence),
        ("tenant", &event.tenant),
        ("source", &details.source),
        ("time", &shown.time),
        ("headers", &headers),
        ("shard", &shard),
        ("state", &event.state),
        ("class", &event.class),
        ("code", &event.code),
        ("reason", &event.reason),
        ("attempts", &attempts),
        ("parked at", &shown.parked_at),
        ("edited at", shown.edited_at.as_deref().unwrap_or_default()),
        ("data bytes", &bytes),
    ];
    let mut text = String::new();
    for (name, value) in fields {
        let _ = writeln!(text, "{:<12}{}", format!("{name}:"), clean(value, None));
    }
    if let Some(data) = &details.data {
        let _ = writeln!(text, "{:<12}{}", "data:", clean(data.get(), None));
    }
    text
}
