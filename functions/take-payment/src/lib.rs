//! Books the payment of an invoice that was created.
//!
//! The booking and the record that the event has been consumed are one DynamoDB transaction.

use invoicing_events::InvoiceCreated;
use jiff::Timestamp;
use oncebox_consumer::{Effects, HandlerError, Key};
use oncebox_envelope::Envelope;

/// The consumer's name.
pub const CONSUMER: &str = "take-payment";
/// The table of payments, as the handler calls it.
pub const PAYMENTS: &str = "payments";
/// The environment variable with the table's name.
pub const PAYMENTS_ENV: &str = "PAYMENTS_TABLE";

/// Books the amount on the item `payment#{invoice_id}`.
///
/// It adds instead of writing fixed values, so that an effect that happens twice shows.
///
/// # Errors
/// None of its own.
#[expect(clippy::unused_async, reason = "handlers are async")]
pub async fn take_payment(event: Envelope<InvoiceCreated>, effects: &mut Effects) -> Result<(), HandlerError> {
    let invoice = &event.data;
    effects
        .update(PAYMENTS, Key::new("pk", format!("payment#{}", invoice.invoice_id)))
        .add("bookings", 1)
        .add("booked_cents", invoice.amount_cents)
        .set("currency", invoice.currency.as_str())
        .set("event_id", *event.id.as_uuid())
        .set_if_absent("booked_at_ms", Timestamp::now().as_millisecond());
    Ok(())
}
