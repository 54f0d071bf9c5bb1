//! Books the payment of an invoice that was created.
//!
//! The booking and the record that the event has been consumed are one DynamoDB transaction. Where the function is
//! told whom to tell, `payment.taken.v1` is a part of it, too, and sent afterwards.

use invoicing_events::{InvoiceCreated, PaymentTaken};
use jiff::Timestamp;
use oncebox_consumer::{Effects, HandlerError, Key, NewEvent};
use oncebox_envelope::Envelope;

/// The consumer's name.
pub const CONSUMER: &str = "take-payment";
/// The table of payments, as the handler calls it.
pub const PAYMENTS: &str = "payments";
/// The environment variable with the table's name.
pub const PAYMENTS_ENV: &str = "PAYMENTS_TABLE";
/// Who is told of payments, as the handler calls them.
pub const PAYMENT_EVENTS: &str = "payment-events";
/// The environment variable with their address: a queue's URL or a topic's ARN.
pub const PAYMENT_EVENTS_ENV: &str = "PAYMENT_EVENTS_TARGET";
/// The environment variable with the table of what is emitted.
pub const OUTBOX_ENV: &str = "OUTBOX_TABLE";

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

/// As [`take_payment`], and tells of it: an event whose key is the invoice.
///
/// # Errors
/// Those of [`Effects::emit`].
pub async fn take_payment_and_tell(event: Envelope<InvoiceCreated>, effects: &mut Effects) -> Result<(), HandlerError> {
    let invoice = event.data.clone();
    take_payment(event, effects).await?;
    let key = invoice.invoice_id.to_string();
    let taken = PaymentTaken {
        invoice_id: invoice.invoice_id,
        customer_id: invoice.customer_id,
        amount_cents: invoice.amount_cents,
        currency: invoice.currency,
    };
    effects.emit(PAYMENT_EVENTS, NewEvent::of(&taken)?.key(key))?;
    Ok(())
}
