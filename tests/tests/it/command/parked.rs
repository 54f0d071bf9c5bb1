//! `outbox-relay parked`: who is selected, what is kept in order, what is never shown.

use serde_json::{Value, json};
use sqlx::Connection as _;
use system_tests::{EVERYTHING, Queue, Relay, RelayConfig, until};

use super::scene::{CANARY, Scene};

fn seqs(listing: &Value) -> Vec<i64> {
    let events = listing.get("events").unwrap().as_array().unwrap();
    events.iter().map(|event| event["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn each_filter_selects_what_it_names() {
    let scene = Scene::new().await;
    let first = scene.park("a", Some("k1"), "permanent", "InvalidMessageContents").await;
    let second = scene.park("a", Some("k1"), "follows", "Follows").await;
    scene.park("a", None, "oversize", "Oversize").await;
    scene.park("b", Some("k2"), "permanent", "InvalidMessageContents").await;
    scene
        .execute("update oncebox.parked set tenant = 'acme', state = 'retry' where seq = 3")
        .await;
    scene
        .execute("update oncebox.parked set type = 'other.thing.v1' where seq = 4")
        .await;
    let both = format!("{first},{second}");
    let cases: [(&[&str], &[i64]); 14] = [
        (&[], &[1, 2, 3, 4]),
        (&["--sink", "b"], &[4]),
        (&["--sink", "a", "--sink", "b"], &[1, 2, 3, 4]),
        (&["--key", "k1"], &[1, 2]),
        (&["--key", "k"], &[]),
        (&["--type", "test.*"], &[1, 2, 3]),
        (&["--type", "other.*.v?"], &[4]),
        (&["--tenant", "acme"], &[3]),
        (&["--reason", "permanent"], &[1, 4]),
        (&["--reason", "Oversize", "--reason", "follows"], &[2, 3]),
        (&["--id", &both], &[1, 2]),
        (&["--seq", "2,4"], &[2, 4]),
        (&["--state", "retry"], &[3]),
        (&["--sink", "a", "--reason", "permanent", "--key", "k1"], &[1]),
    ];
    for (filter, expected) in cases {
        let listing = scene.json(&[&["parked", "list"], filter].concat()).await;
        assert_eq!(seqs(&listing), expected, "{filter:?}");
        assert_eq!(listing["total"], json!(expected.len()), "{filter:?}");
    }
    let short = scene.json(&["parked", "list", "--limit", "2"]).await;
    assert_eq!((seqs(&short), &short["total"]), (vec![1, 2], &json!(4)));
    let table = scene.done(&["parked", "list", "--limit", "2"]).await;
    assert!(
        table.starts_with("SINK") && table.ends_with("2 of 4; --limit shows more\n"),
        "{table}"
    );
    assert_eq!(
        scene.done(&["parked", "list", "--key", "none"]).await,
        "no parked events\n"
    );
}

#[tokio::test]
async fn data_is_shown_where_it_is_asked_for_and_nowhere_else() {
    let scene = Scene::new().await;
    let id = scene.park("a", Some("k1"), "permanent", "Code").await;
    for silent in [
        &["parked", "list"][..],
        &["parked", "list", "--json"],
        &["parked", "show", "--id", &id],
        &["parked", "show", "--id", &id, "--json"],
        &["parked", "retry", "--id", &id, "--dry-run"],
        &["parked", "skip", "--id", &id, "--dry-run", "--json"],
        &["status"],
    ] {
        let printed = scene.command(silent).run().await.unwrap();
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(!format!("{printed:?}").contains(CANARY), "{silent:?}: {printed:?}");
    }
    let shown = scene.json(&["parked", "show", "--id", &id, "--data"]).await;
    assert_eq!(shown["events"][0]["data"], json!({ "secret": CANARY }));
    assert_eq!(shown["events"][0]["sequence"], json!(1));
    let text = scene.done(&["parked", "show", "--id", &id, "--data"]).await;
    assert!(
        text.contains(CANARY) && text.contains("reason:     the target does not take it"),
        "{text}"
    );
    scene
        .refused(&["parked", "show", "--seq", "77"], 1, &["no parked event is selected"])
        .await;
}

#[tokio::test]
async fn a_retry_takes_the_whole_key_and_no_other() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene.park("a", Some("k1"), "permanent", "Code").await;
    scene.park("a", Some("k2"), "permanent", "Code").await;
    scene.park("a", Some("k1"), "follows", "Follows").await;
    scene.park("a", Some("k1"), "follows", "Follows").await;
    scene.park("a", None, "permanent", "Code").await;
    scene.park("b", Some("k1"), "permanent", "Code").await;

    let report = scene
        .json(&["parked", "retry", "--sink", "a", "--seq", "3", "--yes"])
        .await;
    assert_eq!(
        (&report["events"], &report["added"]),
        (&json!(3), &json!(2)),
        "{report}"
    );
    let expected = ["1:retry", "2:parked", "3:retry", "4:retry", "5:parked"];
    assert_eq!(scene.states("a").await, expected);
    assert_eq!(scene.states("b").await, ["6:parked"], "another sink's copy is its own");
    let again = scene
        .json(&["parked", "retry", "--sink", "a", "--key", "k1", "--yes"])
        .await;
    assert_eq!((&again["events"], &again["left"]), (&json!(0), &json!(3)), "{again}");

    let held = scene.json(&["parked", "hold", "--seq", "4", "--yes"]).await;
    assert_eq!((&held["events"], &held["added"]), (&json!(3), &json!(2)), "{held}");
    let all = scene.done(&["parked", "retry", "--all", "--yes"]).await;
    assert!(all.contains("6 events will be sent again"), "{all}");
    assert!(scene.states("a").await.iter().all(|state| state.ends_with(":retry")));
}

#[tokio::test]
async fn a_skip_deletes_what_is_named_and_tells_who_waits_behind_it() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene.park("a", Some("k1"), "permanent", "Code").await;
    scene.park("a", Some("k1"), "follows", "Follows").await;
    scene.park("a", Some("k2"), "permanent", "Code").await;
    let report = scene
        .json(&["parked", "skip", "--reason", "Code", "--key", "k1", "--yes"])
        .await;
    assert_eq!(
        (&report["events"], &report["waiting"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["shown"][0]["seq"], json!(1), "what was skipped is told");
    assert_eq!(scene.states("a").await, ["2:parked", "3:parked"]);

    scene.done(&["parked", "retry", "--key", "k2", "--yes"]).await;
    let text = scene.done(&["parked", "skip", "--sink", "a", "--yes"]).await;
    assert!(
        text.contains("1 event deleted for good") && text.contains("1 more are left alone"),
        "{text}"
    );
    assert_eq!(
        scene.states("a").await,
        ["3:retry"],
        "what is being sent again is not skipped"
    );
    scene
        .refused(
            &["parked", "skip", "--seq", "3", "--yes"],
            1,
            &["no parked event is selected"],
        )
        .await;
}

#[tokio::test]
async fn nothing_is_changed_by_a_dry_run_or_without_a_yes() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    let id = scene.park("a", Some("k1"), "permanent", "Code").await;
    scene.park("a", Some("k1"), "follows", "Follows").await;
    for verb in ["retry", "skip"] {
        scene.refused(&["parked", verb, "--yes"], 2, &["--all"]).await;
        scene
            .refused(&["parked", verb, "--all"], 2, &["--yes", "--dry-run"])
            .await;
        let report = scene.json(&["parked", verb, "--all", "--dry-run"]).await;
        assert_eq!(
            (&report["events"], &report["dry_run"]),
            (&json!(2), &json!(true)),
            "{report}"
        );
    }
    let edit = ["parked", "edit", "--sink", "a", "--id", &id, "--header", "note=x"];
    scene.refused(&edit, 2, &["--yes"]).await;
    scene.done(&[&edit[..], &["--dry-run"]].concat()).await;
    assert_eq!(scene.states("a").await, ["1:parked", "2:parked"]);
    assert_eq!(
        scene
            .number("select count(*) from oncebox.parked where edited_at is not null")
            .await,
        0
    );
}

#[tokio::test]
async fn an_edit_changes_data_and_attributes_and_keeps_the_rest() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    let id = scene.park("a", Some("k1"), "permanent", "Code").await;
    scene.park("b", Some("k1"), "permanent", "Code").await;
    let edit = |more: &[&str]| {
        let base = ["parked", "edit", "--sink", "a", "--id", &id, "--yes"];
        scene.command(&[&base[..], more].concat())
    };
    let report = edit(&["--data", "-", "--header", "note=x", "--header", "size:=7"]).input("{\"n\": 1.50}");
    let report = report.json().await.unwrap();
    assert_eq!(
        (&report["bytes_after"], &report["headers_changed"]),
        (&json!(11), &json!(["note", "size"]))
    );
    edit(&["--header", "note="]).done().await.unwrap();
    let row = scene
        .texts("select concat_ws('|', data, headers, state, key_seq, edited_at is not null) from oncebox.parked where sink = 'a'")
        .await;
    assert_eq!(row, ["{\"n\": 1.50}|{\"size\": 7}|parked|1|t"]);
    let others = scene
        .number("select count(*) from oncebox.parked where sink = 'b' and edited_at is null")
        .await;
    assert_eq!(others, 1);

    let too_long = format!("\"{}\"", "x".repeat(8 * 1024 * 1024));
    let faults: [(&[&str], &str, &str); 10] = [
        (&["--data", "-"], "{\"a\": canary-7f3a}", "is no JSON"),
        (&["--data", "-"], "", "is no JSON"),
        (&["--data", "-"], "{} {}", "is no JSON"),
        (&["--data", "-"], "\"\\u0000\"", "cannot be kept"),
        (&["--data", "-"], &too_long, "is longer than 8388608 bytes"),
        (&["--data", "/no/such/file"], "", "cannot be read"),
        (&["--header", "Note=x"], "", "lower-case"),
        (&["--header", "sequence:=9"], "", "keeps its place"),
        (&["--header", "noequals"], "", "name=value"),
        (&[], "", "nothing to change"),
    ];
    for (arguments, input, word) in faults {
        let printed = edit(arguments).input(input).run().await.unwrap();
        super::scene::assert_says(&printed, 2, &[word]);
        assert!(!format!("{printed:?}").contains(CANARY), "{printed:?}");
    }
    let nobody = "00000000-0000-7000-8000-000000000000";
    let unknown = [
        "parked", "edit", "--sink", "a", "--id", nobody, "--header", "n=1", "--yes",
    ];
    scene.refused(&unknown, 1, &["no parked event"]).await;
    scene
        .done(&["parked", "retry", "--id", &id, "--sink", "a", "--yes"])
        .await;
    let printed = edit(&["--header", "n=1"]).run().await.unwrap();
    super::scene::assert_says(&printed, 1, &["is being sent again", "parked hold"]);
}

