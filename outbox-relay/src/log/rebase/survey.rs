//! How far each cursor had published, by its own old numbers.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};

use crate::log::{
    Seq,
    standing::Standing,
    store::{Place, SHARDS},
};

/// What a rebase finds.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Rows in the log.
    pub rows: i64,
    /// Rows that the rebase rewrites.
    pub rows_to_rewrite: i64,
    /// Disk that the log uses, indexes and large data included.
    pub bytes: i64,
    /// The highest position of a row; 0 in an empty log.
    pub last_seq: Seq,
    /// The sinks, by name.
    pub sinks: Vec<SinkSurvey>,
}

/// Where a sink goes on.
#[derive(Debug, Clone)]
pub struct SinkSurvey {
    /// Its name.
    pub sink: String,
    /// Its shards, each with the first row that is not known to be published, if there is one.
    pub first_unpublished: BTreeMap<i16, Option<Seq>>,
    /// Rows from there on, which are published now, some of them again; an upper bound where the sink
    /// has a filter.
    pub to_publish: i64,
}

impl SinkSurvey {
    /// Each shard's new position: everything up to it counts as published. `end` is the log's end.
    pub(super) fn positions(&self, end: Seq) -> impl Iterator<Item = (i16, Seq)> + '_ {
        let shards = self.first_unpublished.iter();
        shards.map(move |(shard, first)| (*shard, first.map_or(end, |first| first - 1)))
    }
}

/// Reads the whole log once for each place at which a cursor stands.
///
/// A row counts as published when the old snapshots say so, which is arithmetic on numbers and asks
/// nothing of this cluster, *and* it can have been there then. For producers may have written
/// since the restore, with ids of this cluster that are, by chance, low enough for an old snapshot to
/// "see" them. Such rows lie above the sequence's position of that time, so what is above the
/// highest position that the cursor has on record does not count; nor does what says a later time
/// than the cursor's last write, which catches rows in the gaps of a sequence that was restored too
/// low. Both err on the side of publishing a few events of the last moments again.
pub(super) async fn take(connection: &mut PgConnection, standings: &[Standing]) -> Result<Survey, sqlx::Error> {
    let row = sqlx::query(
        "select count(*) as rows, count(*) filter (where xid <> 1) as rows_to_rewrite, coalesce(max(seq), 0) as last_seq,
                (select coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint from pg_inherits
                 where inhparent = 'oncebox.event'::regclass) as bytes
         from oncebox.event",
    )
    .fetch_one(&mut *connection)
    .await?;
    let mut survey = Survey {
        rows: row.try_get("rows")?,
        rows_to_rewrite: row.try_get("rows_to_rewrite")?,
        bytes: row.try_get("bytes")?,
        last_seq: row.try_get("last_seq")?,
        sinks: Vec::new(),
    };

    // Shards of a sink mostly stand at one place.
    let mut groups: Vec<(&str, &Place, i64, Vec<i16>)> = Vec::new();
    for standing in standings {
        let (sink, place, micros) = (standing.sink.as_str(), &standing.place, standing.updated_micros);
        let same = |group: &&mut (&str, &Place, i64, Vec<i16>)| (group.0, group.1, group.2) == (sink, place, micros);
        match groups.iter_mut().find(same) {
            Some(group) => group.3.push(standing.shard),
            None => groups.push((sink, place, micros, vec![standing.shard])),
        }
    }
    let mut sinks: BTreeMap<&str, BTreeMap<i16, Option<Seq>>> = BTreeMap::new();
    for (sink, place, micros, shards) in groups {
        let firsts = first_unpublished(connection, place, micros, &shards).await?;
        sinks.entry(sink).or_default().extend(firsts);
    }
    for (sink, first_unpublished) in sinks {
        let to_publish = count_from(connection, &first_unpublished).await?;
        survey.sinks.push(SinkSurvey {
            sink: sink.to_owned(),
            first_unpublished,
            to_publish,
        });
    }
    Ok(survey)
}

async fn first_unpublished(
    connection: &mut PgConnection,
    place: &Place,
    updated_micros: i64,
    shards: &[i16],
) -> Result<BTreeMap<i16, Option<Seq>>, sqlx::Error> {
    let target = place.under_way.as_ref();
    let rows = sqlx::query(
        "select (bucket >> 4)::smallint as shard, min(seq) as first
         from oncebox.event
         where (bucket >> 4)::smallint = any($1)
           and not (seq <= $2 and time <= 'epoch'::timestamptz + $3 * interval '1 microsecond'
                    and (pg_visible_in_snapshot(xid::text::xid8, $4::pg_snapshot)
                         or ($5::pg_snapshot is not null and seq <= $6
                             and pg_visible_in_snapshot(xid::text::xid8, $5::pg_snapshot))))
         group by 1",
    )
    .bind(shards)
    .bind(place.front())
    .bind(updated_micros)
    .bind(place.base.snapshot.to_string())
    .bind(target.map(|(target, _)| target.snapshot.to_string()))
    .bind(target.map_or(0, |(_, position)| *position))
    .fetch_all(connection)
    .await?;
    let mut firsts: BTreeMap<i16, Option<Seq>> = shards.iter().map(|shard| (*shard, None)).collect();
    for row in &rows {
        firsts.insert(row.try_get("shard")?, Some(row.try_get("first")?));
    }
    Ok(firsts)
}

async fn count_from(connection: &mut PgConnection, firsts: &BTreeMap<i16, Option<Seq>>) -> Result<i64, sqlx::Error> {
    let shards: Vec<i16> = firsts
        .iter()
        .filter(|(_, first)| first.is_some())
        .map(|(shard, _)| *shard)
        .collect();
    let seqs: Vec<Seq> = firsts.values().copied().flatten().collect();
    debug_assert!(
        shards.len() <= usize::from(SHARDS.unsigned_abs()),
        "a sink has sixteen shards"
    );
    sqlx::query_scalar(
        "select count(*) from oncebox.event e
         join unnest($1::smallint[], $2::bigint[]) as f (shard, first) on (e.bucket >> 4)::smallint = f.shard
         where e.seq >= f.first and e.seq >= (select min(first) from unnest($2::bigint[]) as first)",
    )
    .bind(shards)
    .bind(seqs)
    .fetch_one(connection)
    .await
}
