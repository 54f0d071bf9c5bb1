//! The relays that run, as a person or a command sees them.

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

/// How often beats are looked at while watching.
const LOOK: Duration = Duration::from_millis(100);
/// Longest that beats are watched, whatever a row says of its term.
const LONGEST_WATCH: Duration = Duration::from_secs(600);

/// A row of `oncebox.relay`. The JSON's field names are these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Relay {
    /// Its id, which cursors name as owner.
    pub id: String,
    /// The sinks that it is configured with.
    pub sinks: Vec<String>,
    /// Those of them whose target it has not found yet.
    pub waiting: Vec<String>,
    /// Its counter.
    #[serde(skip)]
    pub beat: i64,
    /// How long it may publish after a beat.
    #[serde(skip)]
    pub term: Duration,
    /// Whether its last beat is younger than its term, by the database's clock. For people: no
    /// decision rests on it.
    pub alive: bool,
    /// Seconds since its last beat, by the database's clock.
    pub beat_age_secs: i64,
    /// Seconds since it started, by the database's clock.
    pub uptime_secs: i64,
}

/// All relays on the list, by id.
///
/// # Errors
/// Whatever the database says.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Relay>, sqlx::Error> {
    let rows = sqlx::query(
        "select id, sinks, waiting, beat, term_ms,
                extract(epoch from clock_timestamp() - beat_at) * 1000 <= term_ms as alive,
                extract(epoch from clock_timestamp() - beat_at)::bigint as beat_age_secs,
                extract(epoch from clock_timestamp() - started_at)::bigint as uptime_secs
         from oncebox.relay order by id",
    )
    .fetch_all(connection)
    .await?;
    let decode = |row: &sqlx::postgres::PgRow| {
        let term_ms: i64 = row.try_get("term_ms")?;
        Ok(Relay {
            id: row.try_get("id")?,
            sinks: row.try_get("sinks")?,
            waiting: row.try_get("waiting")?,
            beat: row.try_get("beat")?,
            term: Duration::from_millis(term_ms.unsigned_abs()),
            alive: row.try_get("alive")?,
            beat_age_secs: row.try_get("beat_age_secs")?,
            uptime_secs: row.try_get("uptime_secs")?,
        })
    };
    rows.iter().map(decode).collect()
}

/// What watching has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// This relay has beaten, or has just joined.
    Alive(String),
    /// Each of these rows has stood still for its term: who left it there may not publish any more.
    Silent(Vec<Relay>),
}

/// Which relays a command has to do with.
#[derive(Debug, Clone, Copy)]
pub enum Concerned<'a> {
    /// All.
    All,
    /// Those that have one of these sinks, and the owners of their cursors.
    Sinks {
        /// The sinks.
        sinks: &'a [&'a str],
        /// The owners.
        owners: &'a [String],
    },
}

/// Watches the relays on the list for the longest of their terms, measured by this process's clock.
/// Returns at once when there are none.
///
/// # Errors
/// Whatever the database says.
///
/// # Cancel safety
/// Reads only.
pub async fn watch(connection: &mut PgConnection, among: Concerned<'_>) -> Result<Watched, sqlx::Error> {
    let begin = Instant::now();
    let first = among.of(list(connection).await?);
    let term = first.iter().map(|relay| relay.term).max().unwrap_or_default();
    let term = term.min(LONGEST_WATCH);
    while begin.elapsed() < term {
        tokio::time::sleep(LOOK).await;
        let now = among.of(list(connection).await?);
        if let Some(relay) = beaten(&first, &now) {
            return Ok(Watched::Alive(relay));
        }
    }
    Ok(Watched::Silent(first))
}

/// A relay that has beaten or joined since these were found silent: for the transaction that relies
/// on their silence, which may come long after.
///
/// # Errors
/// Whatever the database says.
pub async fn lives_after_all(
    connection: &mut PgConnection,
    silent: &[Relay],
    among: Concerned<'_>,
) -> Result<Option<String>, sqlx::Error> {
    Ok(beaten(silent, &among.of(list(connection).await?)))
}

impl Concerned<'_> {
    /// Those of `relays`.
    #[must_use]
    pub fn of(self, mut relays: Vec<Relay>) -> Vec<Relay> {
        if let Self::Sinks { sinks, owners } = self {
            let has_one = |relay: &Relay| relay.sinks.iter().any(|name| sinks.contains(&name.as_str()));
            relays.retain(|relay| has_one(relay) || owners.contains(&relay.id));
        }
        relays
    }
}

/// A relay that has another beat than before, or that was not there.
fn beaten(before: &[Relay], now: &[Relay]) -> Option<String> {
    let is_as_before = |relay: &Relay| {
        before
            .iter()
            .any(|other| other.id == relay.id && other.beat == relay.beat)
    };
    now.iter()
        .find(|relay| !is_as_before(relay))
        .map(|relay| relay.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(id: &str, beat: i64) -> Relay {
        Relay {
            id: id.to_owned(),
            sinks: Vec::new(),
            waiting: Vec::new(),
            beat,
            term: Duration::from_secs(1),
            alive: true,
            beat_age_secs: 0,
            uptime_secs: 0,
        }
    }

    #[test]
    fn a_relay_has_beaten_when_its_number_differs_or_it_is_new() {
        let before = [relay("a", 1), relay("b", 1)];
        assert_eq!(beaten(&before, &before), None);
        assert_eq!(beaten(&before, &[relay("a", 1)]), None, "one that left does not live");
        assert_eq!(beaten(&before, &[relay("a", 1), relay("b", 2)]), Some("b".to_owned()));
        assert_eq!(beaten(&before, &[relay("c", 0)]), Some("c".to_owned()));
    }

    #[test]
    fn a_sinks_relays_are_those_that_have_it_and_those_that_own_its_cursors() {
        let with = |id: &str, sinks: &[&str]| Relay {
            sinks: sinks.iter().map(|sink| (*sink).to_owned()).collect(),
            ..relay(id, 1)
        };
        let all = vec![with("has", &["s"]), with("owns", &["t"]), with("neither", &["t"])];
        let among = Concerned::Sinks {
            sinks: &["s", "u"],
            owners: &["owns".to_owned()],
        };
        let ids: Vec<String> = among.of(all.clone()).into_iter().map(|relay| relay.id).collect();
        assert_eq!(ids, ["has", "owns"]);
        assert_eq!(Concerned::All.of(all).len(), 3);
    }
}
