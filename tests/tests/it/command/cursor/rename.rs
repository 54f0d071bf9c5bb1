//! `outbox-relay cursor rename`, and a relay that finds cursors of a sink that it does not know.

use serde_json::json;
use system_tests::{EVERYTHING, Relay, RelayConfig};

use super::{Published, SINK, Scene};
use crate::command::configured::written;

/// The relay's configuration with the sink under another name.
fn renamed(published: &Published, lines: &str) -> RelayConfig {
    let target = format!("sqs = {{ queue = \"{}\" }}\n{lines}", published.queue.name);
    RelayConfig::new(&published.scene.database)
        .sink_table("renamed", EVERYTHING, &target)
        .env("AWS_ENDPOINT_URL", &published.proxy.endpoint)
}

const RENAME: [&str; 6] = ["cursor", "rename", "--sink", SINK, "--to", "renamed"];

#[tokio::test]
async fn a_renamed_sink_goes_on_where_it_was_with_its_parked_events() {
    let (published, relay, before) = Published::new(&[Some("a"), Some("b"), None]).await;
    let scene = &published.scene;
    relay.stop().await.unwrap();
    let parked = scene.park(SINK, Some("p"), "permanent", "Code").await;
    scene.execute("update oncebox.cursor set owner = 'gone'").await;
    let after = scene.database.enqueue_many(Some("a"), 2).await.unwrap();
    let rename = |how: &'static str| [&RENAME[..], &[how]].concat();

    let dry = scene.json(&rename("--dry-run")).await;
    let expected =
        json!({ "action": "rename", "dry_run": true, "sink": SINK, "to": "renamed", "cursors": 16, "parked": 1 });
    assert_eq!(dry, expected);
    assert_eq!(scene.texts("select distinct sink from oncebox.cursor").await, [SINK]);
    let file = written(&published.config);
    let still_configured = [&rename("--yes")[..], &["--config", file.path().to_str().unwrap()]].concat();
    scene
        .refused(&still_configured, 1, &["stands in the configuration"])
        .await;
    scene.refused(&RENAME, 2, &["--yes"]).await;

    let done = scene.json(&rename("--yes")).await;
    assert_eq!((&done["cursors"], &done["parked"]), (&json!(16), &json!(1)));
    assert_eq!(
        scene.texts("select distinct sink from oncebox.cursor").await,
        ["renamed"]
    );
    assert_eq!(scene.states("renamed").await.len(), 1);
    let held = "select count(*) from oncebox.cursor where owner is not null or epoch = 0";
    assert_eq!(scene.number(held).await, 0, "free, under a new epoch");

    let relay = Relay::start(&renamed(&published, "")).await.unwrap();
    published.copies_become(&after, &[1, 1]).await;
    assert_eq!(published.copies(&before), [1, 1, 1], "nothing is sent again");
    scene
        .done(&["parked", "retry", "--sink", "renamed", "--all", "--yes"])
        .await;
    published.copies_become(&[parked], &[1]).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_new_sink_beside_cursors_of_others_begins_only_where_a_person_has_said() {
    let (published, relay, before) = Published::new(&[Some("a"), Some("b")]).await;
    let scene = &published.scene;
    relay.stop().await.unwrap();
    let doubted = renamed(&published, "");
    let exit = Relay::spawn(&doubted).unwrap().quiet().ended().await.unwrap();
    assert_eq!(exit.code, Some(2), "{}", exit.printed);
    for words in [
        "sink `renamed`: start: ",
        "outbox-relay cursor rename --sink all --to renamed",
        "start = \\\"now\\\"",
    ] {
        let words = words.replace("\\\"", "\"");
        assert!(exit.printed.contains(&words), "no {words}: {}", exit.printed);
    }
    assert_eq!(scene.texts("select distinct sink from oncebox.cursor").await, [SINK]);
    let file = written(&doubted);
    let check = published
        .scene
        .command(&["check", "--json", "--config", file.path().to_str().unwrap()]);
    let check = check
        .env("AWS_ENDPOINT_URL", &published.proxy.endpoint)
        .run()
        .await
        .unwrap();
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(
        check.stdout.contains("cursor rename --sink all --to renamed"),
        "{check:?}"
    );

    scene.database.enqueue_many(None, 5).await.unwrap();
    let relay = Relay::start(&renamed(&published, "start = \"now\"")).await.unwrap();
    relay.said("a sink that is not configured has cursors").await.unwrap();
    relay.said("outbox-relay cursor delete --sink all").await.unwrap();
    relay.said("with what commits from its first start on").await.unwrap();
    system_tests::until("the abandoned sink to be measured", async || {
        let behind = relay.metric("oncebox_abandoned_sink_lag_events", SINK).await?;
        anyhow::ensure!(behind == 5.0, "{behind}");
        Ok(())
    })
    .await
    .unwrap();
    let text = scene.done(&["status"]).await;
    assert!(
        text.contains("all is abandoned") && text.contains("abandoned\n"),
        "{text}"
    );
    let after = vec![scene.database.enqueue(Some("a")).await.unwrap()];
    published.copies_become(&after, &[1]).await;
    assert_eq!(published.copies(&before), [1, 1]);
    // It is no new sink any more: its `start` may go.
    relay.stop().await.unwrap();
    let relay = Relay::start(&doubted).await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_renamed_beside_a_relay_or_into_a_name_that_is_taken() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    scene.cursors("taken").await;
    let rename = |to: &'static str| ["cursor", "rename", "--sink", SINK, "--to", to, "--yes"];
    scene
        .refused(&rename("taken"), 1, &["16 cursors", "cursor delete --sink taken"])
        .await;
    scene.refused(&rename(SINK), 2, &["its name already"]).await;
    scene.refused(&rename("No!"), 2, &["1 to 64 lower-case"]).await;
    scene
        .refused(
            &["cursor", "rename", "--sink", "al", "--to", "x", "--yes"],
            2,
            &["there are: all"],
        )
        .await;
    scene.park("parked", None, "permanent", "Code").await;
    scene.refused(&rename("parked"), 1, &["1 parked events"]).await;

    // One that is configured with the sink and holds nothing of it would begin it anew.
    for sinks in ["{all}", "{renamed}"] {
        scene
            .execute(&format!(
                "insert into oncebox.relay (id, sinks, term_ms) values ('relay-1', '{sinks}', 60000)"
            ))
            .await;
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
        scene.refused(&rename("renamed"), 1, &["relay relay-1 lives"]).await;
        beating.abort();
        let _ = beating.await;
        scene.execute("delete from oncebox.relay").await;
    }
    // Killed: its row stands still.
    scene
        .execute("insert into oncebox.relay (id, sinks, term_ms) values ('relay-1', '{all}', 300)")
        .await;
    assert_eq!(scene.json(&rename("renamed")).await["cursors"], json!(16));
}
