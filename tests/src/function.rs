//! A function's process under a Runtime API of ours.
//!
//! Here a test is Lambda: it hands the real binary an SQS batch, sees the answer come, and may
//! kill the process at that very moment, which is after the effect and before anybody knows of it.

mod batch;
mod runtime_api;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use crate::{binary, process_log::ProcessLog, until};
use runtime_api::{Answered, Handover, RuntimeApi};

pub use batch::{Batch, Record};

/// How many invocations a process may have at once (Lambda Managed Instances).
const MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// The process of one execution environment; killed with this value, which then prints its log.
#[derive(Debug)]
pub struct Function {
    name: String,
    child: Child,
    log: ProcessLog,
    api: RuntimeApi,
    pending: Option<oneshot::Receiver<Answered>>,
    init_time: Duration,
    quiet: bool,
    spawned: Instant,
    _server: JoinSet<()>,
}

/// An invocation whose answer has come but is not acknowledged yet: the process waits.
#[derive(Debug)]
pub struct Invocation {
    /// What the function answered.
    pub answer: Answer,
    acknowledge: oneshot::Sender<()>,
}

/// What a function answered.
#[derive(Debug, Clone)]
pub struct Answer(Value);

impl Function {
    /// Starts a function of this workspace with these variables, and waits until it asks for work.
    ///
    /// # Errors
    /// It was not built, or does not ask for work in time.
    pub async fn start(name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut function = Self::launch(name.to_owned(), variables.collect()).await?;
        until(&format!("{name} to ask for work"), async || {
            ensure!(function.child.try_wait()?.is_none(), "it has ended");
            ensure!(function.api.is_asked(), "it has not asked");
            Ok(())
        })
        .await?;
        function.init_time = function.api.asked_at().saturating_duration_since(function.spawned);
        Ok(function)
    }

    /// As [`Function::start`], without waiting.
    ///
    /// # Errors
    /// It was not built, or cannot be started.
    pub async fn launch(name: String, variables: Vec<(String, String)>) -> Result<Self> {
        let concurrency = variables.iter().find(|(name, _)| name == MAX_CONCURRENCY);
        let concurrency = concurrency.map_or(Ok(1), |(_, value)| value.parse())?;
        let (api, server) = RuntimeApi::serve(concurrency).await?;
        let mut command = Command::new(binary(&name)?);
        command
            .env("AWS_LAMBDA_RUNTIME_API", &api.address)
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_LAMBDA_FUNCTION_NAME", &name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .env("RUST_LOG", "info")
            .envs(variables);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let spawned = Instant::now();
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let log = ProcessLog::default();
        log.follow(child.stdout.take().context("piped")?);
        log.follow(child.stderr.take().context("piped")?);
        Ok(Self {
            name,
            child,
            log,
            api,
            pending: None,
            init_time: Duration::ZERO,
            quiet: false,
            spawned,
            _server: server,
        })
    }

    /// Hands the function a batch and returns its answer.
    ///
    /// # Errors
    /// The function ended, reported an error instead of an answer, or did not answer in time.
    pub async fn invoke(&mut self, batch: &Batch) -> Result<Answer> {
        let invocation = self.invoke_unacknowledged(batch).await?;
        Ok(invocation.acknowledge())
    }

    /// Prints nothing when it goes.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Its process id; `None` when it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether the process has ended.
    ///
    /// # Errors
    /// The process cannot be looked at.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Hands over an invocation with this payload and waits for its answer, for `deadline` and no longer, as
    /// Lambda does.
    ///
    /// # Errors
    /// The process ended, reported an error instead of an answer, or did not answer in time; then it still works.
    pub async fn invoke_payload(&mut self, payload: String, deadline: Duration) -> Result<Answer> {
        let answered = self.api.hand_over(Handover::new(payload, deadline))?;
        let waited = timeout(deadline, async {
            tokio::select! {
                answered = answered => answered.context("it hung up"),
                _ = self.child.wait() => bail!("the process has ended"),
            }
        });
        let (answer, acknowledge) = waited.await.context("no answer in time")??;
        let _ = acknowledge.send(());
        Ok(Answer(answer?))
    }

