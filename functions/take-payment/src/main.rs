//! The Lambda function `take-payment`. Environment: `DEDUPE_TABLE`, `PAYMENTS_TABLE`; `PAYMENT_EVENTS_TARGET`
//! with `OUTBOX_TABLE`, `ONCEBOX_DLQ_URL`, `RUST_LOG` (optional).

use invoicing_events::InvoiceCreated;
use oncebox_consumer::{Consumer, DynamoDbDedupe, transactional};
use take_payment::{
    CONSUMER, OUTBOX_ENV, PAYMENT_EVENTS, PAYMENT_EVENTS_ENV, PAYMENTS, PAYMENTS_ENV, take_payment,
    take_payment_and_tell,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let consumer = Consumer::builder(CONSUMER)
        .table_from_env(PAYMENTS, PAYMENTS_ENV)
        .dedupe(DynamoDbDedupe::from_env().await?);
    let consumer = match std::env::var(PAYMENT_EVENTS_ENV) {
        Ok(target) if !target.is_empty() => consumer
            .outbox_from_env(OUTBOX_ENV)
            .target(PAYMENT_EVENTS, target)
            .on::<InvoiceCreated, _>(transactional(take_payment_and_tell)),
        _ => consumer.on::<InvoiceCreated, _>(transactional(take_payment)),
    };
    consumer.run().await?;
    Ok(())
}
