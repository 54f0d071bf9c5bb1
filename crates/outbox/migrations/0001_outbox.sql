-- The outbox as a log: an append-only table, a cursor per sink and shard, an inbox for consumers.
-- Every statement may run twice; a database administrator may apply this file by hand.

do $$
begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'oncebox needs a database with encoding UTF8, this one has %', current_setting('server_encoding')
      using hint = 'create the database with: create database … encoding ''UTF8'' template template0';
  end if;
  if current_setting('server_version_num')::int < 150000 then
    raise exception 'oncebox needs Postgres 15 or later, this is %', current_setting('server_version');
  end if;
end $$;

create schema if not exists oncebox;
comment on schema oncebox is 'Oncebox: outbox log, cursors and inbox';

-- One sequence for the whole log. CACHE 1 is part of the cursor's correctness: a session must never
-- hold numbers in reserve, see the reading rule in oncebox.cursor.
create sequence if not exists oncebox.event_seq as bigint cache 1 no cycle;

-- The log. Rows are inserted by oncebox.enqueue only and never updated; whole partitions are dropped.
-- xid is bigint and not xid8 because xid8 has no BRIN operator class.
create table if not exists oncebox.event (
  seq      bigint      not null primary key,
  xid      bigint      not null,
  bucket   smallint    not null,
  bytes    integer     not null,
  id       uuid        not null,
  type     text        not null,
  key      text,
  key_seq  bigint,
  tenant   text        not null,
  kind     text        not null,
  source   text        not null,
  time     timestamptz not null,
  headers  jsonb       not null,
  data     jsonb       not null
) partition by range (seq);
comment on table oncebox.event is 'The outbox log; written by oncebox.enqueue, read by the relay';
comment on column oncebox.event.seq is 'Position in the log; taken after xid and after the key''s lock, so that a key''s events are in order';
comment on column oncebox.event.xid is 'Transaction that wrote the row (xid8 as bigint); what a cursor compares with its snapshot';
comment on column oncebox.event.bucket is '0..255, first byte of SHA-256 of the key (of seq where there is no key); a shard is 16 buckets';
comment on column oncebox.event.bytes is 'Length of data as text, in bytes';

-- xid and seq grow together, so a block range index finds a transaction's rows at a few bytes per page.
create index if not exists event_xid on oncebox.event using brin (xid) with (pages_per_range = 16, autosummarize = on);

-- Adds partitions of one million rows until `ahead` of them lie above the sequence's position.
-- ATTACH (and not CREATE … PARTITION OF) because it does not lock writers out. With its owner's
-- rights, since only the table's owner may attach; whoever runs the relay needs to be granted it.
create or replace function oncebox.ensure_partitions(ahead int default 16) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  size constant bigint := 1000000;
  first_missing bigint;
  wanted bigint;
  made int := 0;
  name text;
begin
  if ahead is null or ahead not between 1 and 64 then
    raise exception 'oncebox.ensure_partitions: ahead: expected 1 to 64' using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(7017560001);
  select coalesce(max(split_part(c.relname, '_', 2)::bigint) + 1, 0) into first_missing
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'oncebox.event'::regclass;
  select last_value / size + ahead into wanted from oncebox.event_seq;
  for n in first_missing .. wanted loop
    name := format('event_%s', lpad(n::text, 8, '0'));
    execute format('create table oncebox.%I (like oncebox.event including defaults including storage including comments)', name);
    execute format('alter table oncebox.event attach partition oncebox.%I for values from (%s) to (%s)', name, n * size, (n + 1) * size);
    made := made + 1;
  end loop;
  return made;
end $$;
comment on function oncebox.ensure_partitions is 'Creates partitions ahead of the log''s end; returns how many';

revoke all on function oncebox.ensure_partitions from public;

select oncebox.ensure_partitions();

-- The last number given out per key. The row's lock is what puts the writers of one key in a row.
create table if not exists oncebox.key_sequence (
  key  text   primary key,
  last bigint not null
) with (fillfactor = 70);
comment on table oncebox.key_sequence is 'Last sequence given out per key; its row lock serialises the writers of a key';

-- UUIDv7 (RFC 9562 section 5.7) for Postgres before 18: 48 bits of Unix milliseconds, then random.
create or replace function oncebox.uuid_v7() returns uuid
language sql volatile parallel safe set search_path = pg_catalog, pg_temp as $$
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
      52, 1), 53, 1), 'hex')::uuid
$$;

