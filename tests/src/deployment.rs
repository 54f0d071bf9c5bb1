//! A whole deployment of a test's own, made by `infra/deploy.py`.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::{Database, Queue, Stack, Tables, binaries, cleanup, unique};

/// What a test may want otherwise than the templates' defaults.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// The functions' timeout; the queues' visibility timeout is six times as long.
    pub function_timeout_secs: u16,
    /// Deliveries before the dead-letter queue.
    pub max_receive_count: u16,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            function_timeout_secs: 10,
            max_receive_count: 5,
        }
    }
}

/// Queues, tables and functions under one prefix; deleted with this value.
#[derive(Debug)]
pub struct Deployment {
    /// What every name in it starts with.
    pub prefix: String,
    /// What the templates put out.
    pub outputs: Outputs,
    stack: Stack,
    kept: bool,
}

/// The outputs of `infra/app.yaml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are those of the templates")]
pub struct Outputs {
    pub invoice_commands_queue_url: String,
    pub invoice_commands_queue_arn: String,
    pub invoice_commands_dlq_url: String,
    pub invoice_commands_dlq_arn: String,
    pub invoice_events_queue_url: String,
    pub invoice_events_queue_arn: String,
    pub invoice_events_dlq_url: String,
    pub invoice_events_dlq_arn: String,
    pub audit_queue_url: String,
    pub audit_queue_arn: String,
    pub audit_dlq_url: String,
    pub audit_dlq_arn: String,
    pub dedupe_table: String,
    pub payments_table: String,
    pub audit_table: String,
    pub outbox_table: String,
    pub payment_events_topic_arn: String,
    pub take_payment_sweep_rule: String,
    pub create_invoice_function: String,
    pub take_payment_function: String,
    pub audit_tap_function: String,
}

impl Deployment {
    /// Deploys the functions of this build; `create-invoice` works on `database`.
    ///
    /// # Errors
    /// `infra/deploy.py` failed; the message is what it said.
    pub async fn create(stack: &Stack, database: &Database, parameters: &Parameters) -> Result<Self> {
        let prefix = unique("t");
        let mut command = deploy_py(stack);
        command
            .args(["deploy", "--prefix", &prefix, "--json", "--functions-dir"])
            .arg(binaries::folder()?);
        let settings = [
            format!("DatabaseUrl={}", database.function_url),
            format!("FunctionTimeoutSecs={}", parameters.function_timeout_secs),
            format!("MaxReceiveCount={}", parameters.max_receive_count),
        ];
        for setting in settings {
            command.args(["--parameter", &setting]);
        }
        // Only now: from here on there may be something to delete.
        let mut deployment = Self {
            prefix,
            outputs: Outputs::default(),
            stack: stack.clone(),
            kept: false,
        };
        let done = command.output().await.context("running infra/deploy.py")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "infra/deploy.py ended with {}:\n{said}",
            done.status
        );
        deployment.outputs = serde_json::from_slice(&done.stdout).context("the outputs of infra/deploy.py")?;
        Ok(deployment)
    }

    /// The queue that `create-invoice` reads.
    #[must_use]
    pub fn commands(&self) -> Queue {
        Queue::existing(
            &self.stack,
            &self.outputs.invoice_commands_queue_url,
            &self.outputs.invoice_commands_queue_arn,
        )
    }

    /// Its dead-letter queue.
    #[must_use]
    pub fn commands_dlq(&self) -> Queue {
        Queue::existing(
            &self.stack,
            &self.outputs.invoice_commands_dlq_url,
            &self.outputs.invoice_commands_dlq_arn,
        )
    }

    /// The queue that `take-payment` reads.
    #[must_use]
    pub fn events(&self) -> Queue {
        Queue::existing(
            &self.stack,
            &self.outputs.invoice_events_queue_url,
            &self.outputs.invoice_events_queue_arn,
        )
    }

    /// Its dead-letter queue.
    #[must_use]
    pub fn events_dlq(&self) -> Queue {
        Queue::existing(
            &self.stack,
            &self.outputs.invoice_events_dlq_url,
            &self.outputs.invoice_events_dlq_arn,
        )
    }

    /// The queue that `audit-tap` reads.
    #[must_use]
    pub fn audit(&self) -> Queue {
        Queue::existing(
            &self.stack,
            &self.outputs.audit_queue_url,
            &self.outputs.audit_queue_arn,
        )
    }

    /// Its dead-letter queue.
    #[must_use]
    pub fn audit_dlq(&self) -> Queue {
        Queue::existing(&self.stack, &self.outputs.audit_dlq_url, &self.outputs.audit_dlq_arn)
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let Outputs {
            dedupe_table,
            payments_table,
            audit_table,
            ..
        } = &self.outputs;
        Tables::existing(&self.stack, dedupe_table, payments_table, audit_table)
    }

    /// Leaves everything there when this value goes.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

fn deploy_py(stack: &Stack) -> Command {
    let mut command = Command::new(&stack.python);
    command.arg(binaries::repository().join("infra/deploy.py"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut command = deploy_py(&self.stack);
        command.args(["delete", "--with-data", "--prefix", &self.prefix]);
        cleanup::run(async move || {
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        });
    }
}
