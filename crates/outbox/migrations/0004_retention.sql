-- Partitions that nobody needs any more are dropped; and how to tell one life of the server from the next.

-- What became of each partition of the log: how large it is, and when it goes or what holds it.
--
-- A partition may be dropped when all of this is true:
--   (1) the sequence is past it: no further row gets a seq in it;
--   (2) there is a cursor, and no cursor may still have a row in it to publish;
--   (3) its newest row is older than the retention.
--
-- Why (2) is enough for rows that are not there yet. Every row that a cursor's base does not see
-- lies above least(base_seq, base_open_floor, base_floors), whatever its transaction (see
-- oncebox.cursor). So let all cursors' bounds be at or above the partition's last position, and let
-- a transaction hold a seq in the partition, written or not. Then each base sees that transaction,
-- and a snapshot sees only transactions that have ended: it has committed and is published, or has
-- rolled back. A transaction that is open but took no seq yet takes one above the sequence's
-- position: (1). Prepared transactions are running ones to a snapshot; a subtransaction's rows carry
-- the xid of its parent. A run that is under way does not count: only bases do.
--
-- And if a cursor were wrong: what is written and not committed holds a lock on its partition, so
-- that it cannot be dropped; what took a seq and has not written yet fails with an error.
--
-- A row's time is its transaction's start. Times do not rise with seq, so (3) takes the newest of
-- the last 1,000 positions. It is for people who want to read or replay; (2) is what is safe.
--
-- retention null: for ever.
create or replace function oncebox.partition_status(retention interval default '7 days')
returns table (
  partition text, from_seq bigint, to_seq bigint, rows_estimate bigint, bytes bigint,
  newest timestamptz, free_after timestamptz, held_by text
)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  size constant bigint := 1000000;
  log_end bigint;
  behind text;
begin
  select case when s.is_called then s.last_value else s.last_value - 1 end into log_end from oncebox.event_seq s;
  for partition, rows_estimate, bytes in
    select c.relname::text, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid)
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'oncebox.event'::regclass order by c.relname
  loop
    from_seq := split_part(partition, '_', 2)::bigint * size;
    to_seq := from_seq + size - 1;
    newest := null;
    free_after := null;
    held_by := null;
    if from_seq > log_end then
      held_by := 'it is ahead of the log''s end';
    else
      -- Literals, so that the plan has this partition and no other.
      execute format('select max(e.time) from (select time from oncebox.event where seq between %s and %s order by seq desc limit 1000) e',
                     from_seq, to_seq) into newest;
      free_after := greatest(coalesce(newest, '-infinity') + retention, statement_timestamp());
      if to_seq > log_end then
        held_by := 'events are being written to it';
        free_after := null;
      elsif retention is null then
        held_by := 'events are kept for ever';
      elsif not exists (select from oncebox.cursor) then
        held_by := 'no sink has run yet';
      else
        select string_agg(b.reason, '; ' order by b.sink) into behind from (
          select c.sink,
            case
              when count(*) < 16 then
                format('sink `%s` lacks cursors: it has %s of 16 shards', c.sink, count(*))
              when min(c.base_seq) < to_seq then
                format('sink `%s` has published up to %s', c.sink, min(c.base_seq))
              else
                format('sink `%s` waits for transactions that may be running and may have written above %s', c.sink, min(f.floor))
            end || case
              when exists (select from oncebox.relay) and not exists (select from oncebox.relay r where c.sink = any (r.sinks))
                then format(' and no relay runs it: if it is gone for good, delete from oncebox.cursor where sink = %L', c.sink)
              else ''
            end as reason
          from oncebox.cursor c,
               lateral (select least(c.base_seq, c.base_open_floor, (select min(u) from unnest(c.base_floors) u)) as floor) f
          group by c.sink
          having min(f.floor) < to_seq or count(*) < 16
        ) b;
        held_by := coalesce(behind, case when free_after > statement_timestamp() then 'the retention' end);
      end if;
    end if;
    return next;
  end loop;
end $$;
comment on function oncebox.partition_status is 'The log''s partitions: size, and when each is dropped or what holds it; held_by is null for one that may go now';
revoke all on function oncebox.partition_status from public;

-- Drops partitions that may go (oncebox.partition_status), the oldest first, at most `most`. Returns
-- what it dropped; no row when there was nothing to drop or somebody else is at it.
--
-- Dropping needs the whole log's lock for a moment. It is waited for 500 ms at most, since writers
-- queue up behind the wait, and the partitions' own locks not at all: an error with SQLSTATE 55P03
-- (lock_not_available) says that a transaction that has used the log is still open, or that a
-- vacuum runs. Call it again later.
create or replace function oncebox.drop_partitions(retention interval default '7 days', most int default 4)
returns table (partition text, rows_estimate bigint, bytes bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  droppable text[];
  is_locked boolean := false;
begin
  if retention is null or retention < interval '0' then
    raise exception 'oncebox.drop_partitions: retention: expected an interval of at least 0' using errcode = 'invalid_parameter_value';
  end if;
  -- The lock of oncebox.ensure_partitions.
  if not pg_try_advisory_xact_lock(7017560001) then
    return;
  end if;
  for partition, rows_estimate, bytes in
    select s.partition, s.rows_estimate, s.bytes from oncebox.partition_status(retention) s
     where s.held_by is null order by s.from_seq limit most
  loop
    if not is_locked then
      lock table only oncebox.event in access exclusive mode;
      is_locked := true;
    end if;
    execute format('lock table oncebox.%I in access exclusive mode nowait', partition);
    execute format('drop table oncebox.%I', partition);
    return next;
  end loop;
end $$;
comment on function oncebox.drop_partitions is 'Drops partitions that every cursor is past and that are older than the retention; returns them';
revoke all on function oncebox.drop_partitions from public;

-- Names the server's present life: another value after a restart, after crash recovery (the
-- statistics are reset then, though the postmaster may live on) and on another server after a
-- failover. Behind a connection pooler a client's connection outlives all of these, while
-- transaction ids that were never made durable are given out again. A false alarm (somebody resets
-- statistics) costs a reconnect.
create or replace function oncebox.incarnation() returns text
language sql stable parallel safe set search_path = pg_catalog, pg_temp as $$
  select format('%s-%s', (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint,
                         (extract(epoch from pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::bigint)
$$;
comment on function oncebox.incarnation is 'Names the server''s present life; changes with a restart, crash recovery and failover';

create or replace procedure oncebox.require_incarnation(expected text)
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if oncebox.incarnation() is distinct from expected then
    raise exception 'the server was restarted, has recovered from a crash or is another one since this session began'
      using errcode = 'crash_shutdown', hint = 'begin a new session and forget what was read in this one';
  end if;
end $$;
comment on procedure oncebox.require_incarnation is 'Fails when the server''s life is another one than expected';
