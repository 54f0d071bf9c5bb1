//! Events that wait in the log: written quickly, as `oncebox.enqueue` would write them.

use anyhow::{Result, ensure};
use outbox_relay::{log::page::Row, publish::Message};
use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::database::{Database, execute};

/// Keys that the events of a backlog take turns with.
pub(crate) const KEYS: i64 = 10_000;
/// Bytes of an event's data as text.
pub(crate) const DATA_BYTES: i32 = 1_024;

/// Number `n` as an invoice of [`DATA_BYTES`] as text. Written so that it is the same length for every `n`
/// below ten million, with the quotes and short fields that make JSON costly to handle.
const DATA: &str = r#"(
  '{"invoice":"INV-' || lpad(n::text, 7, '0') || '","customer":{"id":"C-48213","name":"Example Trading Company","vat":"XX123456789"},'
  '"currency":"EUR","issued":"2026-01-31","due":"2026-03-02","lines":['
  '{"sku":"A-1001","text":"Consulting, on site","quantity":12,"price":"95.00","tax":"19.00"},'
  '{"sku":"A-1002","text":"Travel","quantity":2,"price":"48.50","tax":"19.00"},'
  '{"sku":"B-2001","text":"Licence, one year","quantity":5,"price":"120.00","tax":"19.00"},'
  '{"sku":"B-2002","text":"Support, one year","quantity":5,"price":"36.00","tax":"7.00"}],'
  '"total":{"net":"2017.00","tax":"361.63","gross":"2378.63"},"paid":false,"reminders":0,'
  '"note":"' || repeat('Payment within thirty days. ', 9) || '","ref":"' || repeat('x', 83) || '"}')::jsonb"#;

const TYPE: &str = "invoice.created.v1";
const SOURCE: &str = "/bench";

/// The data of event number `n`, as SQL.
pub(crate) fn data_sql() -> &'static str {
    DATA
}

/// The backlog in a database's log: keyed events, the same number of each key.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    events: i64,
}

impl Backlog {
    /// Makes the log hold exactly `events` events, adding to what it holds if it is fewer.
    pub(crate) async fn hold(&mut self, database: &Database, events: i64) -> Result<()> {
        let mut connection = database.connect().await?;
        if self.events > events {
            self.clear(&mut connection).await?;
        }
        if self.events < events {
            self.write(&mut connection, events).await?;
            check(&mut connection, events).await?;
            // Hint bits, visibility and statistics as on a table that autovacuum has seen to.
            execute(&mut connection, "vacuum (analyze) oncebox.event").await?;
            execute(&mut connection, "checkpoint").await?;
        }
        Ok(())
    }

    /// Adds events until the log holds `events`, in one transaction.
    pub(crate) async fn write(&mut self, connection: &mut PgConnection, events: i64) -> Result<()> {
        fill(connection, self.events, events).await?;
        self.events = events;
        Ok(())
    }

    /// Empties the log.
    pub(crate) async fn clear(&mut self, connection: &mut PgConnection) -> Result<()> {
        execute(
            connection,
            "truncate oncebox.event, oncebox.key_sequence, oncebox.cursor",
        )
        .await?;
        self.events = 0;
        Ok(())
    }
}

/// What `oncebox.enqueue` does, for all events at once: xid, then the keys, then seq in order.
async fn fill(connection: &mut PgConnection, from: i64, to: i64) -> Result<()> {
    let from_n = from + 1;
    execute(
        connection,
        &format!(
            "begin;
             select oncebox.ensure_partitions(16);
             insert into oncebox.key_sequence as k (key, last)
               select 'key-' || (n % {KEYS}), count(*) from generate_series({from_n}, {to}) n group by 1
               on conflict (key) do update set last = k.last + excluded.last;
             insert into oncebox.event
                 (seq, xid, bucket, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data)
               select nextval('oncebox.event_seq'), pg_current_xact_id()::text::bigint,
                      get_byte(sha256(convert_to(key, 'UTF8')), 0), octet_length(data::text), oncebox.uuid_v7(),
                      '{TYPE}', key, (n - 1) / {KEYS} + 1, 'default', 'event', '{SOURCE}', now(), '{{}}', data
               from (select n, 'key-' || (n % {KEYS}) as key, {DATA} as data
                     from generate_series({from_n}, {to}) n offset 0) e;
             commit"
        ),
    )
    .await
}

/// Enqueues one more event of the last one's key and compares the two rows; then takes it back.
async fn check(connection: &mut PgConnection, events: i64) -> Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query("select oncebox.enqueue($1, data, key => key, source => $2) from (select data, key from oncebox.event order by seq desc limit 1) e")
        .bind(TYPE)
        .bind(SOURCE)
        .execute(&mut *transaction)
        .await?;
    let row = sqlx::query(
        "select bytes, (select count(*) from oncebox.event) as events,
                to_jsonb(e) - '{seq,xid,id,time,key_seq}'::text[]
                  = lag(to_jsonb(e) - '{seq,xid,id,time,key_seq}'::text[]) over w as same,
                key_seq = lag(key_seq) over w + 1 as next,
                xid = pg_current_xact_id()::text::bigint and lag(xid) over w < xid as xids,
                id > lag(id) over w as ids
         from (select * from oncebox.event order by seq desc limit 2) e
         window w as (order by seq) order by seq desc limit 1",
    )
    .fetch_one(&mut *transaction)
    .await?;
    for fact in ["same", "next", "xids", "ids"] {
        ensure!(
            row.try_get::<bool, _>(fact)?,
            "the backlog is not what oncebox.enqueue writes: {fact}"
        );
    }
    let found: (i64, i32) = (row.try_get("events")?, row.try_get("bytes")?);
    ensure!(
        found == (events + 1, DATA_BYTES),
        "the backlog has {found:?} events and bytes"
    );
    transaction.rollback().await?;
    Ok(())
}

/// The backlog's messages, made as the relay makes them.
pub(crate) async fn messages(connection: &mut PgConnection, events: i64) -> Result<Vec<Message>> {
    let rows = sqlx::query(
        "select seq, (bucket >> 4)::smallint as shard, id, type, key, key_seq, tenant, kind, source,
                (extract(epoch from time) * 1000000)::bigint as time_micros, headers::text, data::text
         from oncebox.event order by seq limit $1",
    )
    .bind(events)
    .fetch_all(connection)
    .await?;
    let message = |row: &sqlx::postgres::PgRow| -> Result<Message> {
        Ok(Message::of(Row {
            seq: row.try_get("seq")?,
            shard: row.try_get("shard")?,
            id: row.try_get::<Uuid, _>("id")?,
            event_type: row.try_get("type")?,
            key: row.try_get("key")?,
            key_seq: row.try_get("key_seq")?,
            tenant: row.try_get("tenant")?,
            kind: row.try_get("kind")?,
            source: row.try_get("source")?,
            time_micros: row.try_get("time_micros")?,
            headers: row.try_get("headers")?,
            data: row.try_get("data")?,
        })?)
    };
    rows.iter().map(message).collect()
}
