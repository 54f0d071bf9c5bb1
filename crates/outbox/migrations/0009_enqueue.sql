-- A faster oncebox.enqueue, also for events that are traced.
--
-- Of what a call costs beside the row itself, most is setting expressions up: in each transaction
-- anew, each function and operator of them by itself. So there are few of them, and those for rare
-- arguments stand where only such calls come by. A regular expression with a count such as {32} builds
-- its automaton anew in each call, one state per character: LIKE and translate() do the same at a tenth.

-- Whether a text is a traceparent (W3C Trace Context, section 3.2) of version 00 whose ids do not begin with sixteen
-- zeros. Others may be right too: see oncebox.header_fault. In a form that Postgres writes into the
-- expression that calls it, its names resolved already.
create or replace function oncebox.is_plain_traceparent(value text) returns boolean
language sql immutable parallel safe
return value operator(pg_catalog.~~) '00-________________________________-________________-__'
   and pg_catalog.translate(value, '0123456789abcdef', '') operator(pg_catalog.=) '---'
   and pg_catalog.strpos(value, '-0000000000000000') operator(pg_catalog.=) 0;

-- As before; what traced and correlated events carry is looked at first.
create or replace function oncebox.header_fault(name text, value jsonb) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  kind constant text := jsonb_typeof(value);
  plain constant text := value #>> '{}';
begin
  if kind = 'string' and name in ('correlationid', 'causationid', 'replyto', 'tracestate') then
    return oncebox.text_fault(plain, 2048);
  elsif name = 'traceparent' and oncebox.is_plain_traceparent(plain) then
    return null;
  elsif name !~ '^[a-z0-9]{1,20}$' then
    return 'a name has 1 to 20 lower-case letters and digits';
  elsif name in ('specversion', 'id', 'source', 'type', 'time', 'datacontenttype', 'data', 'partitionkey', 'tenant', 'kind',
                 'dataref', 'datalength', 'datasha256') then
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

-- As before: (1) the transaction gets its xid, (2) the key's row is locked, (3) seq is taken.
--
-- With its owner's rights and the caller's search_path, for setting another one costs a tenth of the
-- call. So every function, operator and type here is named with its schema; a test shadows them all.
create or replace function oncebox.enqueue(
  type text, data jsonb,
  key text default null, tenant text default 'default', kind text default 'event',
  source text default null, headers jsonb default '{}', id uuid default null
) returns uuid
language plpgsql volatile security definer as $$
declare
  v_bytes  int;
  v_keyseq bigint;
begin
  if enqueue.source is null then
    enqueue.source := '/' operator(pg_catalog.||) pg_catalog.current_database();
  end if;
  -- Null unless all but the headers is plainly right: then nothing has to be said about it. Narrower
  -- than the rules, never wider; oncebox.checked_bytes looks at the others one by one.
  v_bytes := case
    when enqueue.type operator(pg_catalog.~) '^[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*\.v[1-9][0-9]{0,4}$'
     and pg_catalog.octet_length(enqueue.type) operator(pg_catalog.<=) 128
     and enqueue.kind operator(pg_catalog.=) any (array['event', 'command', 'query', 'reply']::pg_catalog.text[])
     and enqueue.tenant operator(pg_catalog.~) '^[ -~]+$'
     and pg_catalog.octet_length(enqueue.tenant) operator(pg_catalog.<=) 128
     and enqueue.source operator(pg_catalog.~) '^[!-~]+$'
     and pg_catalog.octet_length(enqueue.source) operator(pg_catalog.<=) 256
     and (enqueue.key is null
          or (enqueue.key operator(pg_catalog.~) '^[ -~]+$' and pg_catalog.octet_length(enqueue.key) operator(pg_catalog.<=) 2048))
     and enqueue.headers is not null
    then pg_catalog.octet_length(enqueue.data::pg_catalog.text) end;
  if enqueue.headers operator(pg_catalog.<>) '{}' or (v_bytes operator(pg_catalog.<=) 8388608) is not true then
    -- An event that is traced and has no other headers is plain too.
    if (v_bytes operator(pg_catalog.<=) 8388608
        and enqueue.headers operator(pg_catalog.-) 'traceparent'::pg_catalog.text operator(pg_catalog.=) '{}'
        and oncebox.is_plain_traceparent(enqueue.headers operator(pg_catalog.->>) 'traceparent')) is not true then
      v_bytes := oncebox.checked_bytes(enqueue.type, enqueue.data, enqueue.key, enqueue.tenant, enqueue.kind,
                                       enqueue.source, enqueue.headers);
    end if;
  end if;

  -- A UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then those of a random UUID.
  if enqueue.id is null then
    enqueue.id := ('0' operator(pg_catalog.||)
        pg_catalog.to_hex(pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000)::bigint)
        operator(pg_catalog.||) '-7'
        operator(pg_catalog.||) pg_catalog.substr(pg_catalog.gen_random_uuid()::pg_catalog.text, 16))::pg_catalog.uuid;
  end if;

  -- CASE decides what is evaluated first: the xid before the lock and before seq.
  if enqueue.key is null then
    insert into oncebox.event (seq, xid, bucket, bytes, id, type, tenant, kind, source, time, headers, data)
    values (
      case when pg_catalog.txid_current() operator(pg_catalog.>) 0 then pg_catalog.nextval('oncebox.event_seq'::pg_catalog.regclass) end,
      pg_catalog.txid_current(),
      pg_catalog.get_byte(pg_catalog.uuid_send(enqueue.id), 15),
      v_bytes, enqueue.id, enqueue.type, enqueue.tenant, enqueue.kind, enqueue.source, pg_catalog.now(),
      enqueue.headers, enqueue.data
    );
    return enqueue.id;
  end if;

  v_keyseq := (enqueue.headers operator(pg_catalog.->>) 'sequence')::bigint;
  if v_keyseq is null then
    insert into oncebox.key_sequence as k (key, last)
    values (case when pg_catalog.txid_current() operator(pg_catalog.>) 0 then enqueue.key end, 1)
      on conflict on constraint key_sequence_pkey do update set last = k.last operator(pg_catalog.+) 1
      returning k.last into v_keyseq;
  end if;
  insert into oncebox.event (seq, xid, bucket, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data)
  values (
    case when pg_catalog.txid_current() operator(pg_catalog.>) 0 then pg_catalog.nextval('oncebox.event_seq'::pg_catalog.regclass) end,
    pg_catalog.txid_current(),
    pg_catalog.get_byte(pg_catalog.sha256(pg_catalog.convert_to(enqueue.key, 'UTF8')), 0),
    v_bytes, enqueue.id, enqueue.type, enqueue.key, v_keyseq, enqueue.tenant, enqueue.kind, enqueue.source, pg_catalog.now(),
    enqueue.headers operator(pg_catalog.-) 'sequence'::pg_catalog.text, enqueue.data
  );
  return enqueue.id;
end $$;
comment on function oncebox.enqueue is 'Appends an event to the outbox inside the caller''s transaction; returns its id';
comment on column oncebox.event.bucket is '0..255, first byte of SHA-256 of the key (last byte of the id where there is no key); a shard is 16 buckets';
