//! Whether this machine's clock and the database's agree.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::PgConnection;

use super::finding::{Area, Findings};

/// From here on ages and lags are told noticeably wrong.
const NOTICEABLE: Duration = Duration::from_secs(5);

/// Compares the two. No promise rests on them, but lags do, and AWS refuses requests whose time is some
/// minutes off (AWS general reference, "Signature Version 4": five).
pub(super) async fn check(connection: &mut PgConnection, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let asked = Instant::now();
    let micros: i64 = sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
        .fetch_one(connection)
        .await?;
    let took = asked.elapsed();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let there = Duration::from_micros(micros.unsigned_abs());
    match wrong(here, there, took) {
        None => findings.ok(Area::Database, "its clock and this machine's agree"),
        Some(text) => findings.warning(Area::Database, text),
    }
    Ok(())
}

/// What is wrong when it is `here` on this machine, and it was `there` at the database within the last
/// `took`.
fn wrong(here: Duration, there: Duration, took: Duration) -> Option<String> {
    let apart = here.abs_diff(there);
    if apart < NOTICEABLE + took {
        return None;
    }
    let (secs, direction) = (apart.as_secs(), if here > there { "ahead of" } else { "behind" });
    Some(format!(
        "this machine's clock is {secs} s {direction} the database's; lags and ages are told wrong, and AWS refuses \
         requests of a machine whose clock is five minutes off: set both by NTP"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_what_nobody_notices_and_by_the_questions_own_time() {
        let said = |here, there, took| {
            wrong(
                Duration::from_secs(here),
                Duration::from_secs(there),
                Duration::from_secs(took),
            )
        };
        assert_eq!(said(100, 96, 0), None);
        assert_eq!(said(96, 100, 0), None);
        assert!(said(100, 95, 0).is_some_and(|text| text.contains("5 s ahead of")));
        assert!(said(95, 100, 0).is_some_and(|text| text.contains("5 s behind")));
        assert_eq!(said(100, 90, 6), None, "a slow answer says nothing of clocks");
        assert!(said(3_700, 100, 6).is_some_and(|text| text.contains("3600 s") && text.contains("NTP")));
    }
}
