//! `outbox-relay status`: one screen, and bounds for scripts.

use serde_json::json;

use super::scene::Scene;

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
