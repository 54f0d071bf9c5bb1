//! What `take-payment` emits is sent whatever moment it is killed at.

use std::{collections::HashMap, process::Stdio};

use anyhow::ensure;
use invoicing_events::PaymentTaken;
use oncebox_envelope::{Event as _, EventId, RawEnvelope};
use serde_json::Value;
use system_tests::{Batch, Function, Message, Moment, OutboxTable, Queue, Request, Stack, binary, until};
use tokio::process::Command;
use uuid::Uuid;

use super::scene::{Mode, Scene, some_invoices};

const QUEUE_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:test";

struct Emitting {
    scene: Scene,
    outbox: OutboxTable,
    target: Queue,
}

impl Emitting {
    async fn new() -> Self {
        let stack = Stack::from_env().await.unwrap();
        Self {
            scene: Scene::of(Mode::Transactional).await,
            outbox: OutboxTable::create(&stack).await.unwrap(),
            target: Queue::fifo(&stack).await.unwrap(),
        }
    }

    async fn function(&self) -> Function {
        let variables = [
            ("OUTBOX_TABLE", self.outbox.name.as_str()),
            ("PAYMENT_EVENTS_TARGET", &self.target.url),
        ];
        self.scene.function_with(&variables).await
    }

    /// Kills the function when it waits for this moment of its first request that `is_meant`; returns what it has stored
    /// and not taken out.
    async fn killed_at(
        &self,
        invoices: &[Uuid],
        moment: Moment,
        is_meant: impl Fn(&Request) -> bool + Send + 'static,
    ) -> Vec<RawEnvelope> {
        let mut function = self.function().await;
        let batch = self.scene.batch(invoices.iter().map(|id| self.scene.message(*id)));
        let gate = self.scene.proxy.hold(usize::MAX, moment, is_meant);
        tokio::select! {
            answer = function.invoke(&batch) => panic!("answered without having sent: {answer:?}"),
            reached = gate.reached(1) => reached.unwrap(),
        }
        // The others commit meanwhile.
        until("all effects", async || {
            ensure!(self.scene.effects().await.len() == invoices.len(), "not yet");
            Ok(())
        })
        .await
        .unwrap();
        function.kill().await.unwrap();
        gate.discard();
        self.scene.proxy.heal();
        self.scene.assert_once(invoices).await;
        let stored = self.outbox.stored().await.unwrap();
        self.outbox.age().await.unwrap();
        stored
    }

    /// Each of the invoices is told of once, under the id that was stored, and nothing is stored any more.
    async fn assert_told(&self, invoices: &[Uuid], stored: &[RawEnvelope]) {
        let told = self.target.take(invoices.len()).await.unwrap();
        assert_eq!(self.target.take_batch().await.unwrap().len(), 0);
        let ids = told.iter().map(told_of).collect::<HashMap<Uuid, EventId>>();
        assert_eq!(ids.len(), told.len(), "twice: {told:?}");
        assert!(invoices.iter().all(|invoice| ids.contains_key(invoice)), "{ids:?}");
        for envelope in stored {
            let event = envelope.clone().typed::<PaymentTaken>().unwrap();
            assert_eq!(ids[&event.data.invoice_id], event.id);
        }
        assert_eq!(self.outbox.stored().await.unwrap().len(), 0);
    }
}

fn told_of(message: &Message) -> (Uuid, EventId) {
    let envelope = message.envelope().unwrap();
    assert_eq!(message.attributes["ce-type"], PaymentTaken::TYPE);
    assert_eq!(
        message.deduplication_id.as_deref(),
        Some(envelope.id.to_string().as_str())
    );
    let event = envelope.typed::<PaymentTaken>().unwrap();
    (event.data.invoice_id, event.id)
}

fn is_send(request: &Request) -> bool {
    request.operation == "SendMessageBatch"
}

#[tokio::test]
async fn killed_between_commit_and_send_the_next_invocation_sends_it_once_under_its_id() {
    let emitting = Emitting::new().await;
    let [first, second, later] = some_invoices();
    let stored = emitting
        .killed_at(&[first, second], Moment::BeforeApplied, is_send)
        .await;
    assert_eq!(stored.len(), 2);

    // Of other events.
    let mut next = emitting.function().await;
    let batch = emitting.scene.batch([emitting.scene.message(later)]);
    assert_eq!(next.invoke(&batch).await.unwrap().failures(), [""; 0]);
    emitting.assert_told(&[first, second, later], &stored).await;
}

#[tokio::test]
async fn killed_between_commit_and_send_a_schedule_sends_it_once_under_its_id() {
    let emitting = Emitting::new().await;
    let invoices = some_invoices::<2>();
    let stored = emitting.killed_at(&invoices, Moment::BeforeApplied, is_send).await;
    assert_eq!(stored.len(), 2);

    let mut next = emitting.function().await;
    assert_eq!(
        next.invoke(&Batch::of(QUEUE_ARN, [])).await.unwrap().failures(),
        [""; 0]
    );
    emitting.assert_told(&invoices, &stored).await;
    // Told for the alarm, too.
    let lines = next.lines();
    let metrics = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let age: Vec<Value> = metrics.filter_map(|line| line.get("OutboxAgeSecs").cloned()).collect();
    assert_eq!(age, [0]);
}

#[tokio::test]
async fn killed_between_commit_and_send_a_person_sends_it_once_under_its_id() {
    let emitting = Emitting::new().await;
    let invoices = some_invoices::<2>();
    let stored = emitting.killed_at(&invoices, Moment::BeforeApplied, is_send).await;
    let swept = Command::new(binary("oncebox-consumer").unwrap())
        .args([
            "outbox",
            "sweep",
            "--yes",
            "--json",
            "--consumer",
            "take-payment",
            "--table",
        ])
        .arg(&emitting.outbox.name)
        .env("AWS_ENDPOINT_URL", &emitting.scene.proxy.endpoint)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(swept.status.success(), "{swept:?}");
    let report: Value = serde_json::from_slice(&swept.stdout).unwrap();
    assert_eq!((&report["sent"], &report["left"]), (&2.into(), &0.into()));
    emitting.assert_told(&invoices, &stored).await;
}

#[tokio::test]
async fn killed_between_send_and_taking_out_it_is_sent_again_under_its_id_and_a_fifo_queue_keeps_one() {
    let emitting = Emitting::new().await;
    let invoices = some_invoices::<1>();
    let stored = emitting.killed_at(&invoices, Moment::BeforeReply, is_send).await;
    assert_eq!(stored.len(), 1);
    let mut next = emitting.function().await;
    next.invoke(&Batch::of(QUEUE_ARN, [])).await.unwrap();
    let taken: Vec<String> = emitting
        .scene
        .proxy
        .taken()
        .into_iter()
        .map(|entry| entry.event_id)
        .collect();
    let id = stored[0].id.to_string();
    assert_eq!(taken, [id.clone(), id]);
    emitting.assert_told(&invoices, &stored).await;
}
