//! The Lambda function `take-payment`. Environment: `DEDUPE_TABLE`, `PAYMENTS_TABLE`,
//! `ONCEBOX_DLQ_URL` (optional), `RUST_LOG` (optional).

use invoicing_events::InvoiceCreated;
use oncebox_consumer::{Consumer, DynamoDbDedupe, transactional};
use take_payment::{CONSUMER, PAYMENTS, PAYMENTS_ENV, take_payment};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Consumer::builder(CONSUMER)
        .on::<InvoiceCreated, _>(transactional(take_payment))
        .table_from_env(PAYMENTS, PAYMENTS_ENV)
        .dedupe(DynamoDbDedupe::from_env().await?)
        .run()
        .await?;
    Ok(())
}
