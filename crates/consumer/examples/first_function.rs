//! Counts what each customer has ordered. The function of docs/guide-first-function.md.

use oncebox_consumer::{Consumer, ConsumerBuilder, DynamoDbDedupe, Effects, HandlerError, Key, transactional};
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

fn count_orders() -> ConsumerBuilder {
    Consumer::builder("count-orders").on::<OrderPlaced, _>(transactional(count_order))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    count_orders()
        .table_from_env("totals", "TOTALS_TABLE")
        .dedupe(DynamoDbDedupe::from_env().await?)
        .run()
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use oncebox_consumer::test_kit::{MemoryTables, Trial};

    use super::*;

    #[tokio::test]
    async fn an_order_is_counted_once_whatever_comes() {
        let tables = MemoryTables::new().table("totals", &["pk"]);
        let order = |n| OrderPlaced {
            customer_id: format!("c-{n}"),
            amount_cents: 1_250,
        };
        let counted = async |event: &Envelope<OrderPlaced>| {
            let customer = Key::new("pk", event.data.customer_id.as_str());
            tables.number("totals", customer, "orders")
        };
        let trial = Trial::new(|| count_orders().dedupe(tables.dedupe()), order);
        trial.run(counted).await.unwrap();
    }
}
