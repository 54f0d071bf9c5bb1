//! Several sinks over one log: each has its own events and its own troubles.

mod away;
mod blocked;
mod filters;

use anyhow::ensure;
use system_tests::{Entry, until};

use crate::targets::scene::Scene;

/// Waits until a sink's cursors are past everything that is committed.
async fn settled(scene: &Scene, sink: &str) {
    until(&format!("the cursors of {sink} to be past everything"), async || {
        let ahead = scene.database.unpublished(sink).await?;
        ensure!(ahead == 0, "{ahead} events ahead of the cursors");
        Ok(())
    })
    .await
    .unwrap();
}

/// What a queue took, in its order, copies included.
fn taken_by(scene: &Scene, queue: &str) -> Vec<Entry> {
    let mut taken = scene.proxy.taken();
    taken.retain(|entry| entry.queue == queue);
    taken
}
