//! What a person writes into a record whose attempt ended without anybody knowing how.

use uuid::Uuid;

use super::record::{Record, State};
use crate::dynamodb::{
    Condition, Key,
    store::{Change, Item, Write},
};

/// How the attempt has ended, as somebody has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// The effect has happened: further deliveries are duplicates.
    Done,
    /// It has not: the next delivery tries again.
    Released,
}

/// The write that settles the record in `item`, and the item's new owner.
///
/// # Errors
/// [`Unfit`]: it is not for a person to settle.
pub(crate) fn write(item: &Item, table: &str, resolution: Resolution) -> Result<(Write, String), Unfit> {
    let mut record = Record::read(item).map_err(|_| Unfit::Unreadable)?;
    if record.state != State::Unknown {
        return Err(Unfit::Known(record.state.as_str()));
    }
    // Whoever has written since has another owner, fence or state.
    let condition = Condition::equals("own", record.own.as_str())
        .and(Condition::equals("fence", record.fence))
        .and(Condition::equals("st", State::Unknown.as_str()));
    let own = Uuid::new_v4().to_string();
    record.own.clone_from(&own);
    record.state = match resolution {
        Resolution::Done => State::Done,
        Resolution::Released => State::Released,
    };
    let write = Write {
        table: table.to_owned(),
        key: Key::new("pk", record.pk.as_str()),
        change: Change::Put(record.attributes()),
        condition: Some(condition),
        wants_old: false,
    };
    Ok((write, own))
}

/// Why a record is not for a person to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    Unreadable,
    /// Its state is this one.
    Known(&'static str),
}
