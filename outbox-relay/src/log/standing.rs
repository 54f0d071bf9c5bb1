//! How far sinks have published, without asking the relays.

use std::collections::HashMap;

use sqlx::{PgConnection, Row as _};

use super::{
    Seq, Xid,
    cursor::Horizon,
    store::{self, Place},
};

/// Positions of the log that are looked at row by row; beyond them positions are counted.
const SPAN: Seq = 20_000;

/// A row of `oncebox.cursor`.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The sink.
    pub sink: String,
    /// The shard, 0 to 15.
    pub shard: i16,
    /// Where it stands.
    pub place: Place,
    /// Its epoch.
    pub epoch: i64,
    /// The relay that holds it.
    pub owner: Option<String>,
    /// System identifier of the cluster whose transactions it counts.
    pub system_id: Option<i64>,
    /// When it was last written, microseconds since the Unix epoch.
    pub updated_micros: i64,
    /// Seconds since then, by the database's clock.
    pub age_secs: i64,
}

/// How much a shard has still to publish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Events that are not published, at most: those that the sink's filter leaves out count, and far
    /// from the place positions are counted instead of rows.
    pub events: i64,
    /// Age of the oldest of them in seconds, by the database's clock, where one was found nearby.
    pub oldest_secs: Option<i64>,
}

impl Place {
    /// The position up to which the place says that events are published; some before it may not be,
    /// of transactions that committed late.
    #[must_use]
    pub fn front(&self) -> Seq {
        let position = self.under_way.as_ref().map_or(0, |(_, position)| *position);
        self.base.seq.max(position)
    }

    /// Above this, rows that are not published may be of any transaction; up to it, only of those
    /// in [`Place::late_xids`] and [`Place::open_xids`].
    fn low(&self) -> Seq {
        match &self.under_way {
            Some((target, position)) => self.base.seq.max(target.seq_before.min(*position)),
            None => self.base.seq,
        }
    }

    /// Transactions that were running when the place's snapshots were taken and have ended by `now`.
    fn late_xids(&self, now: &Horizon) -> Vec<Xid> {
        let of_target = self.under_way.iter().flat_map(|(target, _)| target.snapshot.xip());
        let xids = self.base.snapshot.xip().iter().chain(of_target).copied();
        xids.filter(|xid| now.snapshot.sees(*xid)).collect()
    }

    /// From the lowest to above the highest transaction that a snapshot of the place does not name but
    /// that may have been running all the same; empty when none has ended by `now`.
    fn open_xids(&self, now: &Horizon) -> std::ops::Range<Xid> {
        let of_target = self
            .under_way
            .iter()
            .map(|(target, _)| (target.snapshot.xmax(), target.next_xid));
        let ranges = [(self.base.snapshot.xmax(), self.base.next_xid)]
            .into_iter()
            .chain(of_target);
        let end = now.snapshot.xmax();
        let ranges = ranges
            .map(|(from, to)| from..to.min(end))
            .filter(|range| !range.is_empty());
        ranges
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .unwrap_or(0..0)
    }
}

/// All cursors, or those of one sink, by sink and shard.
///
/// # Errors
/// Whatever the database says.
pub async fn read(connection: &mut PgConnection, sink: Option<&str>) -> Result<Vec<Standing>, sqlx::Error> {
    let rows = sqlx::query(
        "select sink, shard, epoch, owner, system_id, base::text, base_next_xid, base_seq, base_open_floor, base_floors,
                target::text, target_next_xid, target_seq, target_high, position,
                (extract(epoch from updated_at) * 1000000)::bigint as updated_micros,
                extract(epoch from clock_timestamp() - updated_at)::bigint as age_secs
         from oncebox.cursor where $1::text is null or sink = $1 order by sink, shard",
    )
    .bind(sink)
    .fetch_all(connection)
    .await?;
    let decode = |row: &sqlx::postgres::PgRow| {
        Ok(Standing {
            sink: row.try_get("sink")?,
            shard: row.try_get("shard")?,
            place: store::decode(row)?,
            epoch: row.try_get("epoch")?,
            owner: row.try_get("owner")?,
            system_id: row.try_get("system_id")?,
            updated_micros: row.try_get("updated_micros")?,
            age_secs: row.try_get("age_secs")?,
        })
    };
    rows.iter().map(decode).collect()
}

/// How far shards that stand at one place are behind.
#[derive(Debug, Clone, Default)]
pub struct Distance {
    /// Events that were found and are not published.
    pub near: i64,
    /// Positions further on, which were not looked at; they are those of all shards.
    pub beyond: i64,
    /// Age of the oldest event that was found, in seconds, by the database's clock.
    pub oldest_secs: Option<i64>,
    /// The same for each shard.
    pub by_shard: HashMap<i16, Behind>,
}

/// How far `shards`, which stand at `place`, are behind `now`. `first` is the oldest position in the
/// log. Reads a bounded part of the log.
///
/// # Errors
/// Whatever the database says.
pub async fn behind(
    connection: &mut PgConnection,
    place: &Place,
    shards: &[i16],
    first: Seq,
    now: &Horizon,
) -> Result<Distance, sqlx::Error> {
    let low = place.low().max(first.saturating_sub(1));
    let high = now.seq_after.min(low.saturating_add(SPAN));
    let (late, open) = (place.late_xids(now), place.open_xids(now));
    let target = place.under_way.as_ref();
    let rows = sqlx::query(
        "with near as (
           select seq, xid, bucket, time from oncebox.event where seq > $1 and seq <= $2
         ), late as (
           select seq, xid, bucket, time from oncebox.event
           where seq <= $1 and (xid = any($3) or (xid >= $4 and xid < $5)) limit $6
         )
         select (bucket >> 4)::smallint as shard, count(*) as events,
                extract(epoch from clock_timestamp() - min(time))::bigint as oldest_secs
         from (select * from near union all select * from late) e
         where (bucket >> 4)::smallint = any($7)
           and not pg_visible_in_snapshot(xid::text::xid8, $8::pg_snapshot)
           and not ($9::pg_snapshot is not null and seq <= $10
                    and pg_visible_in_snapshot(xid::text::xid8, $9::pg_snapshot))
         group by 1",
    )
    .bind(low)
    .bind(high)
    .bind(&late)
    .bind(open.start)
    .bind(open.end)
    .bind(SPAN)
    .bind(shards)
    .bind(place.base.snapshot.to_string())
    .bind(target.map(|(target, _)| target.snapshot.to_string()))
    .bind(target.map_or(0, |(_, position)| *position))
    .fetch_all(connection)
    .await?;

    let beyond = (now.seq_after - high).max(0);
    let mut found = Distance {
        beyond,
        ..Distance::default()
    };
    for shard in shards {
        let events = beyond;
        found.by_shard.insert(
            *shard,
            Behind {
                events,
                oldest_secs: None,
            },
        );
    }
    for row in &rows {
        let (events, oldest_secs): (i64, Option<i64>) = (row.try_get("events")?, row.try_get("oldest_secs")?);
        let behind = found.by_shard.entry(row.try_get("shard")?).or_default();
        behind.events += events;
        behind.oldest_secs = oldest_secs;
        found.near += events;
        found.oldest_secs = found.oldest_secs.max(oldest_secs);
    }
    Ok(found)
}
