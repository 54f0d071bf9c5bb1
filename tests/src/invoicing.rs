//! The client of the demonstration's story, and its messages.

use std::collections::HashMap;

use anyhow::Result;
use invoicing_events::{CreateInvoice, Currency, InvoiceCreated};
use oncebox_envelope::Event;
use oncebox_outbox::NewEvent;
use serde_json::{Value, json};
use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

use crate::Database;

const CLIENT_SCHEMA_SQL: &str = "
    create schema if not exists client;
    create table if not exists client.invoice_request (
      invoice_id   uuid        primary key,
      customer_id  uuid        not null,
      amount_cents bigint      not null,
      requested_at timestamptz not null default now()
    )";

/// A request for an invoice, in the client's own table and in the outbox.
#[derive(Debug, Clone, Copy)]
pub struct Requested {
    /// The invoice to be.
    pub invoice_id: Uuid,
    /// The id of the command.
    pub command_id: Uuid,
}

impl Database {
    /// Makes the client's table and those of `create-invoice`.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn prepare_invoicing(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        connection.execute(CLIENT_SCHEMA_SQL).await?;
        connection.execute(create_invoice::SCHEMA_SQL).await?;
        Ok(())
    }

    /// How often each invoice was created: invoice id → rows.
    ///
    /// # Errors
    /// The query fails.
    pub async fn invoices(&self) -> Result<HashMap<String, u64>> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("select invoice_id::text, count(*) from invoicing.invoice group by invoice_id")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().map(|(id, count)| (id, count.unsigned_abs())).collect())
    }

    /// The ids of all events of a type in the log.
    ///
    /// # Errors
    /// The query fails.
    pub async fn events_of(&self, event_type: &str) -> Result<Vec<String>> {
        let ids = sqlx::query_scalar("select id::text from oncebox.event where type = $1 order by seq");
        Ok(ids.bind(event_type).fetch_all(&self.pool).await?)
    }
}

/// Asks for an invoice in the transaction that `connection` is in: a row in the client's own table
/// and a command in the outbox, keyed by the customer.
///
/// # Errors
/// The database refuses.
pub async fn request_invoice(connection: &mut PgConnection, customer_id: Uuid) -> Result<Requested> {
    let command = invoice_of(customer_id)?;
    sqlx::query("insert into client.invoice_request (invoice_id, customer_id, amount_cents) values ($1, $2, $3)")
        .bind(command.invoice_id)
        .bind(customer_id)
        .bind(i64::try_from(command.amount_cents)?)
        .execute(&mut *connection)
        .await?;
    let event = NewEvent::of(&command)?.key(customer_id);
    let command_id = Database::outbox().enqueue(connection, event).await?;
    Ok(Requested {
        invoice_id: command.invoice_id,
        command_id: command_id.into(),
    })
}

/// An envelope with `CreateInvoice`, as the relay would send it.
///
/// # Errors
/// Never.
pub fn create_invoice_message(invoice_id: Uuid) -> Result<String> {
    let command = CreateInvoice {
        invoice_id,
        ..invoice_of(Uuid::new_v4())?
    };
    Ok(envelope(CreateInvoice::TYPE, "command", &json!(command)))
}

/// An envelope with `InvoiceCreated`, as the relay would send it.
///
/// # Errors
/// Never.
pub fn invoice_created_message(invoice_id: Uuid) -> Result<String> {
    let CreateInvoice {
        customer_id,
        amount_cents,
        currency,
        ..
    } = invoice_of(Uuid::new_v4())?;
    let created = InvoiceCreated {
        invoice_id,
        customer_id,
        amount_cents,
        currency,
    };
    Ok(envelope(InvoiceCreated::TYPE, "event", &json!(created)))
}

/// An envelope with any type and data, and a new id.
#[must_use]
pub fn envelope(event_type: &str, kind: &str, data: &Value) -> String {
    json!({
        "specversion": "1.0",
        "id": Uuid::now_v7(),
        "source": "/tests",
        "type": event_type,
        "time": "2026-01-02T03:04:05.678901Z",
        "datacontenttype": "application/json",
        "tenant": "default",
        "kind": kind,
        "data": data,
    })
    .to_string()
}

fn invoice_of(customer_id: Uuid) -> Result<CreateInvoice> {
    Ok(CreateInvoice {
        invoice_id: Uuid::new_v4(),
        customer_id,
        amount_cents: 12_345,
        currency: Currency::new("EUR")?,
    })
}
