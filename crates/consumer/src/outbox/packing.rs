//! Which parcel a letter goes into.

use std::sync::{Mutex, PoisonError};

use super::{
    Outbox,
    letter::Letter,
    parcel::{MAX_PARCEL_BYTES, append, bytes, fifo_place, new_place, place},
};
use crate::dynamodb::store::Write;

/// Events whose letters share a parcel: about as many as share a transaction, so that a transaction has one
/// action for all its letters and few have to wait for a parcel that is being written.
const MAX_EVENTS: usize = 30;

/// Packs the letters of one batch.
#[derive(Default)]
pub(crate) struct Packing(Mutex<Option<Open>>);

/// The parcel that takes the next letters that have no order. Nobody else adds to it.
struct Open {
    shard: u8,
    sk: String,
    events: usize,
    bytes: usize,
}

impl Packing {
    /// The writes that store an event's letters, in the order of the letters.
    pub(crate) fn pack(&self, outbox: &Outbox, letters: Vec<Letter>) -> Vec<Write> {
        let mut parcels: Vec<((u8, String), Vec<Letter>)> = Vec::new();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_first = true;
        for letter in letters {
            let to = if letter.to.keeps_order() {
                fifo_place(&letter)
            } else {
                let to = next(&mut open, bytes(&letter), std::mem::take(&mut is_first));
                (to.shard, to.sk.clone())
            };
            match parcels.iter_mut().find(|(known, _)| *known == to) {
                Some((_, letters)) => letters.push(letter),
                None => parcels.push((to, vec![letter])),
            }
        }
        let now = crate::time::wall();
        let parcels = parcels.into_iter();
        let write = |((shard, sk), letters): ((u8, String), Vec<Letter>)| {
            append(place(&outbox.table, &outbox.consumer, shard, &sk), &letters, now)
        };
        parcels.map(write).collect()
    }
}

fn next(open: &mut Option<Open>, bytes: usize, is_first: bool) -> &Open {
    let has_room = |open: &Open| open.bytes + bytes <= MAX_PARCEL_BYTES && (!is_first || open.events < MAX_EVENTS);
    if !open.as_ref().is_some_and(has_room) {
        *open = None;
    }
    let open = open.get_or_insert_with(|| {
        let (shard, sk) = new_place();
        Open {
            shard,
            sk,
            events: 0,
            bytes: 0,
        }
    });
    open.bytes += bytes;
    open.events += usize::from(is_first);
    open
}
