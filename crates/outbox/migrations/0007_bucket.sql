-- A bucket is 0 to 255: a row with another one belongs to no shard, so no relay would ever read it.
-- oncebox.enqueue writes no such row; an insert by hand or a careless copy might.

-- Partitions carry the constraint from their birth: one that lacks it cannot be attached.
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
    execute format('create table oncebox.%I (like oncebox.event including defaults including storage including comments including constraints)', name);
    execute format('alter table oncebox.event attach partition oncebox.%I for values from (%s) to (%s)', name, n * size, (n + 1) * size);
    made := made + 1;
  end loop;
  return made;
end $$;

-- Adding it needs the whole log's lock for a moment, for which writers queue up: three seconds at most,
-- then the migration fails with SQLSTATE 55P03 and is to be run again. A log with rows is not read
-- under that lock: there the constraint holds for what is written from now on, and older partitions
-- go with the retention. Whoever wants to know about them runs, at leisure and without locking writers
-- out: alter table oncebox.event validate constraint event_bucket_is_a_byte.
do $$
begin
  if exists (select from pg_constraint
              where conrelid = 'oncebox.event'::regclass and conname = 'event_bucket_is_a_byte') then
    return;
  end if;
  set local lock_timeout = '3s';
  -- The lock of oncebox.ensure_partitions, which must not make a partition without it meanwhile.
  perform pg_advisory_xact_lock(7017560001);
  if exists (select from oncebox.event) then
    alter table oncebox.event add constraint event_bucket_is_a_byte check (bucket between 0 and 255) not valid;
  else
    alter table oncebox.event add constraint event_bucket_is_a_byte check (bucket between 0 and 255);
  end if;
  set local lock_timeout to default;
end $$;
