//! A relay's process.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{client::Endpoint, database::Database, process};

/// One sink of a relay under test.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    /// Its name, and with that its cursors.
    pub(crate) name: String,
    /// The queue's name; `.fifo` at its end makes it keep the order.
    pub(crate) queue: &'static str,
    /// Requests in flight at once.
    pub(crate) in_flight: usize,
}

/// A running `outbox-relay run`; killed with this value.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    folder: TempDir,
}

impl Relay {
    /// Starts a relay with one sink.
    pub(crate) fn start(database: &Database, endpoint: &Endpoint, sink: &Sink) -> Result<Self> {
        let binary = binary()?;
        let folder = TempDir::new()?;
        let config = folder.path().join("relay.toml");
        fs::write(&config, configuration(sink))?;
        let log = File::create(folder.path().join("relay.log"))?;
        let child = Command::new(&binary)
            .args(["run", "--config"])
            .arg(&config)
            .env("DATABASE_URL", database.url.as_str())
            .envs(aws_environment(endpoint))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { child, folder })
    }

    /// CPU seconds since its start, the start included.
    pub(crate) fn cpu_secs(&self) -> Result<f64> {
        process::cpu_secs(self.pid()?)
    }

    /// The most memory that it has had, in MiB.
    pub(crate) fn peak_rss_mib(&self) -> Result<f64> {
        process::peak_rss_mib(self.pid()?)
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?).context("a process id is not zero")?;
        kill_process(pid, Signal::TERM)?;
        let status = timeout(Duration::from_secs(30), self.child.wait()).await;
        let status = status.context("the relay does not end")??;
        ensure!(status.success(), "the relay ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// The end of what it logged.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("relay.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn pid(&self) -> Result<u32> {
        match self.child.id() {
            Some(id) => Ok(id),
            None => bail!("the relay has ended:\n{}", self.log()),
        }
    }
}

/// What makes the SDK send to the endpoint.
pub(crate) fn aws_environment(endpoint: &Endpoint) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint.url.clone()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

fn configuration(sink: &Sink) -> String {
    let Sink { name, queue, in_flight } = sink;
    let mut toml = String::from("[database]\nurl = \"env:DATABASE_URL\"\n");
    let _ = write!(
        toml,
        "\n[[sink]]\nname = \"{name}\"\nsqs = {{ queue = \"{queue}\" }}\nmax_in_flight = {in_flight}\nstart = \"beginning\"\n"
    );
    toml
}

/// The relay that was built beside this program.
fn binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("outbox-relay");
    ensure!(
        binary.exists(),
        "{} is missing; build it with: cargo build --release -p outbox-relay",
        binary.display()
    );
    Ok(binary)
}
