-- A faster oncebox.enqueue, for data of up to 8 MiB.
--
-- What costs in a short transaction is not the work but the number of expressions: each is set up anew
-- in each transaction, and a function in language sql is parsed and planned anew. So one expression
-- says whether a call is plain; only for others is each argument looked at by itself.

-- As before, in a language whose plans are kept.
create or replace function oncebox.text_fault(value text, max_bytes int) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  if value = '' then
    return 'must not be empty; leave it out instead';
  elsif octet_length(value) > max_bytes then
    return format('is %s bytes long; at most %s are allowed', octet_length(value), max_bytes);
  elsif value ~ '[^ -~]'
    and (value ~ '[\x01-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]'
      or value ~ '[\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U0003fffe\U0003ffff\U0004fffe\U0004ffff\U0005fffe\U0005ffff\U0006fffe\U0006ffff\U0007fffe\U0007ffff\U0008fffe\U0008ffff\U0009fffe\U0009ffff\U000afffe\U000affff\U000bfffe\U000bffff\U000cfffe\U000cffff\U000dfffe\U000dffff\U000efffe\U000effff\U000ffffe\U000fffff\U0010fffe\U0010ffff]') then
    return 'holds a control character or noncharacter; CloudEvents strings allow none';
  end if;
  return null;
end $$;

-- As before; `datalength` and `datasha256` go with `dataref` and are set by oncebox.
create or replace function oncebox.header_fault(name text, value jsonb) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  kind constant text := jsonb_typeof(value);
  plain constant text := value #>> '{}';
begin
  if name !~ '^[a-z0-9]{1,20}$' then
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

-- Looks at each argument of oncebox.enqueue by itself. Returns the length of data as text, in bytes,
-- or raises the error for the first argument that is wrong.
create or replace function oncebox.checked_bytes(
  type text, data jsonb, key text, tenant text, kind text, source text, headers jsonb
) returns int
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  -- What goes beyond a target's limit is held in S3; this bounds what a relay has to hold in memory.
  max_data_bytes    constant int := 8388608;
  max_headers_bytes constant int := 16384;
  v_field  text;
  v_fault  text;
  v_bytes  int;
begin
  if checked_bytes.type is null or octet_length(checked_bytes.type) > 128
     or checked_bytes.type !~ '^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*\.v[1-9][0-9]{0,4}$' then
    v_field := 'type';
    v_fault := 'expected dotted lower-case words and a major version, at most 128 bytes, like invoice.created.v1';
  elsif checked_bytes.data is null then
    v_field := 'data';
    v_fault := 'must not be NULL; pass ''null''::jsonb for an event without data';
  elsif checked_bytes.kind is null or checked_bytes.kind not in ('event', 'command', 'query', 'reply') then
    v_field := 'kind';
    v_fault := 'expected event, command, query or reply';
  elsif checked_bytes.tenant is null then
    v_field := 'tenant';
    v_fault := 'must not be NULL; leave it out for the default tenant';
  elsif checked_bytes.headers is null or jsonb_typeof(checked_bytes.headers) <> 'object' then
    v_field := 'headers';
    v_fault := format('expected a JSON object, found %s', coalesce(jsonb_typeof(checked_bytes.headers), 'NULL'));
  elsif checked_bytes.source ~ '[^!-~]' then
    v_field := 'source';
    v_fault := 'expected a URI reference: ASCII characters without white space';
  end if;
  if v_fault is null and checked_bytes.key is not null then
    v_field := 'key';
    v_fault := oncebox.text_fault(checked_bytes.key, 2048);
  end if;
  if v_fault is null and checked_bytes.tenant <> 'default' then
    v_field := 'tenant';
    v_fault := oncebox.text_fault(checked_bytes.tenant, 128);
  end if;
  if v_fault is null then
    v_field := 'source';
    v_fault := oncebox.text_fault(checked_bytes.source, 256);
  end if;
  if v_fault is null and checked_bytes.headers <> '{}' then
    if octet_length(checked_bytes.headers::text) > max_headers_bytes then
      v_field := 'headers';
      v_fault := format('are %s bytes long as text; at most %s are allowed', octet_length(checked_bytes.headers::text), max_headers_bytes);
    else
      select format('headers.%s', left(h.key, 40)), h.fault into v_field, v_fault
        from (select e.key, oncebox.header_fault(e.key, e.value) as fault from jsonb_each(checked_bytes.headers) e) h
       where h.fault is not null
       order by h.key limit 1;
    end if;
    if v_fault is null and checked_bytes.key is null and checked_bytes.headers ? 'sequence' then
      v_field := 'headers.sequence';
      v_fault := 'a sequence counts within a key; pass the key too';
    end if;
  end if;
  if v_fault is null then
    v_bytes := octet_length(checked_bytes.data::text);
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
  return v_bytes;
