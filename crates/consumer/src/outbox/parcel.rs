//! A parcel: what is stored, and the writes that add to it and take from it. Pure.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{letter::Letter, sweep::QUIET};
use crate::dynamodb::{
    Attribute, Condition, Key, size_bytes,
    store::{Change, Changes, Item, ItemKey, Write},
};

/// Bytes of the letters that one write puts into a parcel; an item takes 400 KB (`DynamoDB` Developer Guide,
/// "Quotas").
pub(crate) const MAX_PARCEL_BYTES: usize = 350_000;
/// Partitions that a consumer's parcels are spread over, for the writes that one of them can take.
pub(crate) const SHARDS: u8 = 4;

const LETTERS: &str = "letters";
const OWN: &str = "own";
const AT: &str = "at";

/// A parcel as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parcel {
    pub(crate) shard: u8,
    pub(crate) sk: String,
    pub(crate) own: String,
    /// When something was added last, by the clock of who did; epoch milliseconds.
    pub(crate) at: i64,
    pub(crate) letters: Vec<Letter>,
}

/// Where the letters of a FIFO target's message group are.
pub(super) fn fifo_place(letter: &Letter) -> (u8, String) {
    let hash = Sha256::new()
        .chain_update(&letter.to.address)
        .chain_update([0])
        .chain_update(&letter.group)
        .finalize();
    let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    (hash[0] % SHARDS, format!("fifo#{name}"))
}

/// A place that nobody else has.
pub(super) fn new_place() -> (u8, String) {
    let id = Uuid::new_v4();
    (id.as_bytes()[0] % SHARDS, format!("std#{id}"))
}

pub(crate) fn partition(table: &str, consumer: &str, shard: u8) -> ItemKey {
    ItemKey::new(table, Key::new("pk", format!("{consumer}#{shard}")))
}

pub(super) fn place(table: &str, consumer: &str, shard: u8, sk: &str) -> ItemKey {
    let mut place = partition(table, consumer, shard);
    place.key = place.key.sort("sk", sk);
    place
}

/// Adds letters to a parcel, whatever is in it.
pub(super) fn append(place: ItemKey, letters: &[Letter], now: Timestamp) -> Write {
    Write {
        table: place.table,
        key: place.key,
        change: Change::Update(Changes {
            set: vec![
                (OWN.to_owned(), Uuid::new_v4().into()),
                (AT.to_owned(), now.as_millisecond().into()),
            ],
            append: vec![(LETTERS.to_owned(), list(letters))],
            ..Changes::default()
        }),
        condition: None,
        wants_old: false,
    }
}

/// What letters take of a parcel.
pub(super) fn bytes(letter: &Letter) -> usize {
    1 + size_bytes(&letter.write())
}

fn list(letters: &[Letter]) -> Attribute {
    AttributeValue::L(letters.iter().map(Letter::write).collect()).into()
}

/// When an item was added to last, even if it is no parcel that this version can read.
pub(super) fn added(item: &Item) -> Option<Timestamp> {
    let millis = item.get(AT)?.as_n().ok()?.parse().ok()?;
    Timestamp::from_millisecond(millis).ok()
}

impl Parcel {
    /// `None` when it is none that this version can read.
    pub(crate) fn read(item: &Item) -> Option<Self> {
        let text = |name: &str| item.get(name)?.as_s().ok();
        let letters = item.get(LETTERS)?.as_l().ok()?;
        Some(Self {
            shard: text("pk")?.rsplit_once('#')?.1.parse().ok()?,
            sk: text("sk")?.clone(),
            own: text(OWN)?.clone(),
            at: item.get(AT)?.as_n().ok()?.parse().ok()?,
            letters: letters.iter().map(Letter::read).collect::<Option<_>>()?,
        })
    }

    /// Whether it was added to so lately that who did may be about to send it. One from the future is not young: the
    /// clocks disagree, and sending twice is better than waiting for it.
    pub(crate) fn is_young(&self, now: Timestamp) -> bool {
        let age_ms = now.as_millisecond().saturating_sub(self.at);
        age_ms.unsigned_abs() < u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether its letters are sent one after the other.
    pub(crate) fn is_ordered(&self) -> bool {
        self.sk.starts_with("fifo#")
    }

    /// Leaves only the letters in it that `is_left`, unless somebody has added to it.
    pub(super) fn take_out(&self, place: ItemKey, is_left: impl Fn(&Letter) -> bool) -> Write {
        let left: Vec<Letter> = self.letters.iter().filter(|letter| is_left(letter)).cloned().collect();
        Write {
            table: place.table,
            key: place.key,
            change: if left.is_empty() {
                Change::Delete
            } else {
                Change::Put(vec![
                    (OWN.to_owned(), Uuid::new_v4().into()),
                    (AT.to_owned(), self.at.into()),
                    (LETTERS.to_owned(), list(&left)),
                ])
            },
            condition: Some(Condition::equals(OWN, self.own.as_str())),
            wants_old: false,
        }
    }
}
