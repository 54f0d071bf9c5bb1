//! Counts what each customer has ordered. The function of docs/guide-first-function.md.

use oncebox_consumer::{Consumer, DynamoDbDedupe, Effects, HandlerError, Key, transactional};
use oncebox_envelope::{Envelope, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema)]
struct OrderPlaced {
    customer_id: String,
    amount_cents: u64,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "order.placed.v1";
}

async fn count_order(event: Envelope<OrderPlaced>, effects: &mut Effects) -> Result<(), HandlerError> {
    if event.data.amount_cents == 0 {
        return Err(HandlerError::permanent("an order of nothing"));
    }
    effects
        .update("totals", Key::new("pk", event.data.customer_id.as_str()))
        .add("orders", 1)
        .add("cents", event.data.amount_cents);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Consumer::builder("count-orders")
        .on::<OrderPlaced, _>(transactional(count_order))
        .table_from_env("totals", "TOTALS_TABLE")
        .dedupe(DynamoDbDedupe::from_env().await?)
        .run()
        .await?;
    Ok(())
}
