//! A cursor's row, read.

use sqlx::Row as _;

use super::Place;
use crate::log::cursor::{Base, Horizon};

pub(in crate::log) fn decode(row: &sqlx::postgres::PgRow) -> Result<Place, sqlx::Error> {
    let snapshot = |text: String| text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)));
    let base = Base {
        snapshot: snapshot(row.try_get("base")?)?,
        next_xid: row.try_get("base_next_xid")?,
        seq: row.try_get("base_seq")?,
        open_floor: row.try_get("base_open_floor")?,
        floors: row.try_get("base_floors")?,
    };
    let target: Option<String> = row.try_get("target")?;
    let under_way = match target {
        None => None,
        Some(text) => {
            let horizon = Horizon {
                snapshot: snapshot(text)?,
                next_xid: row.try_get("target_next_xid")?,
                seq_before: row.try_get("target_seq")?,
                seq_after: row.try_get("target_high")?,
            };
            Some((horizon, row.try_get("position")?))
        }
    };
    Ok(Place { base, under_way })
}
