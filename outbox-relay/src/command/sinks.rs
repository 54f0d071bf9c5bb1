//! How far each sink is, put together for `cursor show` and `status`.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::PgConnection;

use super::Failure;
use crate::log::{
    Seq,
    cursor::Horizon,
    extent,
    moving::{is_foreign, system_id},
    page,
    relays::{self, Relay},
    standing::{self, Behind, Standing},
    store::Place,
};

/// A sink's progress. The JSON's field names are these.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Progress {
    pub(super) sink: String,
    /// Whether it stands in the configuration; null without one.
    pub(super) configured: Option<bool>,
    /// The position of the shard that is furthest behind; null without cursors.
    pub(super) position: Option<Seq>,
    /// Events that are not published, at most.
    pub(super) behind_at_most: Option<i64>,
    /// Age of the oldest of them.
    pub(super) oldest_secs: Option<i64>,
    /// Seconds since a cursor was last written.
    pub(super) written_secs: Option<i64>,
    /// Whether a cursor is another cluster's, or ahead of this one.
    pub(super) foreign: bool,
    /// Whether it has cursors, is not known to be configured, and none of the relays that live runs it; without
    /// a configuration and without a living relay nothing can be said, which is `false`.
    pub(super) abandoned: bool,
    pub(super) shards: Vec<ShardProgress>,
}

/// A shard's progress. The JSON's field names are these.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ShardProgress {
    pub(super) shard: i16,
    pub(super) owner: Option<String>,
    /// Whether its owner's last beat is younger than its term; null when the owner is not on the list.
    pub(super) relay_alive: Option<bool>,
    pub(super) relay_beat_age_secs: Option<i64>,
    pub(super) epoch: i64,
    pub(super) position: Seq,
    pub(super) behind_at_most: i64,
    pub(super) oldest_secs: Option<i64>,
    pub(super) written_secs: i64,
}

impl Progress {
    /// A sink of which only parked events are left.
    pub(super) fn without_cursors(sink: String) -> Self {
        Self {
            sink,
            configured: None,
            position: None,
            behind_at_most: None,
            oldest_secs: None,
            written_secs: None,
            foreign: false,
            abandoned: false,
            shards: Vec::new(),
        }
    }
}

/// Looks at all sinks that have cursors or stand in the configuration. Returns the log's end too.
pub(super) async fn look(
    connection: &mut PgConnection,
    configured: Option<&[String]>,
) -> Result<(Seq, Vec<Progress>), Failure> {
    read(connection, configured).await.map_err(Failure::of_database)
}

async fn read(
    connection: &mut PgConnection,
    configured: Option<&[String]>,
) -> Result<(Seq, Vec<Progress>), sqlx::Error> {
    let standings = standing::read(connection, None).await?;
    let relays = relays::list(connection).await?;
    let seq_before = page::sequence_position_on(connection).await?;
    let now = page::look_on(connection, seq_before).await?;
    let first = extent::look(connection, now.seq_after).await?.first_seq.unwrap_or(1);
    let here = match standings.iter().any(|standing| standing.system_id.is_some()) {
        true => Some(system_id(connection).await?),
        false => None,
    };

    let mut sinks: BTreeMap<&str, Vec<&Standing>> = BTreeMap::new();
    for name in configured.unwrap_or_default() {
        sinks.entry(name).or_default();
    }
    for standing in &standings {
        sinks.entry(&standing.sink).or_default().push(standing);
    }
    let mut all = Vec::new();
    for (sink, standings) in sinks {
        let mut progress = Progress {
            sink: sink.to_owned(),
            configured: configured.map(|names| names.iter().any(|name| name == sink)),
            position: standings.iter().map(|standing| standing.place.front()).min(),
            behind_at_most: (!standings.is_empty()).then_some(0),
            oldest_secs: None,
            written_secs: standings.iter().map(|standing| standing.age_secs).min(),
            foreign: standings
                .iter()
                .any(|standing| is_foreign(standing, here.unwrap_or_default(), &now)),
            abandoned: !standings.is_empty() && is_abandoned(sink, configured, &relays),
            shards: Vec::new(),
        };
        measure(connection, &standings, &relays, first, &now, &mut progress).await?;
        all.push(progress);
    }
    Ok((now.seq_after, all))
}

/// Whether nobody publishes a sink that has cursors.
fn is_abandoned(sink: &str, configured: Option<&[String]>, relays: &[Relay]) -> bool {
    let mut living = relays.iter().filter(|relay| relay.alive).peekable();
    let is_known = configured.is_some() || living.peek().is_some();
    let is_configured = configured.is_some_and(|names| names.iter().any(|name| name == sink));
    is_known && !is_configured && !living.any(|relay| relay.sinks.iter().any(|name| name == sink))
}

