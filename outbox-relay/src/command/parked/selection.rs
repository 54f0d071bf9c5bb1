//! The filters, as they are written on the command line.

use clap::Args;
use sqlx::PgConnection;
use uuid::Uuid;

use super::usage;
use crate::{
    command::Failure,
    config::pattern,
    parked::{
        filter::{Filter, State},
        listing,
    },
};

/// Which events. Repeat an option, or write a list with commas where that is said, to select by any
/// of the values; different options must all be met.
#[derive(Debug, Clone, Args)]
pub(super) struct Selected {
    /// Of this sink.
    #[arg(long, value_name = "NAME")]
    sink: Vec<String>,
    /// With this ordering key.
    #[arg(long)]
    key: Vec<String>,
    /// Of this type; `*` is any text, `?` one character.
    #[arg(long = "type", value_name = "GLOB")]
    event_type: Vec<String>,
    /// Of this tenant.
    #[arg(long)]
    tenant: Vec<String>,
    /// Parked for this reason: a class (permanent, oversize, invalid, follows) or the target's code.
    #[arg(long, value_name = "CLASS|CODE")]
    reason: Vec<String>,
    /// With this id; a list with commas too.
    #[arg(long, value_delimiter = ',')]
    id: Vec<Uuid>,
    /// At this position in the log; a list with commas too.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    seq: Vec<i64>,
    /// In this state.
    #[arg(long, value_enum)]
    state: Option<StateWord>,
    /// Print at most so many events, 1 to 100000. Changes are about all that are selected.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000), allow_negative_numbers = true)]
    limit: i64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum StateWord {
    Parked,
    Retry,
}

impl Selected {
    pub(super) fn limit(&self) -> i64 {
        self.limit
    }

    /// Whether single events are named, so that finding none is an error.
    pub(super) fn names_events(&self) -> bool {
        !self.id.is_empty() || !self.seq.is_empty()
    }

    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let types = self.event_type.iter().map(|glob| pattern::like(glob));
        let types: Result<Vec<String>, &str> = types.collect();
        Ok(Filter {
            sinks: self.sink.clone(),
            keys: self.key.clone(),
            types: types.map_err(|problem| usage(format!("--type: {problem}")))?,
            tenants: self.tenant.clone(),
            reasons: self.reason.clone(),
            ids: self.id.clone(),
            seqs: self.seq.clone(),
            state: self.state.map(|word| match word {
                StateWord::Parked => State::Parked,
                StateWord::Retry => State::Retry,
            }),
        })
    }

    /// Fails on a sink that nobody has heard of: a name that is misspelt must not look like "nothing
    /// is parked".
    pub(super) async fn check_sinks(
        &self,
        connection: &mut PgConnection,
        configured: Option<&[String]>,
    ) -> Result<(), Failure> {
        if self.sink.is_empty() {
            return Ok(());
        }
        let known = listing::sinks(connection).await.map_err(Failure::of_database)?;
        check_known(&self.sink, known, configured)
    }
}

/// Whether all `named` sinks are known, from the database or the configuration.
pub(in crate::command) fn check_known(
    named: &[String],
    mut known: Vec<String>,
    configured: Option<&[String]>,
) -> Result<(), Failure> {
    known.extend(configured.unwrap_or_default().iter().cloned());
    known.sort();
    known.dedup();
    match named.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) if known.is_empty() => Err(usage(format!("there is no sink `{name}`; no relay has run yet"))),
        Some(name) => Err(usage(format!(
            "there is no sink `{name}`; there are: {}",
            known.join(", ")
        ))),
    }
}
