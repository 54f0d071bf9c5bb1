//! A relay that starts while the target of one of its sinks is away.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use system_tests::{AwsProxy, EVERYTHING, Fault, Queue, Relay, RelayCommand, RelayConfig, until};

use super::{settled, taken_by};
use crate::{
    relay::delivered::{assert_keys_in_order, duplicates, ids},
    targets::scene::Scene,
};

const FREE: &str = "free";
const AWAY: &str = "away";
/// What the relay says, once, of a sink whose target is not there.
const WAITS: &str = "the sink waits for its target";
const IS_THERE: &str = "the sink's target is there";
const CLEAN: i32 = 0;
const BAD_CONFIGURATION: i32 = 2;

struct Away {
    scene: Scene,
    free: Queue,
    away: Queue,
    committed: Vec<String>,
}

impl Away {
    /// Both sinks have run, and the relay has ended.
    async fn new() -> Self {
        let scene = Scene::new().await;
        let free = Queue::standard(&scene.stack).await.unwrap();
        let away = Queue::fifo(&scene.stack).await.unwrap();
        let mut all = Self {
            scene,
            free,
            away,
            committed: Vec::new(),
        };
        let relay = Relay::start(&all.config()).await.unwrap();
        all.commit().await;
        settled(&all.scene, FREE).await;
        settled(&all.scene, AWAY).await;
        assert_eq!(relay.stop().await.unwrap().code, Some(CLEAN));
        all
    }

    fn config(&self) -> RelayConfig {
        RelayConfig::new(&self.scene.database)
            .sink(FREE, EVERYTHING, &self.free)
            .sink(AWAY, EVERYTHING, &self.away)
            .env("AWS_ENDPOINT_URL", &self.scene.proxy.endpoint)
    }

    async fn commit(&mut self) {
        for key in ["a", "b", "c"] {
            let ids = self.scene.database.enqueue_many(Some(key), 5).await.unwrap();
            self.committed.extend(ids);
        }
    }

    /// A relay that has found one of its targets: the other one's sink is told as not ready, with `reason`.
    async fn started(&self, reason: &str) -> Relay {
        let relay = Relay::spawn(&self.config()).unwrap();
        relay.said("listening").await.unwrap();
        until("the relay to say which sink is not ready, and why", async || {
            let (status, said) = relay.ask("/readyz").await?;
            ensure!(status == 503, "{status}: {said}");
            ensure!(
                said.contains(AWAY) && said.contains(reason) && !said.contains(FREE),
                "{said}"
            );
            Ok(())
        })
        .await
        .unwrap();
        relay
    }

    /// Waits until everything that is committed has arrived at the queue, and looks at how.
    async fn all_arrived(&self, sink: &str, queue: &Queue) {
        settled(&self.scene, sink).await;
        let taken = taken_by(&self.scene, &queue.name);
        assert_eq!(ids(&taken), self.committed.iter().cloned().collect(), "{sink}");
        assert_eq!(duplicates(&taken), 0, "{sink}");
        // The other one is a standard queue, for which no order is promised.
        if queue.name == self.away.name {
            assert_keys_in_order(&taken);
        }
    }

    async fn delete(&self) {
        let sqs = self.scene.stack.sqs();
        sqs.delete_queue().queue_url(&self.away.url).send().await.unwrap();
    }

    async fn create(&self) {
        let sqs = self.scene.stack.sqs();
        let asked = sqs.create_queue().queue_name(&self.away.name);
        let asked = asked.attributes(QueueAttributeName::FifoQueue, "true");
        let created = asked.send().await.unwrap();
        assert_eq!(created.queue_url(), Some(self.away.url.as_str()));
    }
}

/// How many lines of the log have these words.
fn lines(relay: &Relay, words: &str) -> usize {
    relay.lines().iter().filter(|line| line.contains(words)).count()
}

