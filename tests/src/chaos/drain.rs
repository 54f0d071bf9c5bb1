//! Waiting until everything that is on its way has arrived.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::{
    chaos::{
        books::Books,
        gather::{self, Found},
        relays::Relays,
        stage::Stage,
        writers::APPLICATION,
    },
    ledger::{Place, SetAside, Violation, check},
    until, until_within,
};

const BETWEEN_TWO_LINES: Duration = Duration::from_secs(10);
/// What a queue hands over may still be on its way when the queue is empty; for so long a missing effect is waited for.
const LAST_EFFECTS: Duration = Duration::from_secs(20);

/// Drains and fills the ledger. What has not arrived in time is told, and the ledger is filled all the same.
pub(super) async fn drain(
    stage: &Stage,
    relays: &mut Relays,
    books: &Books,
    within: Duration,
    tell: &impl Fn(&str),
) -> Result<Found> {
    no_transaction_is_open(stage).await?;
    let begun = Instant::now();
    let end = begun + within;
    let mut told = begun;
    let drained = until_within(within, "everything to arrive", async || {
        relays.tend(stage)?;
        let seen = is_empty(stage).await;
        if let Err(left) = &seen
            && told.elapsed() > BETWEEN_TWO_LINES
        {
            told = Instant::now();
            tell(&format!("{:>5} s  draining: {left:#}", begun.elapsed().as_secs()));
        }
        seen
    })
    .await;
    let mut set_aside = SetAside::default();
    let left = end.saturating_duration_since(Instant::now()).max(LAST_EFFECTS);
    let look = async || {
        for consumer in &stage.consumers {
            for event in gather::dead_letters(&consumer.dead_letters).await? {
                set_aside.record(consumer.name, event, Place::DeadLettered);
            }
        }
        let found = gather::gather(stage, books, &set_aside).await?;
        let lost = check(&found.history, &found.effects, &found.set_aside);
        let lost = lost.iter().filter(|of| matches!(of, Violation::Lost { .. })).count();
        ensure!(lost == 0, "{lost} effects are missing");
        Ok(found)
    };
    let waited = until_within(left.min(LAST_EFFECTS), "the last effects", look).await;
    let mut found = match waited {
        Ok(found) => found,
        Err(_) => gather::gather(stage, books, &set_aside).await?,
    };
    found.not_drained = drained.err().map(|problem| format!("{problem:#}"));
    Ok(found)
}

/// What a writer has left open may still commit: after this, nothing does.
async fn no_transaction_is_open(stage: &Stage) -> Result<()> {
    until("the writers' connections to be gone", async || {
        let cut = sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1");
        let cut = cut.bind(APPLICATION).execute(&stage.database.pool).await?;
        ensure!(cut.rows_affected() == 0, "{} are there", cut.rows_affected());
        Ok(())
    })
    .await
}

async fn is_empty(stage: &Stage) -> Result<()> {
    let mut left = Vec::new();
    for consumer in &stage.consumers {
        let ahead = stage.database.unpublished(consumer.name).await?;
        let depth = consumer.queue.depth().await?;
        if ahead > 0 || depth > 0 {
            left.push(format!("{}: {ahead} unpublished, {depth} in its queue", consumer.name));
        }
    }
    ensure!(left.is_empty(), "{}", left.join("; "));
    Ok(())
}
