//! Cursors, their epochs and their owners.

use outbox_relay::log::{
    Seq,
    cursor::{Base, Horizon},
    members::ShardRow,
    parked::Changes,
    store::{Claim, Place, SHARDS, StoreError, Try},
};

use super::Postgres;

/// A cursor.
#[derive(Debug, Clone)]
pub struct CursorRow {
    /// Raised by each claim.
    pub epoch: i64,
    /// Which relay has it.
    pub owner: Option<String>,
    /// Where it stands.
    pub place: Place,
}

impl Postgres {
    /// Creates the cursors of a sink that has none.
    pub fn create_cursors(&mut self, sink: &str, first: &Base) {
        for shard in 0..SHARDS {
            self.cursors
                .entry((sink.to_owned(), shard))
                .or_insert_with(|| CursorRow {
                    epoch: 0,
                    owner: None,
                    place: Place {
                        base: first.clone(),
                        under_way: None,
                    },
                });
        }
        self.write_at_once();
    }

    /// One try to claim free cursors.
    pub fn try_claim(&mut self, sink: &str, me: &str, free: &[(i16, i64)], now: &Horizon) -> Try {
        if !self.relays.contains_key(me) {
            return Try::Claimed(Vec::new());
        }
        let mut free = free.to_vec();
        free.sort_unstable();
        let relays = &self.relays;
        let is_free = |row: &CursorRow| {
            let owner = row.owner.as_deref();
            owner.is_none_or(|owner| owner == me || !relays.contains_key(owner))
        };
        let mut claims: Vec<Claim> = Vec::new();
        for (shard, epoch) in free {
            let Some(row) = self.cursors.get(&(sink.to_owned(), shard)) else {
                continue;
            };
            if row.epoch != epoch || !is_free(row) {
                continue;
            }
            let held = (shard, epoch + 1);
            match claims.iter_mut().find(|claim| claim.place == row.place) {
                Some(claim) => claim.shards.push(held),
                None => claims.push(Claim {
                    sink: sink.to_owned(),
                    shards: vec![held],
                    place: row.place.clone(),
                }),
            }
        }
        let is_beyond = |place: &&Place| {
            let base = &place.base;
            let target = place.under_way.as_ref();
            base.next_xid > now.next_xid
                || base.seq > now.seq_after
                || target.is_some_and(|(target, at)| target.next_xid > now.next_xid || *at > now.seq_after)
        };
        let beyond: Vec<Place> = claims
            .iter()
            .map(|claim| &claim.place)
            .filter(is_beyond)
            .cloned()
            .collect();
        if !beyond.is_empty() {
            return Try::Beyond(beyond);
        }
        for (shard, epoch) in claims.iter().flat_map(|claim| &claim.shards) {
            if let Some(row) = self.cursors.get_mut(&(sink.to_owned(), *shard)) {
                (row.epoch, row.owner) = (*epoch, Some(me.to_owned()));
            }
        }
        self.write_at_once();
        Try::Claimed(claims)
    }

    /// Frees cursors that are held under these epochs.
    pub fn release(&mut self, sink: &str, held: &[(i16, i64)]) {
        for (shard, epoch) in held {
            if let Some(row) = self.cursors.get_mut(&(sink.to_owned(), *shard))
                && row.epoch == *epoch
            {
                row.owner = None;
            }
        }
        self.write_at_once();
    }

    /// Writes places and changes: all of it, or nothing where an epoch is another one.
    ///
    /// # Errors
    /// [`StoreError::Superseded`].
    pub fn save(&mut self, sink: &str, claims: &[Claim], changes: &Changes) -> Result<Vec<Seq>, StoreError> {
        let is_mine = |(shard, epoch): &(i16, i64)| {
            let row = self.cursors.get(&(sink.to_owned(), *shard));
            row.is_some_and(|row| row.epoch == *epoch)
        };
        if !claims.iter().flat_map(|claim| &claim.shards).all(is_mine) {
            return Err(StoreError::Superseded { sink: sink.to_owned() });
        }
        let taken = self.change_parked(sink, changes);
        for claim in claims {
            for (shard, _) in &claim.shards {
                if let Some(row) = self.cursors.get_mut(&(sink.to_owned(), *shard)) {
                    row.place = claim.place.clone();
                }
            }
        }
        self.write_at_once();
        Ok(taken)
    }

    /// Who holds what.
    #[must_use]
    pub fn shard_rows(&self, sinks: &[String]) -> Vec<(String, ShardRow)> {
        let wanted = self.cursors.iter().filter(|((sink, _), _)| sinks.contains(sink));
        let row = |((sink, shard), row): (&(String, i16), &CursorRow)| {
            let (epoch, owner) = (row.epoch, row.owner.clone());
            (
                sink.clone(),
                ShardRow {
                    shard: *shard,
                    epoch,
                    owner,
                },
            )
        };
        wanted.map(row).collect()
    }
}
