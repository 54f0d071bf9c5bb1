//! What is done to the invoices on their way, and when.

use std::collections::VecDeque;

use anyhow::Result;
use sqlx::FromRow;

use super::tally::Tally;
use crate::Database;

/// Something that should not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mischief {
    KillRelay,
    /// Commands and events, so many of each.
    SendCopies(usize),
}

/// The moments are told by what has come through, so that each falls into the middle of the work.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Requested(usize),
    Paid(usize),
}

/// What is still to come, in order.
pub(super) struct Plan(VecDeque<(Moment, Mischief)>);

impl Plan {
    pub(super) fn of(invoices: usize) -> Self {
        let copies = invoices.div_ceil(20);
        Self(VecDeque::from([
            (Moment::Paid(invoices / 10), Mischief::SendCopies(copies)),
            (Moment::Requested(invoices / 3), Mischief::KillRelay),
            (Moment::Paid(invoices * 3 / 5), Mischief::KillRelay),
            (Moment::Paid(invoices * 3 / 4), Mischief::SendCopies(copies)),
        ]))
    }

    /// What is due now.
    pub(super) fn next(&mut self, tally: &Tally) -> Option<Mischief> {
        let is_due = match self.0.front()?.0 {
            Moment::Requested(count) => tally.requested >= count,
            Moment::Paid(count) => tally.paid >= count,
        };
        if is_due {
            self.0.pop_front().map(|(_, mischief)| mischief)
        } else {
            None
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message as the relay has published it.
#[derive(Debug, FromRow)]
pub(super) struct Published {
    pub(super) body: String,
    pub(super) key: String,
}

/// Some events, picked at random, that the cursor of `sink` is past.
pub(super) async fn published_messages(
    database: &Database,
    sink: &str,
    event_type: &str,
    count: usize,
) -> Result<Vec<Published>> {
    let query = sqlx::query_as(
        "select (e.headers || jsonb_strip_nulls(jsonb_build_object(
                  'specversion', '1.0', 'id', e.id, 'source', e.source, 'type', e.type,
                  'time', to_char(e.time at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                  'datacontenttype', 'application/json', 'partitionkey', e.key,
                  'sequence', lpad(e.key_seq::text, 20, '0'), 'tenant', e.tenant, 'kind', e.kind))
                || jsonb_build_object('data', e.data))::text as body,
                e.key
           from oncebox.event e
           join oncebox.cursor c on c.sink = $1 and c.shard = e.bucket / 16
          where e.type = $2
            and (pg_visible_in_snapshot(e.xid::text::xid8, c.base)
                 or (c.target is not null and e.seq <= c.position
                     and pg_visible_in_snapshot(e.xid::text::xid8, c.target)))
          order by random() limit $3",
    );
    Ok(query
        .bind(sink)
        .bind(event_type)
        .bind(i64::try_from(count)?)
        .fetch_all(&database.pool)
        .await?)
}
