//! A sink whose target is in trouble for long, beside one whose target is not.

use anyhow::ensure;
use system_tests::{EVERYTHING, Fault, Moment, Queue, Relay, RelayConfig, Request, until};

use super::{settled, taken_by};
use crate::{
    relay::delivered::{assert_keys_in_order, duplicates, ids},
    targets::scene::Scene,
};

const FREE: &str = "free";
const BLOCKED: &str = "blocked";
const ROUNDS: usize = 4;
/// Of memory, with default settings: what is promised at any backlog. The backlog has more.
const MOST_BYTES: u64 = 150_000_000;

struct Two {
    scene: Scene,
    free: Queue,
    blocked: Queue,
    relay: Relay,
}

impl Two {
    async fn new() -> Self {
        Self::with_filters(EVERYTHING, EVERYTHING).await
    }

    async fn with_filters(of_free: &str, of_blocked: &str) -> Self {
        let scene = Scene::new().await;
        let free = Queue::standard(&scene.stack).await.unwrap();
        let blocked = Queue::fifo(&scene.stack).await.unwrap();
        let config = RelayConfig::new(&scene.database)
            .sink(FREE, of_free, &free)
            .sink(BLOCKED, of_blocked, &blocked)
            .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
        let relay = Relay::start(&config).await.unwrap();
        Self {
            scene,
            free,
            blocked,
            relay,
        }
    }

    fn block(&self, fault: Fault) {
        let name = self.blocked.name.clone();
        self.scene
            .proxy
            .inject(usize::MAX, fault, move |request| request.is_send_to(&name));
    }

