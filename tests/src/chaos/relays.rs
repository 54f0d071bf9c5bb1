//! The relays' processes.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{Exit, Relay, chaos::stage::Stage};

/// A relay that finds no database at its start ends with this code, and is started again by whoever runs it.
const NO_DATABASE: i32 = 3;

pub(super) struct Relays {
    running: Vec<Relay>,
    failures: Vec<String>,
    logs: Vec<(String, Vec<String>)>,
}

impl Relays {
    pub(super) async fn start(stage: &Stage, count: usize) -> Result<Self> {
        let mut running = Vec::new();
        for _ in 0..count.max(1) {
            running.push(Relay::start(&stage.config()).await?.quiet());
        }
        Ok(Self {
            running,
            failures: Vec::new(),
            logs: Vec::new(),
        })
    }

    /// Ends that nobody asked for.
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }

    pub(super) async fn kill(&mut self, whom: usize, stage: &Stage) -> Result<()> {
        let relay = self.take(whom);
        self.keep_log(&relay);
        relay.kill().await?;
        self.join(stage)
    }

    pub(super) async fn freeze(&mut self, whom: usize, length: Duration) -> Result<()> {
        let relay = &self.running[whom % self.running.len()];
        if relay.pause().is_ok() {
            sleep(length).await;
            relay.go_on()?;
        }
        Ok(())
    }

    pub(super) async fn replace(&mut self, whom: usize, stage: &Stage) -> Result<()> {
        let relay = self.take(whom);
        self.join(stage)?;
        let exit = relay.stop().await?;
        self.note(exit, "SIGTERM");
        Ok(())
    }

    /// Starts again what has ended.
    pub(super) fn tend(&mut self, stage: &Stage) -> Result<()> {
        for whom in (0..self.running.len()).rev() {
            if let Some(status) = self.running[whom].exited()? {
                let relay = self.take(whom);
                self.keep_log(&relay);
                if status.code() != Some(NO_DATABASE) {
                    self.failures.push(format!("a relay ended by itself: {status}"));
                }
                self.join(stage)?;
            }
        }
        Ok(())
    }

    /// SIGTERM to all; their logs.
    pub(super) async fn stop(&mut self) -> Result<Vec<(String, Vec<String>)>> {
        while let Some(relay) = self.running.pop() {
            let exit = relay.stop().await?;
            self.note(exit, "SIGTERM at the end");
        }
        Ok(std::mem::take(&mut self.logs))
    }

    fn take(&mut self, whom: usize) -> Relay {
        let whom = whom % self.running.len();
        self.running.swap_remove(whom)
    }

    fn join(&mut self, stage: &Stage) -> Result<()> {
        self.running.push(Relay::spawn(&stage.config())?.quiet());
        Ok(())
    }

    fn keep_log(&mut self, relay: &Relay) {
        self.logs.push((format!("relay-{}", self.logs.len()), relay.lines()));
    }

    fn note(&mut self, exit: Exit, why: &str) {
        let lines = exit.printed.lines().map(ToOwned::to_owned).collect();
        self.logs.push((format!("relay-{}", self.logs.len()), lines));
        if !matches!(exit.code, Some(0 | NO_DATABASE)) {
            self.failures
                .push(format!("after {why} a relay ended with {:?}", exit.code));
        }
    }
}
