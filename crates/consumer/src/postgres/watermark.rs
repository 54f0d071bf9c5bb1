//! `oncebox.watermark`: how far a consumer with a gap guard has come within a key, one row for each.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::PgConnection;

use crate::gap_guard::Watermark;

type Row = (i64, i64, String, Vec<u8>, Vec<i64>, Option<i64>);

/// The watermark of a key, which nobody else moves before this transaction ends; waits for whoever is about to.
///
/// Where there is none, nothing is locked: [`write()`] tells whether somebody else was first.
pub(crate) async fn lock(tx: &mut PgConnection, consumer: &str, key: &str) -> Result<Option<Watermark>, sqlx::Error> {
    let select = "SELECT last, first, own, recent, missed, (extract(epoch from moved_at) * 1000)::bigint \
        FROM oncebox.watermark WHERE consumer = $1 AND key = $2 FOR UPDATE";
    read(tx, select, consumer, key).await
}

/// As it is now.
#[cfg(feature = "operator")]
pub(crate) async fn look(tx: &mut PgConnection, consumer: &str, key: &str) -> Result<Option<Watermark>, sqlx::Error> {
    let select = "SELECT last, first, own, recent, missed, (extract(epoch from moved_at) * 1000)::bigint \
        FROM oncebox.watermark WHERE consumer = $1 AND key = $2";
    read(tx, select, consumer, key).await
}

async fn read(
    tx: &mut PgConnection,
    select: &'static str,
    consumer: &str,
    key: &str,
) -> Result<Option<Watermark>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(select)
        .bind(consumer)
        .bind(key)
        .fetch_optional(tx)
        .await?;
    let Some((last, first, own, recent, missed, moved_at)) = row else {
        return Ok(None);
    };
    let missed: BTreeSet<i64> = missed.into_iter().collect();
    let unreadable = || sqlx::Error::Decode("oncebox.watermark.recent".into());
    let moved_at = moved_at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let watermark = Watermark::stored(last, first, own, &recent, missed, moved_at);
    Ok(Some(watermark.ok_or_else(unreadable)?))
}

/// Writes `after` over `before`, which [`lock`] has returned. False where there was none, and somebody else has
/// made one meanwhile: nothing is written then.
pub(crate) async fn write(
    tx: &mut PgConnection,
    consumer: &str,
    key: &str,
    before: Option<&Watermark>,
    after: &Watermark,
) -> Result<bool, sqlx::Error> {
    let statement = match before {
        // Where another transaction has inserted the row and not ended yet, this waits for its end.
        None => {
            "INSERT INTO oncebox.watermark (consumer, key, last, first, own, recent, missed, moved_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, timestamptz 'epoch' + $8 * interval '1 millisecond') ON CONFLICT DO NOTHING"
        }
        Some(_) => {
            "UPDATE oncebox.watermark SET last = $3, first = $4, own = $5, recent = $6, missed = $7, \
             moved_at = timestamptz 'epoch' + $8 * interval '1 millisecond' WHERE consumer = $1 AND key = $2"
        }
    };
    let missed: Vec<i64> = after.missed.iter().copied().collect();
    let written = sqlx::query(statement)
        .bind(consumer)
        .bind(key)
        .bind(after.last)
        .bind(after.first)
        .bind(&after.own)
        .bind(after.recent_bytes())
        .bind(missed)
        .bind(after.moved_at.map(Timestamp::as_millisecond))
        .execute(tx)
        .await?;
    Ok(written.rows_affected() == 1)
}