#[tokio::test]
async fn a_target_that_is_missing_at_start_holds_up_its_sink_and_no_other() {
    let mut all = Away::new().await;
    all.delete().await;
    let relay = all.started("does not exist").await;
    all.commit().await;
    all.all_arrived(FREE, &all.free).await;
    let status = RelayCommand::new(&["status"])
        .on(&all.scene.database)
        .run()
        .await
        .unwrap();
    assert_eq!(status.code, Some(CLEAN), "{status:?}");
    assert!(status.stdout.contains("away (waits for its target)"), "{status:?}");
    assert!(
        !status.stdout.contains("abandoned"),
        "the relay has the sink: {status:?}"
    );
    let delete = RelayCommand::new(&["cursor", "delete", "--sink", AWAY, "--yes"]);
    let delete = delete.on(&all.scene.database).run().await.unwrap();
    assert_ne!(delete.code, Some(CLEAN), "a relay that runs has the sink: {delete:?}");
    all.create().await;
    relay.said(IS_THERE).await.unwrap();
    all.all_arrived(AWAY, &all.away).await;
    until("the relay to be ready", async || {
        let (status, said) = relay.ask("/readyz").await?;
        ensure!(status == 200, "{status}: {said}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(lines(&relay, WAITS), 1, "once, however often it looked");
    assert_eq!(relay.stop().await.unwrap().code, Some(CLEAN));
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_up_at_start_holds_up_its_sink_and_no_other() {
    let mut all = Away::new().await;
    let name = all.away.name.clone();
    all.scene.proxy.inject(usize::MAX, Fault::AccessDenied, move |request| {
        !request.is_send() && request.mentions(&name)
    });
    let relay = all.started("could not be looked up").await;
    all.commit().await;
    all.all_arrived(FREE, &all.free).await;
    all.scene.proxy.heal();
    all.all_arrived(AWAY, &all.away).await;
    assert_eq!(relay.stop().await.unwrap().code, Some(CLEAN));
}

#[tokio::test]
async fn a_relay_that_waits_for_a_target_leaves_the_sink_to_one_that_found_it() {
    let mut all = Away::new().await;
    let name = all.away.name.clone();
    all.scene.proxy.inject(usize::MAX, Fault::AccessDenied, move |request| {
        !request.is_send() && request.mentions(&name)
    });
    let waits = all.started("could not be looked up").await;
    let found = AwsProxy::start(&all.scene.stack).await.unwrap();
    let second = all.config().env("AWS_ENDPOINT_URL", &found.endpoint);
    let second = Relay::start(&second).await.unwrap();
    all.commit().await;
    settled(&all.scene, AWAY).await;
    settled(&all.scene, FREE).await;
    let mut taken = taken_by(&all.scene, &all.away.name);
    taken.extend(found.taken().into_iter().filter(|entry| entry.queue == all.away.name));
    assert_eq!(ids(&taken), all.committed.iter().cloned().collect());
    assert_eq!(duplicates(&taken), 0);
    assert_keys_in_order(&taken);
    assert_eq!(lines(&waits, IS_THERE), 0);
    assert_eq!(second.stop().await.unwrap().code, Some(CLEAN));
    assert_eq!(waits.stop().await.unwrap().code, Some(CLEAN));
}

#[tokio::test]
async fn a_relay_ends_while_it_waits_for_a_target() {
    let all = Away::new().await;
    all.delete().await;
    let relay = all.started("does not exist").await;
    let exit = tokio::time::timeout(Duration::from_secs(20), relay.stop()).await;
    assert_eq!(exit.context("it did not end").unwrap().unwrap().code, Some(CLEAN));
    all.create().await;
}

#[tokio::test]
async fn a_new_sink_whose_target_is_missing_is_an_error_also_beside_one_that_has_run() {
    let all = Away::new().await;
    let config = all.config().sink_table(
        "new",
        EVERYTHING,
        "sqs = { queue = \"no-such-queue\" }\nstart = \"now\"",
    );
    let exit = Relay::spawn(&config).unwrap().ended().await.unwrap();
    assert_eq!(exit.code, Some(BAD_CONFIGURATION), "{}", exit.printed);
    assert!(exit.printed.contains("no-such-queue"), "{}", exit.printed);
    assert_eq!(taken_by(&all.scene, &all.away.name).len(), all.committed.len());
}