    /// As [`Function::invoke`], but the function is not told that its answer was heard.
    ///
    /// # Errors
    /// As [`Function::invoke`].
    pub async fn invoke_unacknowledged(&mut self, batch: &Batch) -> Result<Invocation> {
        let deadline = batch.deadline;
        let handover = Handover::new(batch.to_json(), deadline);
        let mut answered = self.api.hand_over(handover)?;
        let (answer, acknowledge) = until(&format!("{}'s answer", self.name), async || {
            ensure!(self.child.try_wait()?.is_none(), "the process has ended");
            answered.try_recv().context("no answer yet")
        })
        .await?;
        Ok(Invocation {
            answer: Answer(answer?),
            acknowledge,
        })
    }

    /// Hands the function several batches at once, as Managed Instances do, and waits until it has answered
    /// all of them.
    ///
    /// # Errors
    /// As [`Function::invoke`], or it has no room for so many (`AWS_LAMBDA_MAX_CONCURRENCY`).
    pub async fn invoke_all(&mut self, batches: &[Batch]) -> Result<Vec<Answer>> {
        let mut answered = Vec::new();
        for batch in batches {
            answered.push(self.api.hand_over(Handover::new(batch.to_json(), batch.deadline))?);
        }
        let mut answers = Vec::new();
        for mut answered in answered {
            let (answer, acknowledge) = until(&format!("{}'s answer", self.name), async || {
                ensure!(self.child.try_wait()?.is_none(), "the process has ended");
                answered.try_recv().context("no answer yet")
            })
            .await?;
            let _ = acknowledge.send(());
            answers.push(Answer(answer?));
        }
        Ok(answers)
    }

    /// Hands the function a batch without waiting for its answer, which [`Function::terminate`] returns.
    ///
    /// # Errors
    /// It has one already.
    pub fn hand_over(&mut self, batch: &Batch) -> Result<()> {
        self.pending = Some(self.api.hand_over(Handover::new(batch.to_json(), batch.deadline))?);
        Ok(())
    }

    /// SIGTERM, as Lambda sends it before it stops an environment; waits for the end of the process and
    /// returns the exit code and the answer to what was handed over, if it came.
    ///
    /// # Errors
    /// The process does not end in time.
    pub async fn terminate(&mut self) -> Result<(Option<i32>, Option<Answer>)> {
        let pid = self.child.id().context("it has ended")?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let mut answer = None;
        let status = until(&format!("{} to end", self.name), async || {
            if let Some(Ok((said, acknowledge))) = self.pending.as_mut().map(oneshot::Receiver::try_recv) {
                let _ = acknowledge.send(());
                answer = Some(Answer(said?));
                self.pending = None;
            }
            self.child.try_wait()?.context("it still runs")
        })
        .await?;
        Ok((status.code(), answer))
    }

    /// Whether it has asked for work.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.api.is_asked()
    }

    /// The lines that it has printed.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// How long it took from the start of the process to its first question for work.
    #[must_use]
    pub fn init_time(&self) -> Duration {
        self.init_time
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("killing the function")
    }

    /// The JSON lines it has printed that have an `outcome`, as their outcomes.
    #[must_use]
    pub fn outcomes(&self) -> Vec<String> {
        outcomes_in(&self.log.lines())
    }
}

impl Invocation {
    /// Tells the function that its answer was heard.
    #[must_use]
    pub fn acknowledge(self) -> Answer {
        let _ = self.acknowledge.send(());
        self.answer
    }
}

impl Answer {
    /// The `messageId`s that are to come back, sorted.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let failures = self.0["batchItemFailures"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut ids: Vec<String> = failures
            .iter()
            .map(|failure| failure["itemIdentifier"].as_str().unwrap_or_default().to_owned())
            .collect();
        ids.sort();
        ids
    }
}

/// The `outcome` field of JSON lines, at the top or in `fields`; other lines count for nothing.
pub(crate) fn outcomes_in(lines: &[String]) -> Vec<String> {
    let read = |line: &String| {
        let line: Value = serde_json::from_str(&line[line.find('{')?..]).ok()?;
        let outcome = line
            .get("fields")
            .and_then(|fields| fields.get("outcome"))
            .or_else(|| line.get("outcome"))?;
        outcome.as_str().map(ToOwned::to_owned)
    };
    lines.iter().filter_map(read).collect()
}

impl Drop for Function {
    fn drop(&mut self) {
        if !self.quiet {
            eprintln!("{}'s log:\n{}", self.name, self.log);
        }
    }
}
