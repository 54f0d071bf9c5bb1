//! `outbox-relay replay`: events of the log, published again.

mod report;
mod selected;

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use oncebox_command::Consent;
use sqlx::PgConnection;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::{
    report::{Progress, Report},
    selected::Selected,
};
use super::{
    Failure, FailureKind,
    output::{Output, note},
    run::{self, Parts},
};
use crate::{
    config::{Config, SinkConfig, TargetConfig},
    database::session::Session,
    lease::term::{Lease, Terms},
    log::{
        moving::{is_foreign, system_id},
        page,
        replay::{self as events, Count, Fixed},
        standing,
        store::StoreError,
    },
    publish::{Clients, Target},
    replay::flow::{self, Ended, Replay},
    sink::Sink,
    telemetry::{logging, metrics::Metrics},
};

/// Publish events of the log again, into a sink's own target or another one.
///
/// They are those that the sink has published, or would, with the same ids, in the order of the log.
/// The sink's `match` always applies, and the options narrow it: repeat one to select by any of its
/// values, different ones must all be met. What is committed when the command begins is replayed, and
/// nothing later. No cursor moves, nothing is parked, and running relays go on beside it.
///
/// A FIFO queue or topic drops what it has had within the last five minutes (the deduplication id is the
/// event's id). Consumers that keep dedupe records take a replayed event for the duplicate that it is.
///
/// Exit codes: 0 done; 1 something was refused, or it was stopped before its end; 2 wrong usage or
/// configuration; 3 the database cannot be reached or lacks the schema.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration; `env:NAME` for a variable that holds the whole text.
    #[arg(
        long,
        short,
        default_value = "relay.toml",
        env = "OUTBOX_RELAY_CONFIG",
        value_name = "FILE"
    )]
    config: PathBuf,
    /// The sink whose events they are.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// Send to this SQS queue (name, URL or ARN) instead of the sink's target.
    #[arg(long, value_name = "QUEUE", group = "elsewhere")]
    to_sqs: Option<String>,
    /// Send to this SNS topic (name or ARN) instead.
    #[arg(long, value_name = "TOPIC", group = "elsewhere")]
    to_sns: Option<String>,
    /// Send to this EventBridge event bus (name or ARN) instead.
    #[arg(long, value_name = "BUS", group = "elsewhere")]
    to_eventbridge: Option<String>,
    #[command(flatten)]
    selected: Selected,
    /// So many events a second (`100` or `100/s`), in bursts of a tenth of that; 0 for as fast as the
    /// target takes them. What is sent again after a failure is not counted.
    #[arg(long, value_name = "EVENTS", default_value = "100/s", value_parser = per_sec, allow_hyphen_values = true)]
    rate: u32,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
///
/// # Errors
/// See [`FailureKind`]; what a person must do stands in the message.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments.consent.check()?;
    let selected = arguments.selected.check();
    selected.map_err(|problem| Failure::new(FailureKind::Usage, anyhow::anyhow!(problem)))?;
    let environment = |name: &str| std::env::var(name).ok();
    let config =
        Config::load(&arguments.config, environment).map_err(|error| Failure::new(FailureKind::Usage, error))?;
    logging::start_on_stderr().map_err(|error| Failure::new(FailureKind::Usage, error))?;
    let sink = arguments.sink_of(&config)?;
    run::check_schema(&config.database).await?;
    let mut connection = run::connect(&config.database).await?;
    check_cluster(&mut connection, &sink.name).await?;
    let mut session = Session::begin(connection).await.map_err(Failure::of_database)?;

    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let terms = Terms::of_lease(config.lease);
    let parts = Parts {
        clients: Clients::new(&aws, terms.request_timeout),
        traces: None,
        drain_timeout: config.drain_timeout,
    };
    let built: Sink<Target> = parts.build(&sink, Metrics::new().sink(&sink.name)).await?;

    let wanted = arguments.selected.wanted(sink.selection.clone());
    let (from, to) = arguments.selected.positions();
    let fixed = events::fix(&mut session, from, to)
        .await
        .map_err(Failure::of_database)?;
    let mut report = Report::new(&sink.name, built.publisher.arn(), &fixed);
    if !arguments.consent.is_given() {
        let count = events::count(&mut session, &fixed, &wanted).await;
        let count = count.map_err(Failure::of_database)?;
        let acts = arguments.may_send(&count, &built, &config)?;
        report.count(&count);
        if !acts || count.events() == 0 {
            report.dry_run = arguments.consent.is_dry_run();
            return arguments.output.print(&report, Report::text);
        }
    }
    if built.keeps_order {
        note("a FIFO target drops what it has had within the last five minutes, and confirms it");
    }
    let replay = Replay {
        sink: Arc::new(built),
        wanted,
        fixed: fixed.clone(),
        per_sec: arguments.rate,
    };
    let ended = until_told(replay, session, Lease::endless(terms), &fixed).await?;
    report.ended(&ended);
    arguments.output.print(&report, Report::text)?;
    match report.problem() {
        None => Ok(()),
        Some(problem) => Err(Failure::new(FailureKind::Runtime, anyhow::anyhow!(problem))),
    }
}

