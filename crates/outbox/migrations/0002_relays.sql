-- Several relays over one log: who lives, and whose cursors belong to which database cluster.

-- The relays that run. A relay holds the shards whose cursors name it as owner for as long as its
-- row is here. It raises `beat` in short intervals; another relay that has seen one and the same
-- beat for term_ms, measured by its own clock, deletes the row, and with that the shards are free.
-- The times here are for people: no decision compares clocks of two machines.
create table if not exists oncebox.relay (
  id         text        not null primary key,
  sinks      text[]      not null,
  beat       bigint      not null default 0,
  term_ms    bigint      not null check (term_ms > 0),
  started_at timestamptz not null default now(),
  beat_at    timestamptz not null default now()
) with (fillfactor = 50);
comment on table oncebox.relay is 'The relays that run; a shard belongs to its cursor''s owner while the owner stands here';

alter table oncebox.cursor add column if not exists system_id bigint;
comment on column oncebox.cursor.system_id is 'System identifier of the cluster that the cursor counts transactions of; null until a relay has taken it';
comment on column oncebox.cursor.owner is 'The relay (oncebox.relay.id) that publishes the shard; null for none';
comment on column oncebox.cursor.epoch is 'Raised by each change of owner and by commands; a cursor is written under the epoch that its holder knows';
