-- Which edition of a parked event was sent, and which events are being sent at most once.

alter table oncebox.parked add column if not exists edits bigint not null default 0;
comment on column oncebox.parked.edits is 'how often the event was edited: what the relay has read before an edit does not settle what the edit has made of it';

alter table oncebox.parked drop constraint if exists parked_state_check;
alter table oncebox.parked add constraint parked_state_check check (state in ('parked', 'retry', 'sending'));
comment on column oncebox.parked.state is 'parked: waits for a person; retry: the relay that holds the shard will send it again, in the order of seq; sending: being sent, by a sink that sends at most once';