#[tokio::test]
async fn a_change_waits_for_the_relays_lock_and_sees_what_it_has_parked() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene.park("a", Some("k1"), "permanent", "Code").await;
    // As a relay does that parks a follower: cursors first.
    let mut relay = scene.database.connect().await.unwrap();
    let mut saving = relay.begin().await.unwrap();
    sqlx::query("select 1 from oncebox.cursor where sink = 'a' order by shard for update")
        .fetch_all(&mut *saving)
        .await
        .unwrap();
    let retry = scene.command(&["parked", "retry", "--seq", "1", "--yes"]);
    let retry = tokio::spawn(async move { retry.json().await });
    until("the command to wait", async || {
        let waiting = scene.database.waiting_for_locks().await?;
        anyhow::ensure!(waiting == 1, "{waiting} wait");
        Ok(())
    })
    .await
    .unwrap();
    sqlx::query(
        "insert into oncebox.parked (sink, seq, shard, id, type, key, tenant, kind, source, time, headers, data,
                                     class, code, reason, attempts)
         select 'a', 2, shard, gen_random_uuid(), type, key, tenant, kind, source, time, headers, data, 'follows', 'F', '', 0
         from oncebox.parked",
    )
    .execute(&mut *saving)
    .await
    .unwrap();
    saving.commit().await.unwrap();
    let report = retry.await.unwrap().unwrap();
    assert_eq!(
        (&report["events"], &report["added"]),
        (&json!(2), &json!(1)),
        "{report}"
    );
    assert_eq!(scene.states("a").await, ["1:retry", "2:retry"]);
}