-- Why a string attribute cannot be carried, or null. CloudEvents 1.0 section 3.1.1: no control
-- characters, no noncharacters.
create or replace function oncebox.text_fault(value text, max_bytes int) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select case
    when value = '' then 'must not be empty; leave it out instead'
    when octet_length(value) > max_bytes
      then format('is %s bytes long; at most %s are allowed', octet_length(value), max_bytes)
    when value ~ '[\x01-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]'
      or value ~ '[\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U0003fffe\U0003ffff\U0004fffe\U0004ffff\U0005fffe\U0005ffff\U0006fffe\U0006ffff\U0007fffe\U0007ffff\U0008fffe\U0008ffff\U0009fffe\U0009ffff\U000afffe\U000affff\U000bfffe\U000bffff\U000cfffe\U000cffff\U000dfffe\U000dffff\U000efffe\U000effff\U000ffffe\U000fffff\U0010fffe\U0010ffff]'
      then 'holds a control character or noncharacter; CloudEvents strings allow none'
  end
$$;

create or replace function oncebox.header_fault(name text, value jsonb) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  kind constant text := jsonb_typeof(value);
  plain constant text := value #>> '{}';
begin
  if name !~ '^[a-z0-9]{1,20}$' then
    return 'a name has 1 to 20 lower-case letters and digits';
  elsif name in ('specversion', 'id', 'source', 'type', 'time', 'datacontenttype', 'data', 'partitionkey', 'tenant', 'kind', 'dataref') then
    return 'this attribute has a parameter of its own or is set by oncebox';
  elsif name = 'sequence' then
    if kind = 'number' and plain ~ '^[1-9][0-9]{0,18}$' and plain::numeric <= 9223372036854775807 then
      return null;
    end if;
    return 'expected a whole number from 1 to 9223372036854775807';
  elsif name in ('correlationid', 'causationid', 'replyto', 'traceparent', 'tracestate', 'expirytime') and kind <> 'string' then
    return format('expected a string, found %s', kind);
  elsif kind = 'number' and (plain !~ '^-?[0-9]{1,10}$' or plain::numeric not between -2147483648 and 2147483647) then
    return 'expected a 32-bit integer';
  elsif kind not in ('string', 'number', 'boolean') then
    return format('expected a string, a boolean or an integer, found %s', kind);
  elsif name = 'traceparent' and (plain !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
      or plain ~ '^ff' or substr(plain, 4, 32) = repeat('0', 32) or substr(plain, 37, 16) = repeat('0', 16)) then
    return 'expected a W3C traceparent (2-32-16-2 lower-case hex digits)';
  elsif name = 'expirytime' then
    if plain !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-](0[0-9]|1[0-5]):[0-5][0-9])$' then
      return 'expected an RFC 3339 time';
    end if;
    begin
      if plain::timestamptz > '9999-12-30T22:00:00.999999Z' then
        return 'expected an RFC 3339 time up to 9999-12-30T22:00:00Z; leave it out for an event that never expires';
      end if;
    exception when others then
      return 'expected an RFC 3339 time, this one does not exist';
    end;
    return null;
  elsif kind = 'string' then
    return oncebox.text_fault(plain, 2048);
  end if;
  return null;
end $$;

