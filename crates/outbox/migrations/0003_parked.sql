-- Events that a target will never take as they are, and the followers of their keys.

-- Written in the transaction that moves the cursor over them. A copy, not a reference: the log's
-- partition may be dropped while an event is parked.
create table if not exists oncebox.parked (
  sink      text        not null,
  seq       bigint      not null,
  shard     smallint    not null,
  id        uuid        not null,
  type      text        not null,
  key       text,
  key_seq   bigint,
  tenant    text        not null,
  kind      text        not null,
  source    text        not null,
  time      timestamptz not null,
  headers   jsonb       not null,
  data      jsonb       not null,
  state     text        not null default 'parked' check (state in ('parked', 'retry')),
  class     text        not null check (class in ('permanent', 'oversize', 'invalid', 'follows')),
  code      text        not null,
  reason    text        not null,
  attempts  bigint      not null check (attempts >= 0),
  parked_at timestamptz not null default now(),
  edited_at timestamptz,
  primary key (sink, seq)
);
comment on table oncebox.parked is 'Events that a sink has set aside, to be retried, edited or skipped by outbox-relay parked';
comment on column oncebox.parked.state is 'parked: waits for a person; retry: the relay that holds the shard will send it again, in the order of seq';
comment on column oncebox.parked.class is 'permanent: the target refused it; oversize: too large for the target; invalid: no valid event; follows: behind another event of its key';

create index if not exists parked_key on oncebox.parked (sink, key, seq) where key is not null;
create index if not exists parked_retry on oncebox.parked (sink, shard, seq) where state = 'retry';
