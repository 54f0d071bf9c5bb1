//! `outbox-relay status`: one screen, and bounds for scripts.

use serde_json::{Value, json};
use system_tests::{EVERYTHING, RelayConfig, unique};

use super::{configured::written, scene::Scene};

#[tokio::test]
async fn status_tells_of_sinks_relays_and_the_log() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene
        .execute("update oncebox.cursor set owner = 'relay-1' where shard < 10")
        .await;
    scene
        .execute("insert into oncebox.relay (id, sinks, term_ms) values ('relay-1', '{a}', 60000)")
        .await;
    scene.park("a", Some("k"), "permanent", "Code").await;
    scene.park("a", Some("k"), "follows", "Follows").await;
    scene.park("without-cursors", None, "permanent", "Code").await;
    scene
        .execute("update oncebox.parked set state = 'retry' where seq = 2")
        .await;
    scene
        .execute("update oncebox.event set time = time - interval '2 h' where seq = 1")
        .await;

    let status = scene.json(&["status"]).await;
    let sink = &status["sinks"][0];
    assert_eq!(
        (&sink["sink"], &sink["parked"], &sink["retry"]),
        (&json!("a"), &json!(1), &json!(1)),
        "{status}"
    );
    assert_eq!(sink["behind_at_most"], json!(3), "{status}");
    assert!(
        (7_200..7_400).contains(&sink["oldest_secs"].as_i64().unwrap()),
        "{status}"
    );
    assert_eq!(status["sinks"][1]["parked"], json!(1), "{status}");
    assert_eq!(
        (&status["relays"][0]["id"], &status["relays"][0]["alive"]),
        (&json!("relay-1"), &json!(true))
    );
    let log = &status["log"];
    assert_eq!(
        (&log["first_seq"], &log["last_seq"]),
        (&json!(1), &json!(3)),
        "{status}"
    );
    assert!(
        log["bytes"].as_i64().unwrap() > 0 && log["partitions"].as_i64().unwrap() > 10,
        "{status}"
    );
    let text = scene.done(&["status"]).await;
    for word in ["relay-1 (10), nobody (6)", "2h", "partitions", "without-cursors"] {
        assert!(text.contains(word), "nothing about {word}:\n{text}");
    }
}

#[tokio::test]
async fn a_bound_that_is_exceeded_is_an_exit_code() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene.park("a", Some("k"), "permanent", "Code").await;
    scene
        .execute("update oncebox.event set time = time - interval '2 h'")
        .await;
    for (bound, least) in [("--max-lag-secs", 9_000), ("--max-lag-events", 1), ("--max-parked", 1)] {
        scene.done(&["status", bound, &least.to_string()]).await;
        scene
            .refused(&["status", bound, "0"], 1, &["sink a", "more than 0"])
            .await;
    }
}

#[tokio::test]
async fn how_far_behind_a_sink_is_costs_little_however_far_it_is() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene
        .execute("select oncebox.enqueue('test.happened.v1', '{}') from generate_series(1, 100)")
        .await;
    // As if most of a long log had been written since.
    scene.execute("select setval('oncebox.event_seq', 900000)").await;
    let status = scene.json(&["status"]).await;
    // A hundred rows were found among the first twenty thousand positions; the rest is counted.
    assert_eq!(status["sinks"][0]["behind_at_most"], json!(880_100), "{status}");
}

#[tokio::test]
async fn status_tells_what_of_the_log_is_freed_next_and_what_holds_it() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene.database.enqueue(None).await.unwrap();
    scene
        .execute("update oncebox.event set time = '2026-01-01T00:00:00Z'")
        .await;
    // As if a million and more had been written and rolled back.
    scene.execute("select setval('oncebox.event_seq', 1200000)").await;
    let freeing = async |arguments: &[&str]| {
        let status = scene.json(&[&["status"], arguments].concat()).await;
        let partition = |index: usize| status["log"]["freeing"][index].clone();
        (partition(0), partition(1), status)
    };
    let (first, second, status) = freeing(&[]).await;
    let held = |partition: &Value| partition["held_by"].as_str().map(str::to_owned);
    assert!(
        held(&first).unwrap().contains("sink `a` has published up to 0"),
        "{status}"
    );
    assert_eq!((&first["from_seq"], &first["to_seq"]), (&json!(0), &json!(999_999)));
    assert!(first["bytes"].as_i64().unwrap() > 0, "{status}");
    assert_eq!(held(&second).unwrap(), "events are being written to it");
    assert_eq!(second["free_after"], Value::Null);
    assert_eq!(
        status["log"]["freeing"].as_array().unwrap().len(),
        2,
        "none that is ahead"
    );
    let log = &status["log"];
    assert_eq!(
        (&log["retention_days"], &log["retention_configured"]),
        (&json!(7), &json!(false))
    );

    let past = "update oncebox.cursor set base_seq = 1200000, base_open_floor = 1200000";
    scene.execute(past).await;
    scene.execute("update oncebox.event set time = now()").await;
    let (first, _, status) = freeing(&[]).await;
    assert_eq!(held(&first).unwrap(), "the retention", "{status}");
    let in_days = async |partition: &Value| {
        let at = partition["free_after"].as_str().unwrap();
        scene
            .number(&format!(
                "select round(extract(epoch from '{at}'::timestamptz - max(time)) / 86400)::bigint from oncebox.event"
            ))
            .await
    };
    assert_eq!(in_days(&first).await, 7, "{status}");
    let config = |lines: &str| {
        let base = RelayConfig::new(&scene.database).sink_table("a", EVERYTHING, "sqs = { queue = \"q\" }");
        written(&RelayConfig::from_toml(&format!("{lines}\n{}", base.toml())))
    };
    let two = config("retention_days = 2");
    let two = two.path().to_str().unwrap();
    let (first, _, status) = freeing(&["--config", two]).await;
    assert_eq!(in_days(&first).await, 2, "{status}");
    assert_eq!(status["log"]["retention_configured"], json!(true));
    let text = scene.done(&["status", "--config", two]).await;
    for words in [
        "kept for 2 days",
        "0 to 999999",
        "the retention",
        "events are being written to it",
    ] {
        assert!(text.contains(words), "nothing about {words}:\n{text}");
    }
    let ever = config("retention_days = 0");
    let (first, _, _) = freeing(&["--config", ever.path().to_str().unwrap()]).await;
    assert_eq!(held(&first).unwrap(), "events are kept for ever");

    scene
        .execute("update oncebox.event set time = now() - interval '8 days'")
        .await;
    let (first, _, _) = freeing(&[]).await;
    assert_eq!(held(&first), None);
    let text = scene.done(&["status"]).await;
    assert!(text.contains("a relay frees it within a minute"), "{text}");

    let role = unique("r").replace('-', "_");
    for sql in [
        format!("create role {role} login"),
        format!("grant usage on schema oncebox to {role}"),
        format!("grant select on all tables in schema oncebox to {role}"),
        format!("grant select on oncebox.event_seq to {role}"),
    ] {
        scene.execute(&sql).await;
    }
    let mut url = scene.database.url.clone();
    url.set_username(&role).unwrap();
    let status = scene.command(&["status"]).env("DATABASE_URL", url.as_str());
    assert_eq!(status.json().await.unwrap()["log"]["freeing"], Value::Null);
    let text = status.done().await.unwrap();
    assert!(
        text.contains("grant execute on function oncebox.partition_status"),
        "{text}"
    );
    scene.execute(&format!("drop owned by {role}")).await;
    scene.execute(&format!("drop role {role}")).await;
}
