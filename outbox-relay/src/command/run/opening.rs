//! What a relay finds in the database before it publishes: which of its sinks are new, and cursors
//! whose sink it does not know.

use std::collections::HashSet;

use crate::{
    command::{
        Failure, FailureKind,
        newcomers::{Newcomers, beginning},
    },
    config::Config,
    database::trouble,
    log::known::{self, KnownSink},
};

/// Tells each new sink, and each sink that has cursors and is not configured. Returns the names of those
/// that have cursors.
///
/// # Errors
/// Exit code 2 when a new sink may be a renamed one; 3 when the database does not say.
pub(super) async fn look(config: &Config) -> Result<HashSet<String>, Failure> {
    let failed = |error: sqlx::Error| Failure::new(FailureKind::Database, anyhow::anyhow!(trouble::explain(&error)));
    let mut session = config.database.session().await.map_err(failed)?;
    let known = known::list(&mut session).await.map_err(failed)?;
    session.close().await.map_err(failed)?;

    let names: Vec<&str> = known.iter().map(|sink| sink.name.as_str()).collect();
    let newcomers = Newcomers::among(&config.sinks, &names);
    if let Some(doubt) = newcomers.doubt() {
        return Err(Failure::new(FailureKind::Usage, anyhow::anyhow!(doubt)));
    }
    for sink in &newcomers.new {
        tracing::info!(sink = sink.name, begins = beginning(sink.start), "a new sink begins");
    }
    let unconfigured = known
        .iter()
        .filter(|sink| newcomers.unconfigured.contains(&sink.name.as_str()));
    unconfigured.for_each(tell);
    Ok(known.into_iter().map(|sink| sink.name).collect())
}

/// One line for a sink that has cursors and is not configured.
fn tell(sink: &KnownSink) {
    let (name, position, behind, written_secs) = (&sink.name, sink.position, sink.behind, sink.written_secs);
    if sink.is_run {
        tracing::info!(
            sink = name,
            position,
            behind,
            "a sink that is not configured here has cursors; another relay runs it"
        );
        return;
    }
    let what_to_do = format!(
        "if it was renamed: `outbox-relay cursor rename --sink {name} --to NEW`; if it is gone for good: \
         `outbox-relay cursor delete --sink {name}`"
    );
    tracing::warn!(
        sink = name,
        position,
        behind,
        written_secs,
        what_to_do,
        "a sink that is not configured has cursors, which keep the log from being freed, and no relay runs it"
    );
}
