//! `parked edit`.

use std::io::Read as _;

use clap::Args;
use oncebox_command::Consent;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::usage;
use crate::{
    command::{
        Failure, FailureKind,
        connection::{DatabaseArguments, Opened},
        output::{Output, note},
        parked::selection::check_known,
    },
    parked::{
        change::Outcome,
        edit::{self, Edit, EditError, Edited, MAX_DATA_BYTES},
        listing,
    },
};

/// What `oncebox.enqueue` takes; targets take no more.
const ENQUEUE_MAX_BYTES: i64 = 1_000_000;

/// `outbox-relay parked edit …`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// The sink whose copy is edited; other sinks and the log keep theirs.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// The event's id. It stays.
    #[arg(long)]
    id: Uuid,
    /// Its position, should several events have this id.
    #[arg(long)]
    seq: Option<i64>,
    /// A file with the new data, as JSON of at most 8 MiB; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    data: Option<String>,
    /// An attribute to set: name=text, or name:=JSON for a number or a boolean; `name=` removes it.
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
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
    seq: i64,
    id: Uuid,
    key: Option<String>,
    bytes_before: i64,
    bytes_after: i64,
    headers_changed: Vec<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    if arguments.data.is_none() && arguments.header.is_empty() {
        return Err(usage(
            "nothing to change; pass --data FILE or --header name=value".to_owned(),
        ));
    }
    arguments.consent.check()?;
    if arguments.data.as_deref() == Some("-") && !arguments.consent.is_given() && !arguments.consent.is_dry_run() {
        let problem = "standard input is the data, so nobody can be asked; pass --yes, or --dry-run first";
        return Err(usage(problem.to_owned()));
    }
    let headers = arguments.header.iter().map(|text| header(text));
    let wanted = Edit {
        headers: headers.collect::<Result<_, _>>()?,
        data: arguments.data.as_deref().map(read).transpose()?,
    };
    let Opened {
        mut connection,
        configured,
        place,
        ..
    } = arguments.database.open().await?;
    let known = listing::sinks(&mut connection).await.map_err(Failure::of_database)?;
    check_known(std::slice::from_ref(&arguments.sink), known, configured.as_deref())?;

    let (sink, id, seq) = (&arguments.sink, arguments.id, arguments.seq);
    let mut acts = arguments.consent.is_given();
    let first = if acts { Outcome::Keep } else { Outcome::Undo };
    let mut edited = edit::edit(&mut connection, sink, id, seq, &wanted, first)
        .await
        .map_err(failure)?;
    if !acts && !arguments.consent.is_dry_run() {
        note(&summary(&edited));
        acts = arguments
            .consent
            .ask(&format!("edit this event of sink {sink} in {place}?"))?;
        edited = edit::edit(&mut connection, sink, id, seq, &wanted, Outcome::Keep)
            .await
            .map_err(failure)?;
    }
    let report = Report {
        action: "edit",
        dry_run: !acts,
        sink: sink.clone(),
        seq: edited.seq,
        id,
        key: edited.key.clone(),
        bytes_before: edited.bytes_before,
        bytes_after: edited.bytes_after,
        headers_changed: edited.headers_changed.clone(),
    };
    arguments.output.print(&report, |report| {
        let next = match report.dry_run {
            true => "dry run: nothing was changed".to_owned(),
            false => format!("edited; `outbox-relay parked retry --sink {sink} --id {id}` sends it"),
        };
        format!("{}\n{next}\n", summary(&edited))
    })
}

/// What changes, without any content.
fn summary(edited: &Edited) -> String {
    let mut text = format!(
        "data: {} bytes before, {} after",
        edited.bytes_before, edited.bytes_after
    );
    if edited.bytes_after > ENQUEUE_MAX_BYTES {
        text.push_str("; that is more than any target takes");
    }
    if !edited.headers_changed.is_empty() {
        text.push_str("\nattributes changed: ");
        text.push_str(&edited.headers_changed.join(", "));
    }
    text
}

fn header(text: &str) -> Result<(String, Option<Value>), Failure> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(usage(format!("--header {text}: write name=value")));
    };
    if let Some(name) = name.strip_suffix(':') {
        let value = serde_json::from_str(value).map_err(|_| {
            usage(format!(
                "--header {name}: what follows := is no JSON; write a text with = instead"
            ))
        })?;
        return Ok((name.to_owned(), Some(value)));
    }
    let value = (!value.is_empty()).then(|| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// Reads the new data and makes sure that it is JSON; no error shows any of it.
fn read(path: &str) -> Result<String, Failure> {
    let limit = u64::try_from(MAX_DATA_BYTES).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    let outcome = match path {
        "-" => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    outcome.map_err(|error| usage(format!("--data {path}: cannot be read ({error})")))?;
    if bytes.len() > MAX_DATA_BYTES {
        return Err(usage(format!("--data {path}: is longer than {MAX_DATA_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| usage(format!("--data {path}: is no UTF-8 text")))?;
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(usage(format!("--data {path}: is no JSON: {error}"))),
    }
}

fn failure(error: EditError) -> Failure {
    match error {
        EditError::Header { .. } | EditError::Headers { .. } | EditError::Data(_) | EditError::Ambiguous { .. } => {
            Failure::new(FailureKind::Usage, error)
        }
        EditError::NotFound { .. } | EditError::InRetry { .. } => Failure::new(FailureKind::Runtime, error),
        EditError::Database(error) => Failure::of_database(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_header_is_a_text_json_or_removed() {
        assert_eq!(header("a=b=c").unwrap(), ("a".to_owned(), Some(json!("b=c"))));
        assert_eq!(header("n=7").unwrap(), ("n".to_owned(), Some(json!("7"))));
        assert_eq!(header("n:=7").unwrap(), ("n".to_owned(), Some(json!(7))));
        assert_eq!(header("gone=").unwrap(), ("gone".to_owned(), None));
        for bad in ["", "name", "n:=", "n:={", "n:=nope"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }
}
