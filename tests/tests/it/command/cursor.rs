//! `outbox-relay cursor show`, `reset` and `delete`; and `rename`.

mod rename;

use anyhow::ensure;
use serde_json::{Value, json};
use sqlx::Connection as _;
use system_tests::{AwsProxy, EVERYTHING, Queue, Relay, RelayConfig, enqueue, until};

use super::scene::Scene;

const SINK: &str = "all";

struct Published {
    scene: Scene,
    proxy: AwsProxy,
    config: RelayConfig,
    queue: Queue,
}

impl Published {
    /// A sink that has published these events, and its relay.
    async fn new(keys: &[Option<&str>]) -> (Self, Relay, Vec<String>) {
        let scene = Scene::new().await;
        let proxy = AwsProxy::start(&scene.stack).await.unwrap();
        let queue = Queue::standard(&scene.stack).await.unwrap();
        let config = RelayConfig::new(&scene.database)
            .sink(SINK, EVERYTHING, &queue)
            .env("AWS_ENDPOINT_URL", &proxy.endpoint);
        let relay = Relay::start(&config).await.unwrap();
        let mut ids = Vec::new();
        for key in keys {
            ids.push(scene.database.enqueue(*key).await.unwrap());
        }
        let this = Self {
            scene,
            proxy,
            config,
            queue,
        };
        this.settled().await;
        (this, relay, ids)
    }