#[tokio::test]
async fn what_is_edited_and_retried_is_sent_by_the_relay_and_no_longer_parked() {
    let scene = Scene::new().await;
    // Not FIFO: there SQS would take the second sending for a copy of the first.
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let config = RelayConfig::new(&scene.database)
        .sink("a", EVERYTHING, &queue)
        .env("AWS_ENDPOINT_URL", &scene.stack.endpoint);
    let id = scene.park("a", Some("k1"), "permanent", "Code").await;
    let relay = Relay::start(&config).await.unwrap();
    relay.caught_up("a").await.unwrap();
    let edit = ["parked", "edit", "--sink", "a", "--id", &id, "--data", "-", "--yes"];
    scene.command(&edit).input("{\"mended\": true}").done().await.unwrap();
    scene.done(&["parked", "retry", "--id", &id, "--yes"]).await;
    until("the event to be sent and no longer parked", async || {
        let states = scene.states("a").await;
        anyhow::ensure!(states.is_empty(), "{states:?}");
        Ok(())
    })
    .await
    .unwrap();
    let bodies: Vec<String> = queue
        .take(2)
        .await
        .unwrap()
        .into_iter()
        .map(|message| message.body)
        .collect();
    assert!(bodies[0].contains(CANARY) && bodies[1].contains("mended"), "{bodies:?}");
    assert!(bodies.iter().all(|body| body.contains(&id)), "{bodies:?}");
}
