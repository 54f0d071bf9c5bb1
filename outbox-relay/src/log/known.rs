//! The sinks that have cursors, as a relay sees them when it starts and while it runs.

use sqlx::{Error, Row as _, postgres::PgRow};

use super::Seq;
use crate::database::{session::Session, statement::statement};

/// A sink that has cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSink {
    /// Its name.
    pub name: String,
    /// The position of the shard that is furthest behind.
    pub position: Seq,
    /// Positions of the log behind that; its filter is not applied, so at most so many events.
    pub behind: i64,
    /// Seconds since a cursor of it was last written, by the database's clock.
    pub written_secs: i64,
    /// Whether a relay is configured with it whose last beat is younger than its term. For people and
    /// metrics: no decision rests on it.
    pub is_run: bool,
}

/// All of them, by name.
///
/// # Errors
/// Whatever the database says.
///
/// # Cancel safety
/// Reads only; the session is then not to be used again.
pub async fn list(session: &mut Session) -> Result<Vec<KnownSink>, Error> {
    let rows = statement(
        "select c.sink, c.position, greatest(s.log_end - c.position, 0) as behind, c.written_secs,
                exists (select from oncebox.relay r where c.sink = any (r.sinks)
                         and extract(epoch from clock_timestamp() - r.beat_at) * 1000 <= r.term_ms) as is_run
           from (select sink, min(greatest(base_seq, case when target is null then 0 else position end)) as position,
                        extract(epoch from clock_timestamp() - max(updated_at))::bigint as written_secs
                   from oncebox.cursor group by sink) c,
                (select case when is_called then last_value else 0 end from oncebox.event_seq) s (log_end)
          order by c.sink",
    )
    .fetch_all(session)
    .await?;
    let decode = |row: &PgRow| {
        Ok(KnownSink {
            name: row.try_get("sink")?,
            position: row.try_get("position")?,
            behind: row.try_get("behind")?,
            written_secs: row.try_get("written_secs")?,
            is_run: row.try_get("is_run")?,
        })
    };
    rows.iter().map(decode).collect()
}

/// Those that hold the log and that nobody publishes: no relay runs them, nor is this one configured
/// with them.
#[must_use]
pub fn abandoned(mut known: Vec<KnownSink>, configured: &[String]) -> Vec<KnownSink> {
    known.retain(|sink| !sink.is_run && !configured.contains(&sink.name));
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_abandoned_when_nobody_runs_it_and_it_is_not_configured_here() {
        let sink = |name: &str, is_run| KnownSink {
            name: name.to_owned(),
            position: 1,
            behind: 2,
            written_secs: 3,
            is_run,
        };
        // This relay may have begun a moment ago and not stand on the list yet.
        let known = vec![sink("elsewhere", true), sink("here", false), sink("old", false)];
        let found = abandoned(known, &["here".to_owned(), "new".to_owned()]);
        assert_eq!(found, [sink("old", false)]);
    }
}
