//! `cursor reset`.

use clap::Args;
use jiff::Timestamp;
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
    log::moving::{self, Destination, Found, MoveError, Moved},
    parked::{change::Outcome, listing},
};

/// `outbox-relay cursor reset …`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// The sink.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// `beginning` of the log; `now`: behind all that is committed; a position: what lies at or below it
    /// counts as published; or a time like 2026-01-31T08:00:00Z: before the first event of that time or
    /// later.
    #[arg(long, value_parser = destination, allow_hyphen_values = true)]
    to: Destination,
    /// Only this shard, 0 to 15; may be repeated.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(i16).range(0..=15), allow_negative_numbers = true)]
    shard: Vec<i16>,
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
    shards: Vec<i16>,
    from: i64,
    to: i64,
    sent_again_about: i64,
    passed_by_about: i64,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments.consent.check()?;
    let Opened {
        mut connection,
        configured,
        place,
        ..
    } = arguments.database.open().await?;
    let known = listing::sinks(&mut connection).await.map_err(Failure::of_database)?;
    check_known(std::slice::from_ref(&arguments.sink), known, configured.as_deref())?;

    if matches!(arguments.to, Destination::Since(_)) {
        note("reading the log up to the first event of that time");
    }
    let to = moving::find(&mut connection, arguments.to).await.map_err(failure)?;
    let mut acts = arguments.consent.is_given();
    let first = if acts { Outcome::Keep } else { Outcome::Undo };
    let mut moved = reset(&mut connection, &arguments, &to, first).await?;
    if !acts && !arguments.consent.is_dry_run() {
        note(&describe(&moved, "would stand"));
        acts = arguments
            .consent
            .ask(&format!("move sink {} in {place}?", arguments.sink))?;
        moved = reset(&mut connection, &arguments, &to, Outcome::Keep).await?;
    }
    let report = Report {
        action: "reset",
        dry_run: !acts,
        sink: arguments.sink.clone(),
        shards: moved.shards.clone(),
        from: moved.from,
        to: moved.to,
        sent_again_about: moved.again,
        passed_by_about: moved.passed_by,
    };
    arguments.output.print(&report, |report| match report.dry_run {
        true => describe(&moved, "would stand") + "\ndry run: nothing was changed\n",
        false => describe(&moved, "stands") + "\na running relay goes on from there within seconds\n",
    })
}

async fn reset(
    connection: &mut PgConnection,
    arguments: &Arguments,
    to: &Found,
    outcome: Outcome,
) -> Result<Moved, Failure> {
    let moved = moving::reset(connection, &arguments.sink, &arguments.shard, to, outcome).await;
    moved.map_err(failure)
}

/// What a failed move means for the exit code.
pub(super) fn failure(error: MoveError) -> Failure {
    match error {
        MoveError::BeyondTheEnd { .. } | MoveError::NoCursor { .. } => Failure::new(FailureKind::Usage, error),
        MoveError::Foreign { .. } | MoveError::Lives { .. } | MoveError::Parked { .. } => refused(error.to_string()),
        MoveError::Database(error) => Failure::of_database(error),
    }
}

fn describe(moved: &Moved, stands: &str) -> String {
    let shards = match moved.shards.len() {
        16 => "all 16 shards".to_owned(),
        1 => "1 shard".to_owned(),
        n => format!("{n} shards"),
    };
    format!(
        "{shards}: stood at position {} or above, {stands} at {}; about {} events are sent again, about {} are passed by \
         (fewer with a filter)",
        moved.from, moved.to, moved.again, moved.passed_by
    )
}

fn destination(text: &str) -> Result<Destination, String> {
    match text {
        "beginning" => return Ok(Destination::Beginning),
        "now" => return Ok(Destination::Now),
        _ => {}
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        return text
            .parse()
            .map(Destination::Behind)
            .map_err(|_| "the position is too large".to_owned());
    }
    let time: Result<Timestamp, _> = text.parse();
    time.map(|time| Destination::Since(time.as_microsecond())).map_err(|_| {
        "expected `beginning`, `now`, a position, or a time with its zone like 2026-01-31T08:00:00Z, and none after 9999-12-30T22:00:00Z"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_word_a_position_or_a_time() {
        assert_eq!(destination("beginning"), Ok(Destination::Beginning));
        assert_eq!(destination("now"), Ok(Destination::Now));
        assert_eq!(destination("0"), Ok(Destination::Behind(0)));
        assert_eq!(destination("17"), Ok(Destination::Behind(17)));
        assert_eq!(
            destination("1970-01-01T01:00:01+01:00"),
            Ok(Destination::Since(1_000_000))
        );
        for bad in [
            "",
            "-1",
            "+1",
            "1.5",
            "end",
            "99999999999999999999",
            "2026-01-31",
            "2026-13-01T00:00:00Z",
        ] {
            assert!(destination(bad).is_err(), "{bad}");
        }
    }
}
