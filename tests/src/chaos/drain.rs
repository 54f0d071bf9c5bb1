//! Waiting until everything that is on its way has arrived.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::{
    chaos::{
        books::Books,
        gather::{self, Found},
        relays::Relays,
        stage::{GAP_GUARD, Stage},
        writers::APPLICATION,
    },
    ledger::{Outcome, Place, SetAside, Violation, check},
    until, until_within,
};

const BETWEEN_TWO_LINES: Duration = Duration::from_secs(10);
/// What a queue hands over may still be on its way when the queue is empty; for so long a missing effect is waited for.
const LAST_EFFECTS: Duration = Duration::from_secs(20);

/// What a backlog of a key takes for each of its events at a consumer with a gap guard on a standard queue, at most
/// (`docs/SEMANTICS.md`, C14; `random::hot_key`).
const PACE: Duration = Duration::from_millis(1_500);

/// Drains and fills the ledger. What has not arrived in time is told, and the ledger is filled all the same.
pub(super) async fn drain(
    stage: &Stage,
    relays: &mut Relays,
    books: &Books,
    within: Duration,
    tell: &impl Fn(&str),
) -> Result<Found> {
    no_transaction_is_open(stage).await?;
    let backlog = longest_backlog(stage, books).await?;
    let within = within + PACE * backlog;
    tell(&format!(
        "a gap guard waits for up to {backlog} events of a key; draining within {} s",
        within.as_secs()
    ));
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

/// The most events of one key that a consumer with a gap guard has before it.
async fn longest_backlog(stage: &Stage, books: &Books) -> Result<u32> {
    let found = gather::gather(stage, books, &SetAside::default()).await?;
    let is_guarded = |name: &str| {
        let mut consumers = stage.consumers.iter();
        consumers.any(|consumer| consumer.name == name && consumer.mode == GAP_GUARD)
    };
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let guarded = found.effects.all().iter().filter(|effect| is_guarded(&effect.consumer));
    for effect in guarded {
        if let (Some(key), Some(sequence)) = (&effect.key, effect.sequence) {
            let last = last.entry(key).or_default();
            *last = (*last).max(sequence);
        }
    }
    let mut left: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, attempt) in found.history.attempts() {
        if let (
            Some(key),
            Outcome::Committed {
                sequence: Some(sequence),
            },
        ) = (&attempt.key, attempt.outcome)
            && sequence > last.get(key.as_str()).copied().unwrap_or(0)
        {
            *left.entry(key).or_default() += 1;
        }
    }
    Ok(left.into_values().max().unwrap_or(0))
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
