//! The relay's process.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};

use crate::{RelayConfig, binary, process_log::ProcessLog, until};

/// A running `outbox-relay run`; killed with this value, which then prints the end of its log (a
/// test runner shows that when the test fails).
#[derive(Debug)]
pub struct Relay {
    child: Child,
    log: ProcessLog,
    readers: Vec<JoinHandle<()>>,
    address: Option<SocketAddr>,
    quiet: bool,
    _folder: TempDir,
}

/// How a relay ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All that it printed.
    pub printed: String,
}

impl Relay {
    /// Starts a relay and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready in time; its log is part of the message.
    pub async fn start(config: &RelayConfig) -> Result<Self> {
        let mut relay = Self::spawn(config)?;
        let waited = until("the relay to be ready", async || relay.look_for_readiness().await).await;
        match waited {
            Ok(None) => Ok(relay),
            Ok(Some(ended)) => bail!("the relay ended with {ended} instead of getting ready"),
            Err(error) => Err(error),
        }
    }

    /// Starts a relay without waiting.
    ///
    /// # Errors
    /// It was not built, or cannot be started.
    pub fn spawn(config: &RelayConfig) -> Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, config.toml())?;
        let mut command = Command::new(binary("outbox-relay")?);
        command
            .args(["run", "--config"])
            .arg(file)
            .envs(config.environment.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting outbox-relay")?;
        let log = ProcessLog::default();
        let readers = vec![
            log.follow(child.stdout.take().context("piped")?),
            log.follow(child.stderr.take().context("piped")?),
        ];
        Ok(Self {
            child,
            log,
            readers,
            address: None,
            quiet: false,
            _folder: folder,
        })
    }

    /// Prints nothing when it goes.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("killing the relay")
    }

    /// SIGTERM, and nothing more.
    ///
    /// # Errors
    /// The process is gone already.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP: the process stands still, its connections stay open.
    ///
    /// # Errors
    /// The process is gone already.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// The process is gone already.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().context("the relay has ended already")?;
        let id = Pid::from_raw(i32::try_from(id)?).context("a process id is not zero")?;
        kill_process(id, signal).with_context(|| format!("sending {signal:?}"))
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(mut self) -> Result<Exit> {
        let code = until("the relay to end", async || {
            let status = self.child.try_wait()?;
            Ok(status.context("it still runs")?.code())
        })
        .await?;
        for reader in self.readers.drain(..) {
            reader.await?;
        }
        let printed = self.log.lines().join("\n");
        Ok(Exit { code, printed })
    }

    /// How it has ended; `None` while it runs.
    ///
    /// # Errors
    /// The process cannot be looked at.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The lines that it has printed.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// As [`Relay::terminate`] and [`Relay::ended`].
    pub async fn stop(self) -> Result<Exit> {
        self.terminate()?;
        self.ended().await
    }

    /// The value of a metric for a sink, summed over its other labels; 0 when it is not there yet.
    ///
    /// # Errors
    /// The relay does not answer, or with something that is no metric.
    pub async fn metric(&self, name: &str, sink: &str) -> Result<f64> {
        self.sum_of(name, &[format!("sink=\"{sink}\"")]).await
    }

    /// How many events of a sink were not accepted, for a reason of this class.
    ///
    /// # Errors
    /// As [`Relay::metric`].
    pub async fn failed(&self, sink: &str, class: &str) -> Result<f64> {
        let labels = [format!("sink=\"{sink}\""), format!("class=\"{class}\"")];
        self.sum_of("oncebox_sink_failed_total", &labels).await
    }

    async fn sum_of(&self, name: &str, labels: &[String]) -> Result<f64> {
        let text = self.get("/metrics").await?;
        let samples = text.lines().filter(|line| {
            line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label.as_str()))
        });
        let mut sum = 0.0;
        for sample in samples {
            let value = sample.rsplit(' ').next().unwrap_or_default();
            sum += value
                .parse::<f64>()
                .with_context(|| format!("no number in `{sample}`"))?;
        }
        Ok(sum)
    }

    /// The memory that the process takes now, in bytes.
    ///
    /// # Errors
    /// The process is gone, or this is no Linux.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that the process ever took, in bytes.
    ///
    /// # Errors
    /// As [`Relay::resident_bytes`].
    pub fn peak_bytes(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> Result<u64> {
        let id = self.child.id().context("the relay has ended already")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.with_context(|| format!("no {name}"))?.parse::<u64>()? * 1024)
    }

    /// Waits until a sink has nothing left to publish.
    ///
    /// # Errors
    /// Not in time.
    pub async fn caught_up(&self, sink: &str) -> Result<()> {
        until(&format!("sink {sink} to have caught up"), async || {
            let lag = self.metric("oncebox_sink_lag_events", sink).await?;
            ensure!(lag == 0.0, "{lag} events behind");
            Ok(())
        })
        .await
    }

    /// Where its own HTTP server listens.
    ///
    /// # Errors
    /// It does not listen yet.
    pub fn address(&self) -> Result<SocketAddr> {
        self.address
            .or_else(|| listening_at(&self.log.lines()))
            .context("it does not listen yet")
    }

    /// Gets a page of the relay's own HTTP server; any status.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, path: &str) -> Result<String> {
        Ok(self.ask(path).await?.1)
    }

    /// As [`Relay::get`], with the status.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask(&self, path: &str) -> Result<(u16, String)> {
        let address = self.address()?;
        let response = reqwest::get(format!("http://{address}{path}")).await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Waits until it has logged a line with these words.
    ///
    /// # Errors
    /// Not in time.
    pub async fn said(&self, words: &str) -> Result<()> {
        until(&format!("the relay to say `{words}`"), async || {
            let lines = self.log.lines();
            ensure!(
                lines.iter().any(|line| line.contains(words)),
                "{} other lines",
                lines.len()
            );
            Ok(())
        })
        .await
    }

    /// `None` when it is ready, its status when it has ended.
    async fn look_for_readiness(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(ended) = self.child.try_wait()? {
            return Ok(Some(ended));
        }
        let (status, said) = self.ask("/readyz").await?;
        ensure!(status == 200, "/readyz says {status}: {said}");
        self.address = listening_at(&self.log.lines());
        Ok(None)
    }
}

/// The address in the line that says where the relay listens.
fn listening_at(lines: &[String]) -> Option<SocketAddr> {
    lines.iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields")?;
        let listening = fields.get("message")?.as_str()? == "listening";
        listening.then(|| fields.get("address")?.as_str()?.parse().ok())?
    })
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.quiet {
            eprintln!("the relay's log:\n{}", self.log);
        }
    }
}