end $$;
comment on function oncebox.checked_bytes is 'Checks the arguments of oncebox.enqueue; returns the length of data as text';

-- As before: (1) the transaction gets its xid, (2) the key's row is locked, (3) seq is taken.
create or replace function oncebox.enqueue(
  type text, data jsonb,
  key text default null, tenant text default 'default', kind text default 'event',
  source text default null, headers jsonb default '{}', id uuid default null
) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_bytes  int;
  v_xid    bigint;
  v_keyseq bigint;
  v_seq    bigint;
begin
  -- Null unless all is plainly right: then nothing has to be said about it. Narrower than the rules, never wider.
  v_bytes := case
    when enqueue.type ~ '^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*\.v[1-9][0-9]{0,4}$' and octet_length(enqueue.type) <= 128
     and enqueue.kind in ('event', 'command', 'query', 'reply')
     and enqueue.tenant ~ '^[ -~]+$' and octet_length(enqueue.tenant) <= 128
     and coalesce(enqueue.source, '/' || current_database()) ~ '^[!-~]+$' and octet_length(coalesce(enqueue.source, '')) <= 256
     and (enqueue.key is null or (enqueue.key ~ '^[ -~]+$' and octet_length(enqueue.key) <= 2048))
     and enqueue.headers = '{}'
    then octet_length(enqueue.data::text) end;
  if v_bytes is null or v_bytes > 8388608 then
    v_bytes := oncebox.checked_bytes(enqueue.type, enqueue.data, enqueue.key, enqueue.tenant, enqueue.kind,
                                     coalesce(enqueue.source, '/' || current_database()), enqueue.headers);
  end if;

  v_xid := pg_current_xact_id()::text::bigint;
  if enqueue.key is not null then
    v_keyseq := (enqueue.headers ->> 'sequence')::bigint;
    if v_keyseq is null then
      insert into oncebox.key_sequence as k (key, last) values (enqueue.key, 1)
        on conflict on constraint key_sequence_pkey do update set last = k.last + 1
        returning k.last into v_keyseq;
    end if;
  end if;
  v_seq := nextval('oncebox.event_seq');
  -- The id is a UUIDv7, as of oncebox.uuid_v7: 48 bits of Unix milliseconds, then random.
  insert into oncebox.event (seq, xid, bucket, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data)
  values (
    v_seq, v_xid,
    case when enqueue.key is null then v_seq & 255 else get_byte(sha256(convert_to(enqueue.key, 'UTF8')), 0) end,
    v_bytes,
    coalesce(enqueue.id, encode(set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              placing substring(int8send(floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
      52, 1), 53, 1), 'hex')::uuid),
    enqueue.type, enqueue.key, v_keyseq, enqueue.tenant, enqueue.kind,
    coalesce(enqueue.source, '/' || current_database()), now(), enqueue.headers - 'sequence', enqueue.data
  ) returning event.id into enqueue.id;
  return enqueue.id;
end $$;
comment on function oncebox.enqueue is 'Appends an event to the outbox inside the caller''s transaction; returns its id';