impl Arguments {
    /// The sink, with the target of the replay.
    fn sink_of(&self, config: &Config) -> Result<SinkConfig, Failure> {
        let Some(sink) = config.sinks.iter().find(|sink| sink.name == self.sink) else {
            let names: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
            let names = names.join(", ");
            let error = anyhow::anyhow!(
                "--sink: there is no sink `{}` in the configuration; there are: {names}",
                self.sink
            );
            return Err(Failure::new(FailureKind::Usage, error));
        };
        let mut sink = sink.clone();
        match (&self.to_sqs, &self.to_sns, &self.to_eventbridge) {
            (Some(queue), _, _) => sink.target = TargetConfig::Sqs { queue: queue.clone() },
            (_, Some(topic), _) => sink.target = TargetConfig::Sns { topic: topic.clone() },
            (_, _, Some(bus)) => {
                sink.target = TargetConfig::EventBridge { bus: bus.clone() };
                // A bus takes one event a message, whatever the sink's own target takes.
                sink.bundle = None;
            }
            (None, None, None) => {}
        }
        Ok(sink)
    }

    fn may_send(&self, count: &Count, sink: &Sink<Target>, config: &Config) -> Result<bool, Failure> {
        if count.events() == 0 {
            return Ok(false);
        }
        let (events, place) = (count.events(), config.database.place());
        let question = format!("publish {events} events of {place} again, to {}?", sink.publisher.arn());
        Ok(self.consent.ask(&question)?)
    }
}

/// Runs the replay; the first SIGTERM or SIGINT drains it, the second ends it at once.
async fn until_told(replay: Replay<Target>, session: Session, lease: Lease, fixed: &Fixed) -> Result<Ended, Failure> {
    let failed = |error: std::io::Error| Failure::new(FailureKind::Runtime, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let end = CancellationToken::new();
    let progress = Progress::new(fixed);
    let replaying = flow::run(replay, session, lease, &end, |standing| note(&progress.line(standing)));
    tokio::pin!(replaying);
    loop {
        tokio::select! {
            ended = &mut replaying => return ended.map_err(|error| Failure::new(FailureKind::Runtime, error)),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if end.is_cancelled() {
            let problem = "told to stop a second time: ended without waiting for answers; the last line of progress says \
                           from where to go on";
            return Err(Failure::new(FailureKind::Runtime, anyhow::anyhow!(problem)));
        }
        note("stopping: no new events are taken, answers are awaited");
        end.cancel();
    }
}

/// In a log that came from another cluster a snapshot of this one does not tell which rows it sees.
async fn check_cluster(connection: &mut PgConnection, sink: &str) -> Result<(), Failure> {
    let standings = standing::read(connection, None).await.map_err(Failure::of_database)?;
    if standings.is_empty() {
        return Ok(());
    }
    let here = system_id(connection).await.map_err(Failure::of_database)?;
    let seq_before = page::sequence_position_on(connection).await;
    let now = page::look_on(connection, seq_before.map_err(Failure::of_database)?).await;
    let now = now.map_err(Failure::of_database)?;
    if standings.iter().any(|standing| is_foreign(standing, here, &now)) {
        let error = StoreError::Foreign { sink: sink.to_owned() };
        return Err(Failure::new(FailureKind::Runtime, error));
    }
    Ok(())
}

fn per_sec(text: &str) -> Result<u32, &'static str> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate: Option<u32> = number.parse().ok().filter(|rate| *rate <= 1_000_000);
    rate.ok_or("write a number of events per second up to 1000000, like 100 or 100/s; 0 for no bound")
}

#[cfg(test)]
mod tests {
    use super::per_sec;

    #[test]
    fn a_rate_is_a_number_of_events_per_second() {
        assert_eq!([per_sec("100"), per_sec("7/s"), per_sec("0")], [Ok(100), Ok(7), Ok(0)]);
        for bad in ["", "/s", "1.5", "-1", "10/m", "1000001"] {
            assert!(per_sec(bad).is_err(), "{bad}");
        }
    }
}
