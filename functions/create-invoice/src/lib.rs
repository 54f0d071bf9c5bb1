//! Creates the invoice that a command asks for, and says so through the outbox.
//!
//! The invoice's row, the event `invoice.created.v1` and the record that the command has been
//! consumed are one Postgres transaction.

use invoicing_events::{CreateInvoice, InvoiceCreated};
use oncebox_consumer::{HandlerError, PgTransaction};
use oncebox_envelope::{Envelope, Source};
use oncebox_outbox::{EnqueueError, NewEvent, Outbox};

/// The consumer's name, and the source of its events.
pub const CONSUMER: &str = "create-invoice";

/// The tables of this function; may run any number of times. Beside it the function needs schema
/// `oncebox` (`outbox-relay migrate`).
pub const SCHEMA_SQL: &str = include_str!("../schema.sql");

/// Writes the invoice and enqueues `invoice.created.v1`, keyed by the invoice, in `tx`.
///
/// # Errors
/// Retryable when the database fails, permanent when the outbox refuses the event.
pub async fn create_invoice(event: Envelope<CreateInvoice>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    let invoice = &event.data;
    let amount_cents = i64::try_from(invoice.amount_cents)
        .map_err(|_| HandlerError::permanent("amount_cents does not fit the database"))?;
    sqlx::query(
        "insert into invoicing.invoice (invoice_id, customer_id, amount_cents, currency, command_id) \
         values ($1, $2, $3, $4, $5)",
    )
    .bind(invoice.invoice_id)
    .bind(invoice.customer_id)
    .bind(amount_cents)
    .bind(invoice.currency.as_str())
    .bind(event.id.as_uuid())
    .execute(&mut **tx)
    .await?;

    let created = InvoiceCreated {
        invoice_id: invoice.invoice_id,
        customer_id: invoice.customer_id,
        amount_cents: invoice.amount_cents,
        currency: invoice.currency.clone(),
    };
    // Last in the transaction: a keyed event locks its key until the end.
    let created = NewEvent::of(&created)
        .map_err(not_enqueued)?
        .key(invoice.invoice_id)
        .caused_by(&event);
    let outbox = Outbox::new(Source::new(CONSUMER).map_err(HandlerError::permanent)?);
    outbox.enqueue(tx, created).await.map_err(not_enqueued)?;
    Ok(())
}

fn not_enqueued(error: EnqueueError) -> HandlerError {
    match error {
        EnqueueError::Database(error) => error.into(),
        EnqueueError::Rejected { field, .. } => {
            HandlerError::permanent(format!("the outbox refused `{field}` of invoice.created.v1"))
        }
        EnqueueError::Encode(_) => HandlerError::permanent("invoice.created.v1 cannot be written as JSON"),
        _ => HandlerError::retryable("the outbox could not be written"),
    }
}
