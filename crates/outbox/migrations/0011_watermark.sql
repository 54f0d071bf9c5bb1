-- How far a consumer with a gap guard, whose effects are in Postgres, has come within a key; committed together with the
-- effect of the event, under the lock of its row.
create table if not exists oncebox.watermark (
  consumer text     not null,
  key      text     not null,
  -- Each event from `first` to `last` had its effect or is in `missed`.
  last     bigint   not null,
  first    bigint   not null,
  -- Which write this is: nothing is written over what one has not seen.
  own      text     not null,
  -- Of the last events 16 bytes each, `last` last.
  recent   bytea    not null check (octet_length(recent) % 16 = 0),
  missed   bigint[] not null default '{}',
  primary key (consumer, key)
) with (fillfactor = 50);
comment on table oncebox.watermark is 'How far each consumer with a gap guard has come within a key';
