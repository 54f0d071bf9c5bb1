-- The invoices. An invoice has no unique key of its own on purpose: the demonstration shows that no
-- command has two effects, and a constraint would hide it if one had.
create schema if not exists invoicing;

create table if not exists invoicing.invoice (
  id           bigint generated always as identity primary key,
  invoice_id   uuid        not null,
  customer_id  uuid        not null,
  amount_cents bigint      not null check (amount_cents > 0),
  currency     text        not null check (currency ~ '^[A-Z]{3}$'),
  command_id   uuid        not null,
  created_at   timestamptz not null default now()
);

create index if not exists invoice_by_invoice_id on invoicing.invoice (invoice_id);