    async fn settled(&self) {
        until("the cursors to be past everything", async || {
            let ahead = self.scene.database.unpublished(SINK).await?;
            ensure!(ahead == 0, "{ahead} events ahead of the cursors");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// How often each of these events was taken.
    fn copies(&self, ids: &[String]) -> Vec<usize> {
        let taken = self.proxy.taken();
        ids.iter()
            .map(|id| taken.iter().filter(|entry| entry.event_id == *id).count())
            .collect()
    }

    async fn copies_become(&self, ids: &[String], expected: &[usize]) {
        until("the events to be sent again", async || {
            let copies = self.copies(ids);
            ensure!(copies == expected, "{copies:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
}

fn sink(shown: &Value, name: &str) -> Value {
    let sinks = shown["sinks"].as_array().unwrap();
    sinks.iter().find(|sink| sink["sink"] == name).unwrap().clone()
}

#[tokio::test]
async fn show_counts_what_is_not_published_late_transactions_too() {
    let (published, relay, _) = Published::new(&[Some("a"), None]).await;
    let scene = &published.scene;
    let shown = sink(&scene.json(&["cursor", "show"]).await, SINK);
    assert_eq!(shown["behind_at_most"], json!(0), "{shown}");
    assert_eq!(shown["shards"][0]["relay_alive"], json!(true), "{shown}");

    let mut late = scene.database.connect().await.unwrap();
    let mut late = late.begin().await.unwrap();
    enqueue(&mut late, Some("late")).await.unwrap();
    // Published after it was written, so that the cursor passes it by.
    scene.database.enqueue_many(Some("b"), 2).await.unwrap();
    published.settled().await;
    relay.stop().await.unwrap();
    late.commit().await.unwrap();
    scene.database.enqueue_many(Some("b"), 3).await.unwrap();

    let shown = sink(&scene.json(&["cursor", "show"]).await, SINK);
    assert_eq!(shown["behind_at_most"], json!(4), "{shown}");
    assert!(shown["oldest_secs"].is_i64(), "{shown}");
    assert_eq!(shown["configured"], Value::Null);
    let by_shard: i64 = shown["shards"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|s| s["behind_at_most"].as_i64())
        .sum();
    assert_eq!(by_shard, 4, "{shown}");
    let text = scene.done(&["cursor", "show", "--shards"]).await;
    assert_eq!(text.lines().count(), 17, "{text}");
}

#[tokio::test]
async fn show_tells_which_sinks_are_not_configured() {
    let scene = Scene::new().await;
    scene.cursors("removed").await;
    let config = tempfile::NamedTempFile::new().unwrap();
    let toml = format!(
        "[database]\nurl = \"{}\"\n[[sink]]\nname = \"new\"\nsqs = {{ queue = \"q\" }}\n",
        scene.database.url
    );
    std::fs::write(config.path(), toml).unwrap();
    let config = config.path().to_str().unwrap();
    let shown = scene.json(&["cursor", "show", "--config", config]).await;
    assert_eq!(sink(&shown, "removed")["configured"], json!(false));
    assert_eq!(sink(&shown, "new")["configured"], json!(true));
    let text = scene.done(&["cursor", "show", "--config", config]).await;
    assert!(
        text.contains("cursor delete --sink removed") && text.contains("new has no cursors yet"),
        "{text}"
    );
    scene
        .refused(
            &["cursor", "delete", "--sink", "new", "--config", config, "--yes"],
            2,
            &["new"],
        )
        .await;
}

#[tokio::test]
async fn a_running_relay_goes_on_from_where_a_reset_says() {
    let (published, _relay, ids) = Published::new(&[Some("a"), Some("b"), None, Some("c")]).await;
    let scene = &published.scene;
    let reset = |to: &'static str| ["cursor", "reset", "--sink", SINK, "--to", to, "--yes"];
    let dry = scene
        .json(&["cursor", "reset", "--sink", SINK, "--to", "beginning", "--dry-run"])
        .await;
    assert_eq!(
        (&dry["sent_again_about"], &dry["passed_by_about"]),
        (&json!(4), &json!(0)),
        "{dry}"
    );
    assert_eq!(published.copies(&ids), [1, 1, 1, 1], "a dry run changes nothing");
    scene.done(&reset("beginning")).await;
    published.copies_become(&ids, &[2, 2, 2, 2]).await;
    published.settled().await;
    scene.done(&reset("2")).await;
    published.copies_become(&ids, &[2, 2, 3, 3]).await;
    published.settled().await;
    let new = vec![scene.database.enqueue(Some("a")).await.unwrap()];
    published.copies_become(&new, &[1]).await;
}

#[tokio::test]
async fn a_reset_to_now_passes_by_what_is_committed_and_nothing_that_runs() {
    let (published, relay, _) = Published::new(&[Some("a")]).await;
    let scene = &published.scene;
    relay.stop().await.unwrap();
    let passed_by = scene.database.enqueue_many(Some("b"), 3).await.unwrap();
    let mut running = scene.database.connect().await.unwrap();
    let mut running = running.begin().await.unwrap();
    let late = vec![enqueue(&mut running, Some("c")).await.unwrap()];
    let report = scene
        .json(&["cursor", "reset", "--sink", SINK, "--to", "now", "--yes"])
        .await;
    assert_eq!(report["sent_again_about"], json!(0), "{report}");
    assert!(report["passed_by_about"].as_i64().unwrap() >= 3, "{report}");
    running.commit().await.unwrap();
    let _relay = Relay::start(&published.config).await.unwrap();
    published.copies_become(&late, &[1]).await;
    published.settled().await;
    assert_eq!(published.copies(&passed_by), [0, 0, 0]);
}

#[tokio::test]
async fn a_reset_to_a_time_passes_by_nothing_of_that_time_or_later() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    scene.database.enqueue_many(None, 6).await.unwrap();
    // A long transaction says an old time at a high position.
    for (seq, hour) in [(1, 1), (2, 3), (3, 2), (4, 4), (5, 3), (6, 5)] {
        scene
            .execute(&format!(
                "update oncebox.event set time = '2026-01-01T00:00:00Z'::timestamptz + interval '{hour} h' where seq = {seq}"
            ))
            .await;
    }
    for (time, expected) in [
        ("2025-01-01T00:00:00Z", 0),
        ("2026-01-01T01:00:00Z", 0),
        ("2026-01-01T01:00:00.000001Z", 1),
        ("2026-01-01T04:00:00+01:00", 1),
        ("2026-01-01T03:30:00Z", 3),
        ("2026-01-01T04:30:00Z", 5),
        ("2030-01-01T00:00:00Z", 6),
    ] {
        let report = scene
            .json(&["cursor", "reset", "--sink", SINK, "--to", time, "--dry-run"])
            .await;
        assert_eq!(report["to"], json!(expected), "{time}: {report}");
    }
    assert_eq!(
        scene.number("select sum(epoch)::bigint from oncebox.cursor").await,
        0,
        "dry runs"
    );
}

#[tokio::test]
async fn a_reset_moves_the_named_shards_alone_and_raises_their_epochs() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    scene.execute("update oncebox.cursor set owner = 'relay-1'").await;
    scene.database.enqueue_many(None, 5).await.unwrap();
    scene
        .done(&[
            "cursor", "reset", "--sink", SINK, "--to", "3", "--shard", "2,9", "--yes",
        ])
        .await;
    let moved = scene
        .texts("select shard || ':' || position || ':' || epoch || ':' || owner from oncebox.cursor where position <> 0 order by shard")
        .await;
    assert_eq!(moved, ["2:3:1:relay-1", "9:3:1:relay-1"]);
    scene
        .refused(
            &["cursor", "reset", "--sink", SINK, "--to", "6", "--yes"],
            2,
            &["ends at 5"],
        )
        .await;
    scene
        .refused(
            &["cursor", "reset", "--sink", "al", "--to", "now", "--yes"],
            2,
            &["there are: all"],
        )
        .await;
    scene
        .refused(&["cursor", "reset", "--sink", SINK, "--to", "1"], 2, &["--yes"])
        .await;
    scene
        .execute("update oncebox.cursor set system_id = 7 where shard = 4")
        .await;
    let foreign = ["cursor", "reset", "--sink", SINK, "--to", "now", "--yes"];
    scene.refused(&foreign, 1, &["cursor rebase"]).await;
}

#[tokio::test]
async fn cursors_are_deleted_only_when_nobody_needs_them() {
    let scene = Scene::new().await;
    scene.cursors("gone").await;
    scene.cursors("other").await;
    scene.execute("update oncebox.cursor set owner = 'relay-1'").await;
    scene.park("gone", Some("k"), "permanent", "Code").await;
    scene
        .execute("insert into oncebox.relay (id, sinks, term_ms) values ('relay-1', '{gone}', 60000)")
        .await;
    let delete = ["cursor", "delete", "--sink", "gone", "--parked-too", "--yes"];
    // The relay lives: its beat rises while the command watches.
    let pool = scene.database.pool.clone();
    let beating = tokio::spawn(async move {
        while sqlx::query("update oncebox.relay set beat = beat + 1")
            .execute(&pool)
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    });
    scene.refused(&delete, 1, &["relay relay-1 lives"]).await;
    beating.abort();
    let _ = beating.await;
    // It was killed: its row stands still.
    scene.execute("update oncebox.relay set term_ms = 300").await;
    scene
        .refused(
            &["cursor", "delete", "--sink", "gone", "--yes"],
            1,
            &["1 parked", "--parked-too"],
        )
        .await;
    let dry = scene
        .json(&["cursor", "delete", "--sink", "gone", "--parked-too", "--dry-run"])
        .await;
    assert_eq!(
        (&dry["cursors"], &dry["parked"], &dry["dry_run"]),
        (&json!(16), &json!(1), &json!(true))
    );
    let report = scene.json(&delete).await;
    assert_eq!((&report["cursors"], &report["parked"]), (&json!(16), &json!(1)));
    assert_eq!(scene.texts("select distinct sink from oncebox.cursor").await, ["other"]);
    scene.refused(&delete, 2, &["no sink `gone`"]).await;
}
