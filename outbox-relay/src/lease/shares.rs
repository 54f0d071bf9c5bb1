//! Who should hold what. Pure.

use crate::log::members::ShardRow;

/// What a relay should do about one sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// How many shards are this relay's fair share; 0 where there are more relays than shards, and it
    /// stands by.
    pub share: usize,
    /// Shards, with their epochs, to take: they are free.
    pub take: Vec<(i16, i64)>,
    /// Shards, with their epochs, that are its own and that others should have.
    pub release: Vec<(i16, i64)>,
    /// Shards that it held under an epoch that has been raised since: somebody moved their cursor.
    pub lost: Vec<i16>,
}

impl Plan {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.take.is_empty() && self.release.is_empty() && self.lost.is_empty()
    }
}

/// Compares what `me` holds of a sink with its fair share.
///
/// `members` are the living relays that have this sink, `me` among them; `held` is what this relay
/// works on, with epochs. The shares of any two relays differ by one shard at most, and all relays
/// that see the same members come to the same shares.
#[must_use]
pub fn plan(me: &str, members: &[String], rows: &[ShardRow], held: &[(i16, i64)]) -> Plan {
    let share = share(me, members, rows.len());
    let is_mine = |row: &&ShardRow| row.owner.as_deref() == Some(me);
    let is_kept = |row: &&ShardRow| is_mine(row) && held.contains(&(row.shard, row.epoch));
    let mut kept: Vec<&ShardRow> = rows.iter().filter(is_kept).collect();
    let lost = held.iter().map(|(shard, _)| *shard);
    let lost = lost
        .filter(|shard| kept.iter().all(|row| row.shard != *shard))
        .collect();
    let surplus = kept.split_off(share.min(kept.len()));
    let missing = share - kept.len();
    // What was lost, or left behind by an earlier session of this relay, comes first: nobody else may
    // take it.
    let (mine, others): (Vec<&ShardRow>, Vec<&ShardRow>) = rows.iter().filter(|row| !is_kept(row)).partition(is_mine);
    let is_free = |row: &&ShardRow| row.owner.as_ref().is_none_or(|owner| !members.contains(owner));
    let (taken, left) = mine.split_at(missing.min(mine.len()));
    let free = others.into_iter().filter(is_free).take(missing - taken.len());
    let with_epoch = |row: &ShardRow| (row.shard, row.epoch);
    Plan {
        share,
        take: taken.iter().copied().chain(free).map(with_epoch).collect(),
        release: surplus
            .into_iter()
            .chain(left.iter().copied())
            .map(with_epoch)
            .collect(),
        lost,
    }
}

fn share(me: &str, members: &[String], shards: usize) -> usize {
    let mut members: Vec<&str> = members.iter().map(String::as_str).collect();
    members.sort_unstable();
    members.dedup();
    match members.binary_search(&me) {
        Ok(rank) => shards / members.len() + usize::from(rank < shards % members.len()),
        // Not on the list: declared dead, and to hold nothing.
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests;