/// How far behind the shards are. Shards that stand at one place are counted in one pass.
async fn measure(
    connection: &mut PgConnection,
    standings: &[&Standing],
    relays: &[Relay],
    first: Seq,
    now: &Horizon,
    progress: &mut Progress,
) -> Result<(), sqlx::Error> {
    let mut groups: Vec<(&Place, Vec<i16>)> = Vec::new();
    for standing in standings {
        match groups.iter_mut().find(|(place, _)| **place == standing.place) {
            Some((_, shards)) => shards.push(standing.shard),
            None => groups.push((&standing.place, vec![standing.shard])),
        }
    }
    let mut by_shard: BTreeMap<i16, Behind> = BTreeMap::new();
    let (mut near, mut beyond) = (0, 0);
    for (place, shards) in groups {
        let found = standing::behind(connection, place, &shards, first, now).await?;
        near += found.near;
        // Positions belong to all shards alike: those that several groups have before them count once.
        beyond = beyond.max(found.beyond);
        progress.oldest_secs = progress.oldest_secs.max(found.oldest_secs);
        by_shard.extend(found.by_shard);
    }
    progress.behind_at_most = progress.behind_at_most.map(|_| near + beyond);
    for standing in standings {
        let behind = by_shard.get(&standing.shard).copied().unwrap_or_default();
        let relay = relays.iter().find(|relay| standing.owner.as_ref() == Some(&relay.id));
        progress.shards.push(ShardProgress {
            shard: standing.shard,
            owner: standing.owner.clone(),
            relay_alive: relay.map(|relay| relay.alive),
            relay_beat_age_secs: relay.map(|relay| relay.beat_age_secs),
            epoch: standing.epoch,
            position: standing.place.front(),
            behind_at_most: behind.events,
            oldest_secs: behind.oldest_secs,
            written_secs: standing.age_secs,
        });
    }
    Ok(())
}

/// Which relays hold a sink's shards, in short: `a (8), b (4, silent), nobody (4)`. A silent one publishes
/// nothing; its shards are taken over when its lease is over.
pub(super) fn holders(sink: &Progress) -> String {
    let (mut counts, mut nobody): (BTreeMap<(&str, bool), usize>, usize) = (BTreeMap::new(), 0);
    for shard in &sink.shards {
        // An owner that has left the list holds nothing any more.
        match (shard.owner.as_deref(), shard.relay_alive) {
            (Some(owner), Some(alive)) => *counts.entry((owner, alive)).or_default() += 1,
            _ => nobody += 1,
        }
    }
    let mut held: Vec<String> = counts
        .iter()
        .map(|((owner, alive), shards)| match alive {
            true => format!("{owner} ({shards})"),
            false => format!("{owner} ({shards}, silent)"),
        })
        .collect();
    if nobody > 0 {
        held.push(format!("nobody ({nobody})"));
    }
    held.join(", ")
}

/// Whether a sink is configured, for a table.
pub(super) fn configured(sink: &Progress) -> String {
    let word = match (sink.configured, sink.abandoned) {
        (None, false) => "",
        (None, true) => "abandoned",
        (Some(true), _) => "yes",
        (Some(false), false) => "no",
        (Some(false), true) => "no, abandoned",
    };
    word.to_owned()
}

/// What a person should know of a sink besides the numbers.
pub(super) fn remarks(sink: &Progress) -> Vec<String> {
    let name = &sink.sink;
    let mut remarks = Vec::new();
    if sink.foreign {
        remarks.push(format!(
            "sink {name}: its cursors are another cluster's, or ahead of this one: `outbox-relay cursor rebase`"
        ));
    }
    if sink.abandoned {
        let position = sink.position.unwrap_or_default();
        remarks.push(format!(
            "sink {name} is abandoned: no relay runs it, and its cursors keep the log from being freed from position \
             {position} on. If it was renamed: `outbox-relay cursor rename --sink {name} --to NEW`; if it is gone for good: \
             `outbox-relay cursor delete --sink {name}`"
        ));
    } else if sink.configured == Some(false) {
        remarks.push(format!("sink {name} is not configured here; another relay runs it"));
    }
    if sink.shards.is_empty() {
        remarks.push(format!(
            "sink {name} has no cursors yet; a relay makes them when it starts"
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(shard: i16, owner: Option<&str>, relay_alive: Option<bool>) -> ShardProgress {
        ShardProgress {
            shard,
            owner: owner.map(str::to_owned),
            relay_alive,
            relay_beat_age_secs: relay_alive.map(|_| 1),
            epoch: 1,
            position: 0,
            behind_at_most: 0,
            oldest_secs: None,
            written_secs: 0,
        }
    }

    #[test]
    fn holders_are_told_with_how_many_shards_they_hold() {
        let sink = Progress {
            sink: "s".to_owned(),
            configured: Some(false),
            position: Some(0),
            behind_at_most: Some(0),
            oldest_secs: None,
            written_secs: None,
            foreign: false,
            abandoned: true,
            shards: vec![
                shard(0, Some("b"), Some(true)),
                shard(1, Some("a"), Some(false)),
                shard(2, Some("b"), Some(true)),
                shard(3, Some("gone"), None),
                shard(4, None, None),
            ],
        };
        assert_eq!(holders(&sink), "a (1, silent), b (2), nobody (2)");
        assert_eq!(remarks(&sink).len(), 1, "only that it is abandoned");
    }

    #[test]
    fn a_sink_is_abandoned_when_neither_the_configuration_nor_a_living_relay_has_it() {
        let relay = |sink: &str, alive| Relay {
            id: "r".to_owned(),
            sinks: vec![sink.to_owned()],
            waiting: Vec::new(),
            beat: 1,
            term: std::time::Duration::from_secs(1),
            alive,
            beat_age_secs: 0,
            uptime_secs: 0,
        };
        let names = |name: &str| Some(vec![name.to_owned()]);
        for (configured, relays, expected) in [
            (None, vec![], false),
            (None, vec![relay("s", false)], false),
            (None, vec![relay("s", true)], false),
            (None, vec![relay("other", true)], true),
            (names("s"), vec![relay("other", true)], false),
            (names("other"), vec![], true),
            (names("other"), vec![relay("s", false)], true),
            (names("other"), vec![relay("other", true), relay("s", true)], false),
        ] {
            let found = is_abandoned("s", configured.as_deref(), &relays);
            assert_eq!(found, expected, "{configured:?} {relays:?}");
        }
    }
}
