//! Which events, as it is written on the command line.

use clap::Args;
use jiff::Timestamp;
use oncebox_envelope::Kind;
use uuid::Uuid;

use crate::{
    config::pattern,
    log::{Seq, page::Selection, replay::Wanted},
};

#[derive(Debug, Clone, Args)]
pub(super) struct Selected {
    /// Of this type; `*` is any text, `?` one character.
    #[arg(long = "type", value_name = "GLOB", value_parser = like)]
    types: Vec<String>,
    /// With this ordering key.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Of this tenant.
    #[arg(long = "tenant", value_name = "TENANT")]
    tenants: Vec<String>,
    /// Of this kind: event, command, query or reply.
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<String>,
    /// With this id; a list with commas too.
    #[arg(long = "event-id", value_name = "UUID", value_delimiter = ',')]
    ids: Vec<Uuid>,
    /// Of this time or later, like 2026-01-31T08:00:00Z; an event's time is its transaction's start.
    #[arg(long, value_name = "TIME", value_parser = micros, allow_hyphen_values = true)]
    from: Option<i64>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = micros, allow_hyphen_values = true)]
    to: Option<i64>,
    /// From this position of the log on: what a replay that was stopped says.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    from_seq: Option<Seq>,
    /// Up to this position of the log.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    to_seq: Option<Seq>,
}

impl Selected {
    /// The conditions, on top of what the sink wants.
    pub(super) fn wanted(&self, sink: Selection) -> Wanted {
        fn some<T: Clone>(values: &[T]) -> Option<Vec<T>> {
            (!values.is_empty()).then(|| values.to_vec())
        }
        Wanted {
            sink,
            types: some(&self.types),
            kinds: some(&self.kinds),
            tenants: some(&self.tenants),
            keys: some(&self.keys),
            ids: some(&self.ids),
            from_micros: self.from,
            to_micros: self.to,
        }
    }

    /// Nothing can lie between bounds that are the wrong way round; who writes them so means something else.
    ///
    /// # Errors
    /// Which option is at fault.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if matches!((self.from, self.to), (Some(from), Some(to)) if from >= to) {
            return Err("--to: this time is not after that of --from, so nothing lies between; are they swapped?");
        }
        if matches!((self.from_seq, self.to_seq), (Some(from), Some(to)) if from > to) {
            return Err(
                "--to-seq: this position is before that of --from-seq, so nothing lies between; are they swapped?",
            );
        }
        Ok(())
    }

    /// The first and the last position.
    pub(super) fn positions(&self) -> (Option<Seq>, Option<Seq>) {
        (self.from_seq, self.to_seq)
    }
}

fn like(glob: &str) -> Result<String, &'static str> {
    pattern::like(glob)
}

fn kind(word: &str) -> Result<String, String> {
    let kind: Result<Kind, _> = word.parse();
    kind.map(|kind| kind.to_string()).map_err(|error| error.to_string())
}

fn micros(text: &str) -> Result<i64, &'static str> {
    let time: Result<Timestamp, _> = text.parse();
    time.map(Timestamp::as_microsecond)
        .map_err(|_| "expected a time with its zone, like 2026-01-31T08:00:00Z, and none after 9999-12-30T22:00:00Z")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        selected: Selected,
    }

    fn parsed(words: &[&str]) -> Result<Selected, String> {
        let line = Line::try_parse_from([&["replay"], words].concat());
        line.map(|line| line.selected).map_err(|error| error.to_string())
    }

    #[test]
    fn bounds_that_are_swapped_are_refused() {
        let (early, late) = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        let check = |words: &[&str]| parsed(words).unwrap().check();
        assert_eq!(
            check(&["--from", early, "--to", late, "--from-seq", "3", "--to-seq", "3"]),
            Ok(())
        );
        assert!(
            check(&["--from", late, "--to", early])
                .unwrap_err()
                .starts_with("--to:")
        );
        assert!(
            check(&["--from", late, "--to", late]).unwrap_err().starts_with("--to:"),
            "it is before, not up to"
        );
        assert!(
            check(&["--from-seq", "9", "--to-seq", "3"])
                .unwrap_err()
                .starts_with("--to-seq:")
        );
    }

    #[test]
    fn what_begins_with_a_minus_is_a_value_and_the_error_names_its_option() {
        for option in ["--from", "--to", "--from-seq", "--to-seq"] {
            let error = parsed(&[option, "-1"]).unwrap_err();
            assert!(error.contains(&format!("invalid value '-1' for '{option}")), "{error}");
        }
    }

    #[test]
    fn times_have_a_zone_and_kinds_are_those_of_the_envelope() {
        assert_eq!(micros("1970-01-01T01:00:01+01:00"), Ok(1_000_000));
        assert!(micros("2026-01-31").is_err());
        assert_eq!(kind("command"), Ok("command".to_owned()));
        assert!(kind("commands").is_err());
    }
}
