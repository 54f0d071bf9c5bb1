-- A relay may start while the target of one of its sinks is away. It has the sink, and takes no share of its shards
-- before the target is there.
alter table oncebox.relay add column if not exists waiting text[] not null default '{}';
comment on column oncebox.relay.waiting is 'Those of its sinks whose target it has not found yet: other relays share their shards without it';
