//! Where the missing ones are, when time is up.

use std::{collections::HashSet, fmt::Write as _, time::Duration};

use anyhow::Result;

use super::{
    report::missing,
    requests::Made,
    stage::{SINKS, Stage},
};

const SHOWN: usize = 5;

/// A page for the person who has to find out.
pub(super) async fn describe(stage: &Stage, made: &Made, deadline: Duration) -> Result<String> {
    let wanted: HashSet<String> = made
        .committed
        .iter()
        .map(|committed| committed.request.invoice_id.to_string())
        .collect();
    let invoices = stage.database.invoices().await?;
    let unpaid = missing(&wanted, &stage.tables.bookings().await?);
    let mut text = format!(
        "\n  Not done after {} s: {} of {} invoices are not paid.\n",
        deadline.as_secs(),
        unpaid.len(),
        wanted.len()
    );
    for sink in SINKS {
        let _ = writeln!(
            text,
            "  outbox   {sink}: {} events not published",
            stage.database.unpublished(sink).await?
        );
    }
    for (queue, dead_letters) in stage.queues() {
        let (waiting, dead) = (queue.depth().await?, dead_letters.depth().await?);
        let _ = writeln!(
            text,
            "  queue    {}: {waiting} waiting or being worked on, {dead} in its dead-letter queue",
            queue.name
        );
    }
    for invoice in unpaid.iter().take(SHOWN) {
        let created = if invoices.contains_key(invoice) {
            "created, not paid"
        } else {
            "not created"
        };
        let _ = writeln!(
            text,
            "  invoice  {invoice}: {created}; events in the log: {}",
            events_about(stage, invoice).await?
        );
    }
    Ok(text)
}

async fn events_about(stage: &Stage, invoice: &str) -> Result<String> {
    let types: Vec<String> =
        sqlx::query_scalar("select type from oncebox.event where data ->> 'invoice_id' = $1 order by seq")
            .bind(invoice)
            .fetch_all(&stage.database.pool)
            .await?;
    Ok(if types.is_empty() {
        "none".to_owned()
    } else {
        types.join(", ")
    })
}
