//! The Lambda function `create-invoice`. Environment: `DATABASE_URL`, `ONCEBOX_DLQ_URL` (optional),
//! `RUST_LOG` (optional).

use create_invoice::{CONSUMER, create_invoice};
use invoicing_events::CreateInvoice;
use oncebox_consumer::{Consumer, pool_from_env, postgres};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Consumer::builder(CONSUMER)
        .on::<CreateInvoice, _>(postgres(create_invoice))
        .postgres(pool_from_env()?)
        .run()
        .await?;
    Ok(())
}
