//! `outbox-relay` run as a command, to its end.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    task::JoinHandle,
};

use crate::{Database, PATIENCE, binary};

/// A command line of `outbox-relay`, to be run; standard input is empty and no terminal.
#[derive(Debug, Clone, Default)]
pub struct RelayCommand {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    input: String,
}

/// A command that was started; killed with this value.
#[derive(Debug)]
pub struct RunningCommand {
    arguments: Vec<String>,
    child: Child,
    writer: JoinHandle<()>,
}

/// What a command has printed, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl RelayCommand {
    /// `outbox-relay` with these arguments and no database.
    #[must_use]
    pub fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it a database, by `DATABASE_URL`.
    #[must_use]
    pub fn on(self, database: &Database) -> Self {
        self.env("DATABASE_URL", database.url.as_str())
    }

    /// Gives it a standard input.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Errors
    /// It was not built, cannot be started or does not end in time.
    pub async fn run(&self) -> Result<Printed> {
        self.start()?.ended().await
    }

    /// Starts it.
    ///
    /// # Errors
    /// It was not built or cannot be started.
    pub fn start(&self) -> Result<RunningCommand> {
        let mut command = Command::new(binary("outbox-relay")?);
        command
            .args(&self.arguments)
            .env_remove("DATABASE_URL")
            .env_remove("OUTBOX_RELAY_CONFIG")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting outbox-relay")?;
        let mut stdin = child.stdin.take().context("piped")?;
        let input = self.input.clone();
        // A command that refuses at once reads nothing.
        let writer = tokio::spawn(async move {
            let _ = stdin.write_all(input.as_bytes()).await;
        });
        Ok(RunningCommand {
            arguments: self.arguments.clone(),
            child,
            writer,
        })
    }

    /// Runs it and expects success; returns standard output.
    ///
    /// # Errors
    /// As [`RelayCommand::run`], and any exit code but 0.
    pub async fn done(&self) -> Result<String> {
        let printed = self.run().await?;
        ensure!(
            printed.code == Some(0),
            "outbox-relay {:?}: {printed:?}",
            self.arguments
        );
        Ok(printed.stdout)
    }

    /// Runs it with `--json` and expects success; returns the document.
    ///
    /// # Errors
    /// As [`RelayCommand::done`], and output that is no JSON.
    pub async fn json(&self) -> Result<Value> {
        let printed = self.clone().arg("--json").done().await?;
        serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
    }
}

impl RunningCommand {
    /// SIGINT, as Ctrl-C sends it.
    ///
    /// # Errors
    /// The process is gone already.
    pub fn interrupt(&self) -> Result<()> {
        let id = self.child.id().context("the command has ended already")?;
        let id = Pid::from_raw(i32::try_from(id)?).context("a process id is not zero")?;
        kill_process(id, Signal::INT).context("sending SIGINT")
    }

    /// Waits for its end, whatever that is.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(self) -> Result<Printed> {
        let output = tokio::time::timeout(PATIENCE, self.child.wait_with_output())
            .await
            .with_context(|| format!("outbox-relay {:?} does not end", self.arguments))??;
        self.writer.await?;
        Ok(Printed {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }
}
