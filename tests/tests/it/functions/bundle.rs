//! Bundles on their whole way: the relay packs them, SQS carries them, the function takes them apart.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use system_tests::{Batch, Message, Queue, Record, Relay, RelayConfig, Requested, Stack, request_invoice, until};
use uuid::Uuid;

use super::scene::{Mode, Scene};

const COMMANDS: &str = "{ type = \"invoice.create.*\", kind = \"command\" }";

/// Asks for so many invoices in one transaction, each for a customer of its own.
async fn request(scene: &Scene, count: usize) -> Vec<Requested> {
    let mut client = scene.database.connect().await.unwrap();
    let mut transaction = client.begin().await.unwrap();
    let mut requested = Vec::new();
    for _ in 0..count {
        requested.push(request_invoice(&mut transaction, Uuid::new_v4()).await.unwrap());
    }
    transaction.commit().await.unwrap();
    requested
}

/// The one message that a relay with bundles makes of what is in the log.
async fn bundled(scene: &Scene, queue: &Queue) -> Message {
    let lines = format!(
        "sqs = {{ queue = \"{}\" }}\nbundle = {{ max_events = 50, linger_ms = 300 }}",
        queue.name
    );
    let config = RelayConfig::new(&scene.database)
        .sink_table("commands", COMMANDS, &lines)
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    let relay = Relay::start(&config).await.unwrap();
    let message = queue.take(1).await.unwrap().remove(0);
    until("the relay's cursors to be past everything", async || {
        let ahead = scene.database.unpublished("commands").await?;
        ensure!(ahead == 0, "{ahead} ahead");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(relay.stop().await.unwrap().code, Some(0));
    assert_eq!(queue.depth().await.unwrap(), 0, "one bundle holds them all");
    message
}

/// Lets the invoice's row be refused for now.
async fn refuse(scene: &Scene, invoice: Uuid) {
    let refuse = format!(
        "create function invoicing.refuse() returns trigger language plpgsql as $$
         begin raise exception 'not now' using errcode = 'serialization_failure'; end $$;
         create trigger refuse before insert on invoicing.invoice
         for each row when (new.invoice_id = '{invoice}') execute function invoicing.refuse()"
    );
    scene.database.pool.execute(AssertSqlSafe(refuse)).await.unwrap();
}

#[tokio::test]
async fn of_a_relays_bundle_with_one_failing_event_only_that_one_runs_again() {
    let scene = Scene::of(Mode::Postgres).await;
    let queue = Queue::standard(&Stack::from_env().await.unwrap()).await.unwrap();
    let requested = request(&scene, 6).await;
    let message = bundled(&scene, &queue).await;
    let bad = requested[2].invoice_id;
    refuse(&scene, bad).await;

    let mut function = scene.function().await;
    let batch = Batch::of(&queue.arn, [Record::new(message.body)]);
    let answer = function.invoke(&batch).await.unwrap();
    assert_eq!(answer.failures().len(), 1, "the bundle comes again");
    let others = requested.iter().map(|request| request.invoice_id);
    let others: Vec<Uuid> = others.filter(|invoice| *invoice != bad).collect();
    scene.assert_once(&others).await;

    scene
        .database
        .pool
        .execute("drop trigger refuse on invoicing.invoice")
        .await
        .unwrap();
    let answer = function.invoke(&batch.again()).await.unwrap();
    assert_eq!(answer.failures(), [""; 0]);
    let all: Vec<Uuid> = requested.iter().map(|request| request.invoice_id).collect();
    scene.assert_once(&all).await;
    until("the function to have told what became of each", async || {
        let outcomes = function.outcomes();
        let count = |wanted: &str| outcomes.iter().filter(|outcome| *outcome == wanted).count();
        ensure!(
            (count("duplicate"), count("retryable")) == (others.len(), 1),
            "{outcomes:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
}