-- Appends one event to the log, inside the caller's transaction. Any language, any driver.
--
-- The order of the steps is the guarantee: (1) the transaction gets its xid, (2) the key's row is
-- locked, (3) seq is taken. So a row's seq lies above the sequence's position at any moment before
-- its transaction had an xid (what a cursor's bounds rest on), and a key's events have rising seq in commit order.
create or replace function oncebox.enqueue(
  type text, data jsonb,
  key text default null, tenant text default 'default', kind text default 'event',
  source text default null, headers jsonb default '{}', id uuid default null
) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  -- What SQS carries is 1,048,576 bytes; the rest is room for the attributes.
  max_data_bytes    constant int := 1000000;
  max_headers_bytes constant int := 16384;
  v_field  text;
  v_fault  text;
  v_bytes  int;
  v_xid    bigint;
  v_keyseq bigint;
  v_seq    bigint;
  v_source text := coalesce(enqueue.source, '/' || current_database());
begin
  if enqueue.type is null or octet_length(enqueue.type) > 128
     or enqueue.type !~ '^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*\.v[1-9][0-9]{0,4}$' then
    v_field := 'type';
    v_fault := 'expected dotted lower-case words and a major version, at most 128 bytes, like invoice.created.v1';
  elsif enqueue.data is null then
    v_field := 'data';
    v_fault := 'must not be NULL; pass ''null''::jsonb for an event without data';
  elsif enqueue.kind is null or enqueue.kind not in ('event', 'command', 'query', 'reply') then
    v_field := 'kind';
    v_fault := 'expected event, command, query or reply';
  elsif enqueue.tenant is null then
    v_field := 'tenant';
    v_fault := 'must not be NULL; leave it out for the default tenant';
  elsif enqueue.headers is null or jsonb_typeof(enqueue.headers) <> 'object' then
    v_field := 'headers';
    v_fault := format('expected a JSON object, found %s', coalesce(jsonb_typeof(enqueue.headers), 'NULL'));
  elsif v_source ~ '[^!-~]' then
    v_field := 'source';
    v_fault := 'expected a URI reference: ASCII characters without white space';
  end if;
  if v_fault is null then
    v_field := 'key';
    v_fault := oncebox.text_fault(enqueue.key, 2048);
  end if;
  if v_fault is null and enqueue.tenant <> 'default' then
    v_field := 'tenant';
    v_fault := oncebox.text_fault(enqueue.tenant, 128);
  end if;
  if v_fault is null then
    v_field := 'source';
    v_fault := oncebox.text_fault(v_source, 256);
  end if;
  if v_fault is null and enqueue.headers <> '{}' then
    if octet_length(enqueue.headers::text) > max_headers_bytes then
      v_field := 'headers';
      v_fault := format('are %s bytes long as text; at most %s are allowed', octet_length(enqueue.headers::text), max_headers_bytes);
    else
      select format('headers.%s', left(h.key, 40)), h.fault into v_field, v_fault
        from (select e.key, oncebox.header_fault(e.key, e.value) as fault from jsonb_each(enqueue.headers) e) h
       where h.fault is not null
       order by h.key limit 1;
    end if;
  end if;
  if v_fault is null and enqueue.headers ? 'sequence' and enqueue.key is null then
    v_field := 'headers.sequence';
    v_fault := 'a sequence counts within a key; pass the key too';
  end if;
  if v_fault is null then
    v_bytes := octet_length(enqueue.data::text);
    if v_bytes > max_data_bytes then
      v_field := 'data';
      v_fault := format('is %s bytes long as text; at most %s are allowed', v_bytes, max_data_bytes);
    end if;
  end if;
  if v_fault is not null then
    raise exception 'oncebox.enqueue: %: %', v_field, v_fault
      using errcode = 'invalid_parameter_value', column = v_field,
            hint = 'nothing was enqueued; correct the argument and call again';
  end if;

  v_xid := pg_current_xact_id()::text::bigint;
  if enqueue.headers ? 'sequence' then
    v_keyseq := (enqueue.headers ->> 'sequence')::bigint;
  elsif enqueue.key is not null then
    insert into oncebox.key_sequence as k (key, last) values (enqueue.key, 1)
      on conflict on constraint key_sequence_pkey do update set last = k.last + 1
      returning k.last into v_keyseq;
  end if;
  v_seq := nextval('oncebox.event_seq');
  enqueue.id := coalesce(enqueue.id, oncebox.uuid_v7());
  insert into oncebox.event (seq, xid, bucket, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data)
  values (
    v_seq, v_xid,
    case when enqueue.key is null then v_seq & 255 else get_byte(sha256(convert_to(enqueue.key, 'UTF8')), 0) end,
    v_bytes, enqueue.id, enqueue.type, enqueue.key, v_keyseq, enqueue.tenant, enqueue.kind, v_source, now(),
    enqueue.headers - 'sequence', enqueue.data
  );
  return enqueue.id;
end $$;
comment on function oncebox.enqueue is 'Appends an event to the outbox inside the caller''s transaction; returns its id';

-- How far a sink has published a shard.
--
-- All that snapshot `base` sees is published. With `target` set, what target sees and base does not
-- is being published in the order of seq and is done up to `position`. A row is new to target
-- exactly when target sees its xid and that xid is in xip(base), or at least xmax(base).
--
-- Four numbers bound where such rows lie, because enqueue takes the xid before seq and xids are
-- given out in order:
--   base_seq         read from the sequence before base_next_xid was read, and that before base was
--                    taken: rows with xid >= base_next_xid lie above it
--   base_open_floor  rows with xid from xmax(base) to base_next_xid lie above it (xmax is the last
--                    transaction that ended, plus one: later ones may have been running for long)
--   base_floors      one for each element of xip(base), in its order: its rows lie above it
--   target_high      read after target was taken: no row that target sees lies above it
create table if not exists oncebox.cursor (
  sink            text        not null,
  shard           smallint    not null check (shard between 0 and 15),
  base            pg_snapshot not null,
  base_next_xid   bigint      not null,
  base_seq        bigint      not null,
  base_open_floor bigint      not null,
  base_floors     bigint[]    not null,
  target          pg_snapshot,
  target_next_xid bigint,
  target_seq      bigint,
  target_high     bigint,
  position        bigint      not null,
  epoch           bigint      not null default 0,
  owner           text,
  updated_at      timestamptz not null default now(),
  primary key (sink, shard),
  check (num_nonnulls(target, target_next_xid, target_seq, target_high) in (0, 4))
) with (fillfactor = 50);
comment on table oncebox.cursor is 'How far each sink has published each shard; written by the relay that holds the epoch';

-- The dedupe record of consumers whose effect is in Postgres; committed together with the effect.
create table if not exists oncebox.inbox (
  consumer     text        not null,
  event_id     uuid        not null,
  payload_hash bytea       not null,
  processed_at timestamptz not null default now(),
  primary key (consumer, event_id)
);
comment on table oncebox.inbox is 'Which consumer has had the effect of which event';
