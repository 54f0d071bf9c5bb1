//! Finding the sinks' targets at start. One that is away holds up its own sink and no other.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Parts, unresolved};
use crate::{
    chance::Chance,
    command::{Failure, FailureKind},
    config::{Config, SinkConfig, same_target},
    database::Database,
    lease::member::WaitingSinks,
    log::store::Start,
    publish::{FailureClass, Target},
    sink::{
        Sink, backoff,
        pipeline::PipelineError,
        supervisor::{Ended, Surroundings, supervise},
    },
    telemetry::metrics::{Metrics, SinkMetrics},
};

/// The sinks of a configuration.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Those whose target was found, and where they begin.
    pub(super) sinks: Vec<(Sink<Target>, Start)>,
    /// Those whose target was not.
    pub(super) waiting: Vec<Waiting>,
    /// Their names, as long as they wait.
    pub(super) names: WaitingSinks,
}

/// Which sink publishes to which ARN: only when targets are found can it be told that a name, a URL and an ARN
/// mean one.
#[derive(Debug, Clone, Default)]
struct Taken(Arc<Mutex<HashMap<String, String>>>);

impl Taken {
    /// Notes a target as the sink's.
    ///
    /// # Errors
    /// It is another sink's.
    fn take(&self, sink: &SinkConfig, target: &Target) -> Result<(), String> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get(target.arn()) {
            Some(other) if *other != sink.name => Err(same_target(other, &sink.name)),
            _ => {
                taken.insert(target.arn().to_owned(), sink.name.clone());
                Ok(())
            }
        }
    }
}

/// Finds the targets, all at once.
///
/// A new sink needs its target: if that is not there, the configuration is likely wrong. A sink that has run before
/// (it is among `known`) had one, so its target is away, and it waits for it beside the others.
///
/// # Errors
/// Exit code 2.
pub(super) async fn prepare(
    config: &Config,
    known: &HashSet<String>,
    parts: Parts,
    metrics: &mut Metrics,
) -> Result<Prepared, Failure> {
    let taken = Taken::default();
    let mut prepared = Prepared {
        sinks: Vec::new(),
        waiting: Vec::new(),
        names: WaitingSinks::default(),
    };
    let resolved = join_all(config.sinks.iter().map(|sink| parts.resolve(sink))).await;
    for (sink, resolved) in config.sinks.iter().zip(resolved) {
        let metrics = metrics.sink(&sink.name);
        match resolved {
            Ok(target) => {
                taken.take(sink, &target).map_err(|problem| {
                    let error = anyhow::anyhow!("sink `{}`: {}: {problem}", sink.name, sink.target.key());
                    Failure::new(FailureKind::Usage, error)
                })?;
                let built = parts.assemble(sink, target, metrics)?;
                prepared.sinks.push((built, sink.start.unwrap_or_default()));
            }
            Err(error) if error.may_pass() && known.contains(&sink.name) => {
                let waiting = Waiting {
                    sink: sink.clone(),
                    parts: parts.clone(),
                    taken: taken.clone(),
                    names: prepared.names.clone(),
                    metrics,
                    attempt: 1,
                };
                prepared.names.add(&sink.name);
                waiting.tell(&format!("{}: {error}", sink.target.key()));
                prepared.waiting.push(waiting);
            }
            Err(error) => return Err(unresolved(sink, error)),
        }
    }
    Ok(prepared)
}

/// A sink that waits for its target.
#[derive(Debug)]
pub(super) struct Waiting {
    sink: SinkConfig,
    parts: Parts,
    taken: Taken,
    names: WaitingSinks,
    metrics: SinkMetrics,
    /// How often it was looked for.
    attempt: u32,
}

impl Waiting {
    /// Looks for the target until it is there, then runs the sink.
    ///
    /// Until then this relay takes no share of the sink's shards: another one may find the target.
    ///
    /// # Errors
    /// See [`supervise`].
    pub(super) async fn run(mut self, surroundings: Surroundings<Database>) -> Result<Ended, PipelineError> {
        let Some(sink) = self.wait(&surroundings.end).await else {
            return Ok(Ended { is_clean: true });
        };
        tracing::info!(sink = sink.name, attempts = self.attempt, "the sink's target is there");
        self.names.remove(&sink.name);
        supervise(Arc::new(sink), self.sink.start.unwrap_or_default(), surroundings).await
    }

    /// The sink, or `None` when the relay ends before its target is there.
    async fn wait(&mut self, end: &CancellationToken) -> Option<Sink<Target>> {
        let chance = Chance::default();
        loop {
            let pause = backoff::delay(FailureClass::Auth, self.attempt, chance.fraction());
            if timeout(pause, end.cancelled()).await.is_ok() {
                return None;
            }
            self.attempt = self.attempt.saturating_add(1);
            let sought = tokio::select! {
                () = end.cancelled() => return None,
                sought = self.seek() => sought,
            };
            match sought {
                Ok(sink) => return Some(sink),
                Err(problem) => self.tell(&problem),
            }
        }
    }

    async fn seek(&self) -> Result<Sink<Target>, String> {
        let key = self.sink.target.key();
        let resolved = self.parts.resolve(&self.sink).await;
        let target = resolved.map_err(|error| format!("{key}: {error}"))?;
        self.taken
            .take(&self.sink, &target)
            .map_err(|problem| format!("{key}: {problem}"))?;
        let built = self.parts.assemble(&self.sink, target, self.metrics.clone());
        built.map_err(|failure| failure.to_string())
    }

    /// Once per reason: an outage of hours is one line, not thousands.
    fn tell(&self, problem: &str) {
        let (sink, attempt) = (&self.sink.name, self.attempt);
        if self.metrics.not_ready(problem) {
            tracing::error!(sink, reason = problem, attempt, "the sink waits for its target");
        } else {
            tracing::debug!(sink, reason = problem, attempt, "the sink still waits for its target");
        }
    }
}
