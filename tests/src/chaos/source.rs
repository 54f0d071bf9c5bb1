//! Event sources: what Lambda does between a queue and a function.
//!
//! Each has one execution environment. It receives a batch, hands it over, and deletes what the function does not
//! want back. A function that does not answer in time is given up: its messages come again and go to another process,
//! while the old one may still be at work.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use aws_sdk_sqs::{
    Client,
    types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName},
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Function,
    chaos::{
        Plant,
        books::Books,
        plant::Plants,
        processes::Processes,
        stage::{Consumer, Stage},
    },
};

const SOURCES_EACH: usize = 2;
/// The function's timeout.
const DEADLINE: Duration = Duration::from_secs(4);
const VISIBILITY_SECS: i32 = 6;
/// For so long a process that was given up may go on.
const AFTERLIFE: Duration = Duration::from_secs(20);
const AFTER_A_FAILURE: Duration = Duration::from_millis(200);
/// Messages that are not deleted though they could be: the request was lost.
const FORGOTTEN: f64 = 0.02;
const KEPT_LOG_LINES: usize = 20_000;

type Logs = Vec<(String, Vec<String>)>;

pub(super) struct Sources {
    tasks: JoinSet<Logs>,
    stop: CancellationToken,
    pub(super) processes: Processes,
    plants: Arc<Plants>,
}

struct Source {
    consumer: Arc<Consumer>,
    client: Client,
    variables: Vec<(&'static str, String)>,
    books: Books,
    plants: Arc<Plants>,
    processes: Processes,
    random: StdRng,
    function: Option<Function>,
    given_up: Vec<(Function, Instant)>,
    logs: Logs,
}

impl Sources {
    pub(super) fn start(stage: &Stage, books: &Books, plants: &BTreeSet<Plant>, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let plants = Arc::new(Plants::new(plants));
        let (mut tasks, stop, processes) = (JoinSet::new(), CancellationToken::new(), Processes::default());
        for consumer in &stage.consumers {
            let mut variables = stage.variables(consumer);
            if consumer.name == "bus" && plants.doubles() {
                variables.push(("RECORDER_DOUBLE", "1".to_owned()));
            }
            for _ in 0..SOURCES_EACH {
                let source = Source {
                    consumer: Arc::clone(consumer),
                    client: stage.stack.sqs(),
                    variables: variables.clone(),
                    books: books.clone(),
                    plants: Arc::clone(&plants),
                    processes: processes.clone(),
                    random: StdRng::seed_from_u64(random.next_u64()),
                    function: None,
                    given_up: Vec::new(),
                    logs: Vec::new(),
                };
                tasks.spawn(source.run(stop.clone()));
            }
        }
        Self {
            tasks,
            stop,
            processes,
            plants,
        }
    }

    /// Whether faults are still to be planted that no batch has lent itself to.
    pub(super) fn wait_to_plant(&self) -> bool {
        self.plants.wait()
    }

    /// Ends all functions; their logs.
    pub(super) async fn stop(mut self) -> Logs {
        self.stop.cancel();
        let mut logs = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            logs.extend(ended.unwrap_or_default());
        }
        logs
    }
}

impl Source {
    async fn run(mut self, stop: CancellationToken) -> Logs {
        while !stop.is_cancelled() {
            self.bury().await;
            if let Err(problem) = self.turn().await {
                eprintln!("{}: {problem:#}", self.consumer.name);
                sleep(AFTER_A_FAILURE).await;
            }
        }
        let given_up = std::mem::take(&mut self.given_up)
            .into_iter()
            .map(|(function, _)| function);
        for function in given_up.chain(self.function.take()).collect::<Vec<_>>() {
            self.end(function).await;
        }
        self.logs
    }

    async fn turn(&mut self) -> Result<()> {
        let messages = self.receive().await?;
        if messages.is_empty() {
            return Ok(());
        }
        let mut function = match self.function.take() {
            Some(function) => function,
            None => self.start().await?,
        };
        let mut records: Vec<Value> = messages
            .iter()
            .map(|message| record(message, &self.consumer.queue.arn))
            .collect();
        if self.consumer.name == "fifo" {
            self.plants.apply(&self.books, &mut records);
        }
        let payload = json!({ "Records": records }).to_string();
        match function.invoke_payload(payload, DEADLINE).await {
            Ok(answer) => {
                self.function = Some(function);
                self.delete(&messages, &answer.failures()).await
            }
            Err(_) if function.has_ended()? => {
                self.end(function).await;
                Ok(())
            }
            Err(_) => {
                self.given_up.push((function, Instant::now()));
                Ok(())
            }
        }
    }

    async fn start(&self) -> Result<Function> {
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let function = Function::launch("recorder".to_owned(), variables.collect())
            .await?
            .quiet();
        self.processes.enter(function.id().context("it has ended at once")?);
        Ok(function)
    }

    /// Ends those that were given up long ago.
    async fn bury(&mut self) {
        let (old, young) = std::mem::take(&mut self.given_up)
            .into_iter()
            .partition(|(_, since)| since.elapsed() > AFTERLIFE);
        self.given_up = young;
        for (function, _) in old {
            self.end(function).await;
        }
    }

    async fn end(&mut self, function: Function) {
        if let Some(id) = function.id() {
            self.processes.leave(id);
        }
        let mut lines = function.lines();
        lines.drain(..lines.len().saturating_sub(KEPT_LOG_LINES));
        self.logs
            .push((format!("function-{}-{}", self.consumer.name, self.logs.len()), lines));
        let _ = function.kill().await;
    }

    async fn receive(&self) -> Result<Vec<Message>> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.consumer.queue.url)
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .visibility_timeout(VISIBILITY_SECS)
            .wait_time_seconds(1)
            .send()
            .await
            .context("receiving")?;
        Ok(received.messages.unwrap_or_default())
    }

    async fn delete(&mut self, messages: &[Message], failures: &[String]) -> Result<()> {
        let mut entries = Vec::new();
        for (place, message) in messages.iter().enumerate() {
            let id = message.message_id().unwrap_or_default();
            if failures.iter().any(|failed| failed == id) || self.random.random_bool(FORGOTTEN) {
                continue;
            }
            let entry = DeleteMessageBatchRequestEntry::builder().id(place.to_string());
            entries.push(
                entry
                    .receipt_handle(message.receipt_handle().unwrap_or_default())
                    .build()?,
            );
        }
        if !entries.is_empty() {
            let deletion = self.client.delete_message_batch().queue_url(&self.consumer.queue.url);
            deletion.set_entries(Some(entries)).send().await.context("deleting")?;
        }
        Ok(())
    }
}

/// A message as Lambda hands it over.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>
fn record(message: &Message, queue_arn: &str) -> Value {
    let system = message.attributes().into_iter().flatten();
    let attributes: serde_json::Map<_, _> = system
        .map(|(name, value)| (name.as_str().to_owned(), json!(value)))
        .collect();
    let own = message.message_attributes().into_iter().flatten();
    let message_attributes: serde_json::Map<_, _> = own
        .map(|(name, value)| {
            let value = json!({
                "stringValue": value.string_value(), "dataType": value.data_type(),
                "stringListValues": [], "binaryListValues": [],
            });
            (name.clone(), value)
        })
        .collect();
    json!({
        "messageId": message.message_id(),
        "receiptHandle": message.receipt_handle(),
        "body": message.body(),
        "attributes": attributes,
        "messageAttributes": message_attributes,
        "md5OfBody": message.md5_of_body(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": "us-east-1",
    })
}
