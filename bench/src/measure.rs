//! One run of the relay, or of the bare SDK, over the backlog.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::{
    backlog::Backlog,
    bare::Spent,
    client::Endpoint,
    database::Database,
    endpoint::{Settings, Stats},
    process,
    relay::{Relay, Sink, aws_environment},
};

/// What all scenarios share.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) database: Database,
    pub(crate) endpoint: Endpoint,
    pub(crate) backlog: Backlog,
    /// Fewer events and rounds.
    pub(crate) is_quick: bool,
    /// How many relays at once, for the scenario of that name.
    pub(crate) relays: Vec<usize>,
    runs: u32,
}

/// How a backlog is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) is_fifo: bool,
    pub(crate) latency_ms: u64,
    pub(crate) in_flight: usize,
    pub(crate) events: i64,
}

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    /// Events per second from the first request to the last answer.
    pub(crate) rate: f64,
    /// CPU seconds of the sending process (the relays together) per 100,000 events.
    pub(crate) cpu: f64,
    /// The same of the Postgres processes that the relay talks to.
    pub(crate) postgres_cpu: f64,
    /// The same of the endpoint.
    pub(crate) endpoint_cpu: f64,
    /// The most memory that the sending process (the largest relay) has had, in MiB.
    pub(crate) rss_mib: f64,
    /// What the endpoint saw.
    pub(crate) stats: Stats,
}

impl Load {
    /// In words, such as `FIFO, 5 ms, 16 in flight`.
    pub(crate) fn name(&self) -> String {
        let kind = if self.is_fifo { "FIFO" } else { "standard" };
        format!("{kind}, {} ms, {} in flight", self.latency_ms, self.in_flight)
    }

    fn queue(&self) -> &'static str {
        if self.is_fifo { "bench.fifo" } else { "bench" }
    }
}

impl Bench {
    pub(crate) fn new(database: Database, endpoint: Endpoint, is_quick: bool, relays: Vec<usize>) -> Self {
        Self {
            database,
            endpoint,
            backlog: Backlog::default(),
            is_quick,
            relays,
            runs: 0,
        }
    }

    /// `full`, or `quick` in a quick run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.is_quick { quick } else { full }
    }

    /// A sink that no run has had: it begins at the log's beginning.
    pub(crate) fn new_sink(&mut self, load: &Load) -> Sink {
        self.runs += 1;
        Sink {
            name: format!("run-{}", self.runs),
            queue: load.queue(),
            in_flight: load.in_flight,
        }
    }

    /// Lets a relay publish the backlog.
    ///
    /// # Errors
    /// Events were lost, or came out of order on a FIFO queue.
    pub(crate) async fn relay(&mut self, load: &Load) -> Result<Measured> {
        self.backlog.hold(&self.database, load.events).await?;
        self.endpoint.reset(Settings::latency(load.latency_ms)).await?;
        let sink = self.new_sink(load);
        let endpoint_before = process::cpu_secs(self.endpoint.pid()?)?;
        let relay = Relay::start(&self.database, &self.endpoint, &sink)?;
        self.finish(load, vec![relay], endpoint_before).await
    }

    /// Waits until all events have come, and ends the relays.
    ///
    /// # Errors
    /// As [`Bench::relay`].
    pub(crate) async fn finish(&self, load: &Load, running: Vec<Relay>, endpoint_before: f64) -> Result<Measured> {
        let waited = self.endpoint.wait_for(load.events.unsigned_abs()).await;
        let logs = || running.iter().map(Relay::log).collect::<Vec<_>>().join("\n");
        let stats = waited.with_context(|| format!("{}; the relay logged:\n{}", load.name(), logs()))?;
        let mut measured = Measured {
            postgres_cpu: self.postgres_cpu_secs().await?,
            endpoint_cpu: process::cpu_secs(self.endpoint.pid()?)? - endpoint_before,
            ..Measured::default()
        };
        for relay in &running {
            measured.cpu += relay.cpu_secs()?;
            measured.rss_mib = measured.rss_mib.max(relay.peak_rss_mib()?);
        }
        for relay in running {
            relay.stop().await?;
        }
        measured.finish(load, stats)
    }

    /// Lets the bare SDK send the backlog.
    ///
    /// # Errors
    /// An entry failed.
    pub(crate) async fn bare(&mut self, load: &Load) -> Result<Measured> {
        self.backlog.hold(&self.database, load.events).await?;
        self.endpoint.reset(Settings::latency(load.latency_ms)).await?;
        let endpoint_before = process::cpu_secs(self.endpoint.pid()?)?;
        let queue_url = format!("{}/000000000000/{}", self.endpoint.url, load.queue());
        let ended = Command::new(std::env::current_exe()?)
            .args(["bare", "--queue-url", &queue_url])
            .args(["--events", &load.events.to_string()])
            .args(["--in-flight", &load.in_flight.to_string()])
            .env("DATABASE_URL", self.database.url.as_str())
            .envs(aws_environment(&self.endpoint))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await?;
        ensure!(ended.status.success(), "the bare sender ended with {}", ended.status);
        let spent: Spent = serde_json::from_slice(&ended.stdout)?;
        let measured = Measured {
            cpu: spent.cpu_secs,
            endpoint_cpu: process::cpu_secs(self.endpoint.pid()?)? - endpoint_before,
            rss_mib: spent.rss_mib,
            ..Measured::default()
        };
        measured.finish(load, self.endpoint.stats().await?)
    }

    /// CPU seconds of the server processes that relays are connected to.
    async fn postgres_cpu_secs(&self) -> Result<f64> {
        let mut connection = self.database.connect().await?;
        let pids: Vec<i32> =
            sqlx::query_scalar("select pid from pg_stat_activity where application_name = 'outbox-relay'")
                .fetch_all(&mut connection)
                .await?;
        let used = pids.into_iter().map(|pid| process::cpu_secs(pid.unsigned_abs()));
        Ok(used.sum::<Result<f64>>().unwrap_or(0.0))
    }
}

impl Measured {
    fn finish(mut self, load: &Load, stats: Stats) -> Result<Self> {
        let events = load.events.unsigned_abs();
        ensure!(stats.events == events, "{} of {events} events came", stats.events);
        ensure!(
            stats.inversions == 0,
            "{} events came out of their key's order",
            stats.inversions
        );
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let (events, nanos) = (events as f64, stats.last_ns.saturating_sub(stats.first_ns) as f64);
        self.rate = events / (nanos / 1e9);
        for cpu in [&mut self.cpu, &mut self.postgres_cpu, &mut self.endpoint_cpu] {
            *cpu *= 100_000.0 / events;
        }
        self.stats = stats;
        Ok(self)
    }
}

/// The median; of an even number the upper one. 0 of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
