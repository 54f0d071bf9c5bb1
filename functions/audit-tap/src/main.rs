//! The Lambda function `audit-tap`. Environment: `DEDUPE_TABLE`, `AUDIT_TABLE`, `ONCEBOX_DLQ_URL`
//! (optional), `RUST_LOG` (optional).

use audit_tap::{AUDIT, AUDIT_ENV, CONSUMER, audit_tap};
use oncebox_consumer::{Consumer, DynamoDbDedupe, transactional};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Consumer::builder(CONSUMER)
        .on_any(transactional(audit_tap))
        .table_from_env(AUDIT, AUDIT_ENV)
        .dedupe(DynamoDbDedupe::from_env().await?)
        .run()
        .await?;
    Ok(())
}