    /// Waits until the free sink has nothing left to do, as its cursors and its metrics tell.
    async fn free_is_up_to_date(&self) {
        settled(&self.scene, FREE).await;
        until("the free sink's lag to be nothing", async || {
            let events = self.relay.metric("oncebox_sink_lag_events", FREE).await?;
            let seconds = self.relay.metric("oncebox_sink_lag_seconds", FREE).await?;
            ensure!(events == 0.0 && seconds == 0.0, "{events} events, {seconds} s");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Commits in rounds: each reaches the free queue while the blocked one takes nothing, and the
    /// blocked sink's lag tells. Then the trouble is over, and the blocked sink catches up.
    async fn free_flows_while_the_other_waits(&self, over: impl FnOnce()) {
        let mut committed = Vec::new();
        for round in 0..ROUNDS {
            let sent = self.blocked_sends();
            for key in ["a", "b", "c"] {
                committed.extend(self.scene.database.enqueue_many(Some(key), 5).await.unwrap());
            }
            self.free_is_up_to_date().await;
            assert_eq!(
                ids(&taken_by(&self.scene, &self.free.name)),
                committed.iter().cloned().collect(),
                "round {round}"
            );
            until("the blocked sink to be tried and its lag to show", async || {
                let events = self.relay.metric("oncebox_sink_lag_events", BLOCKED).await?;
                let seconds = self.relay.metric("oncebox_sink_lag_seconds", BLOCKED).await?;
                let all = f64::from(u32::try_from(committed.len())?);
                ensure!(events == all && seconds > 0.0, "{events} of {all} events, {seconds} s");
                ensure!(self.blocked_sends() > sent || round > 1, "not tried again");
                Ok(())
            })
            .await
            .unwrap();
        }
        assert!(taken_by(&self.scene, &self.blocked.name).is_empty());
        over();
        settled(&self.scene, BLOCKED).await;
        let taken = taken_by(&self.scene, &self.blocked.name);
        assert_keys_in_order(&taken);
        assert_eq!(ids(&taken), committed.iter().cloned().collect());
        assert_eq!(duplicates(&taken), 0, "nothing of it had arrived before");
        let free = taken_by(&self.scene, &self.free.name);
        assert_eq!(duplicates(&free), 0, "the other's trouble repeats nothing");
    }

    fn blocked_sends(&self) -> usize {
        let sends = self.scene.proxy.sends();
        let to_blocked = |send: &&system_tests::Send| send.entries.iter().any(|entry| entry.queue == self.blocked.name);
        sends.iter().filter(to_blocked).count()
    }
}

#[tokio::test]
async fn a_target_that_is_away_holds_up_its_sink_and_no_other() {
    let two = Two::new().await;
    two.block(Fault::Status(503));
    two.free_flows_while_the_other_waits(|| two.scene.proxy.heal()).await;
    assert!(two.relay.failed(BLOCKED, "transient").await.unwrap() > 0.0);
    assert_eq!(two.relay.failed(FREE, "transient").await.unwrap(), 0.0);
}

#[tokio::test]
async fn a_target_that_throttles_holds_up_its_sink_and_no_other() {
    let two = Two::new().await;
    two.block(Fault::Throttled);
    two.free_flows_while_the_other_waits(|| two.scene.proxy.heal()).await;
    assert!(two.relay.failed(BLOCKED, "throttled").await.unwrap() > 0.0);
    let limit = two.relay.metric("oncebox_sink_concurrency_limit", FREE).await.unwrap();
    assert_eq!(limit, 16.0, "each target has its own limit");
}

#[tokio::test]
async fn a_target_that_refuses_the_relay_holds_up_its_sink_and_no_other() {
    let two = Two::new().await;
    two.block(Fault::AccessDenied);
    two.free_flows_while_the_other_waits(|| two.scene.proxy.heal()).await;
    assert!(two.relay.failed(BLOCKED, "auth").await.unwrap() > 0.0);
}

#[tokio::test]
async fn a_target_that_says_nothing_holds_up_its_sink_and_no_other() {
    let two = Two::new().await;
    let name = two.blocked.name.clone();
    let gate = two.scene.proxy.hold(usize::MAX, Moment::BeforeApplied, move |request| {
        request.is_send_to(&name)
    });
    two.free_flows_while_the_other_waits(|| {
        two.scene.proxy.heal();
        gate.discard();
    })
    .await;
}

#[tokio::test]
async fn the_backlog_of_a_blocked_sink_takes_bounded_memory_and_is_sent_in_order() {
    const EVENTS: i64 = 8_000;
    let two = Two::with_filters("{ kind = \"event\" }", "{ kind = \"command\" }").await;
    two.block(Fault::Status(503));
    // 256 MB: the relay would take more than it may if it held them all.
    sqlx::query(
        "select count(oncebox.enqueue('test.happened.v1', to_jsonb(repeat('x', 32000)), kind => 'command',
                                      key => 'key-' || n % 50))
         from generate_series(1, $1) n",
    )
    .bind(EVENTS)
    .execute(&mut two.scene.database.connect().await.unwrap())
    .await
    .unwrap();
    let small = two.scene.database.enqueue_many(Some("small"), 20).await.unwrap();
    until(
        "the blocked sink to have read what it may and to be tried again",
        async || {
            let failed = two.relay.failed(BLOCKED, "transient").await?;
            ensure!(failed > 200.0, "{failed} failed");
            Ok(())
        },
    )
    .await
    .unwrap();
    settled(&two.scene, FREE).await;
    assert_eq!(ids(&taken_by(&two.scene, &two.free.name)), small.into_iter().collect());
    let bytes = two.relay.resident_bytes().unwrap();
    assert!(bytes < MOST_BYTES, "{bytes} bytes with a sink that is blocked");
    assert!(taken_by(&two.scene, &two.blocked.name).is_empty());

    two.scene.proxy.heal();
    // LocalStack would take its time for so many.
    two.scene.proxy.inject(usize::MAX, Fault::Swallow, Request::is_send);
    settled(&two.scene, BLOCKED).await;
    let taken = taken_by(&two.scene, &two.blocked.name);
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken).len(), usize::try_from(EVENTS).unwrap());
    let bytes = two.relay.resident_bytes().unwrap();
    assert!(bytes < MOST_BYTES, "{bytes} bytes after catching up");
}

#[tokio::test]
async fn a_backlog_of_the_largest_messages_takes_bounded_memory_at_the_widest_setting() {
    const EVENTS: i64 = 200;
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    // 208 MB, each nearly as large as a message may be.
    sqlx::query(
        "select count(oncebox.enqueue('test.happened.v1', to_jsonb(repeat('x', 1040000)))) from generate_series(1, $1)",
    )
    .bind(EVENTS)
    .execute(&mut scene.database.connect().await.unwrap())
    .await
    .unwrap();
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, Request::is_send);
    let lines = format!("sqs = {{ queue = \"{}\" }}\nmax_in_flight = 256", queue.name);
    let config = RelayConfig::new(&scene.database)
        .sink_table(FREE, EVERYTHING, &lines)
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    let relay = Relay::start(&config).await.unwrap();
    // One event a request, and as many at once as the room for payloads has them.
    gate.reached(16).await.unwrap();
    scene.proxy.heal();
    // LocalStack would take its time for so many.
    scene.proxy.inject(usize::MAX, Fault::Swallow, Request::is_send);
    gate.discard();
    settled(&scene, FREE).await;
    assert_eq!(
        ids(&taken_by(&scene, &queue.name)).len(),
        usize::try_from(EVENTS).unwrap()
    );
    let bytes = relay.peak_bytes().unwrap();
    println!("at most {bytes} bytes");
    assert!(bytes < MOST_BYTES, "{bytes} bytes");
}
