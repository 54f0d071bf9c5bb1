//! `outbox-relay replay`.

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::Connection as _;
use system_tests::{Bus, EVERYTHING, Fault, Moment, Queue, enqueue};

use super::{
    configured::{Configured, SINK},
    scene::assert_says,
};

fn to_queue(queue: &Queue) -> String {
    format!("sqs = {{ queue = \"{}\" }}", queue.name)
}

#[tokio::test]
async fn events_go_again_to_the_sinks_own_target_with_their_ids_and_move_no_cursor() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    scene.cursors(SINK).await;
    let a = scene.database.enqueue_many(Some("a"), 5).await.unwrap();
    let b = scene.database.enqueue_many(Some("b"), 5).await.unwrap();
    let before = scene.texts("select c::text from oncebox.cursor c order by shard").await;

    let report = replay.replayed(&file, &[]).await;
    assert_eq!(report["published"], json!(10), "{report}");
    assert_eq!(report["resume_from_seq"], Value::Null, "{report}");
    let ids: HashSet<String> = replay.taken_ids().into_iter().collect();
    assert_eq!(ids, [a, b].concat().into_iter().collect());
    for key in ["a", "b"] {
        assert_eq!(replay.sequences(key), [1, 2, 3, 4, 5], "{key}");
    }
    // A second replay sends them again: that the queue drops them is the queue's doing.
    replay.replayed(&file, &[]).await;
    assert_eq!(replay.taken_ids().len(), 20);
    assert_eq!(queue.take(10).await.unwrap().len(), 10);
    let after = scene.texts("select c::text from oncebox.cursor c order by shard").await;
    assert_eq!(before, after, "no cursor moves");
}

#[tokio::test]
async fn events_go_into_another_target_of_any_kind_and_not_into_the_sinks_own() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let (own, other, ruled) = (
        Queue::standard(&scene.stack).await.unwrap(),
        Queue::fifo(&scene.stack).await.unwrap(),
        Queue::standard(&scene.stack).await.unwrap(),
    );
    let bus = Bus::to_queue(&scene.stack, "{\"source\": [{\"prefix\": \"/\"}]}", &ruled)
        .await
        .unwrap();
    let bundled = "bundle = { max_events = 10, linger_ms = 5 }";
    let file = replay.file(EVERYTHING, &format!("{}\n{bundled}", to_queue(&own)));
    let ids = scene.database.enqueue_many(Some("k"), 12).await.unwrap();

    let report = replay.replayed(&file, &["--to-sqs", &other.name]).await;
    assert_eq!(
        (&report["published"], &report["target"]),
        (&json!(12), &json!(other.arn))
    );
    let messages = other.take(2).await.unwrap();
    assert_eq!(messages.len(), 2, "in the sink's bundles");
    let report = replay.replayed(&file, &["--to-eventbridge", &bus.arn]).await;
    assert_eq!(report["published"], json!(12), "{report}");
    assert_eq!(ruled.take(12).await.unwrap().len(), 12, "one event a message");
    assert_eq!(own.depth().await.unwrap(), 0);
    assert_eq!(ids.len(), 12);
    let two = replay.replay(&file, &["--to-sqs", &other.name, "--to-sns", "t", "--yes"]);
    assert_says(&two.run().await.unwrap(), 2, &["cannot be used with"]);
    let missing = replay.replay(&file, &["--to-sqs", "no-such-queue", "--yes"]);
    assert_says(&missing.run().await.unwrap(), 2, &["no-such-queue", "does not exist"]);
}

#[tokio::test]
async fn the_sinks_match_always_applies_and_the_options_narrow_it() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let file = replay.file("{ type = \"a.*\" }", &to_queue(&queue));
    for (event_type, key, tenant, kind) in [
        ("a.one.v1", "k1", "t1", "event"),
        ("a.two.v1", "k2", "t1", "command"),
        ("a.two.v1", "k1", "t2", "event"),
        ("b.one.v1", "k1", "t1", "event"),
        ("a.two.v1", "k3", "t2", "event"),
    ] {
        scene
            .execute(&format!(
                "select oncebox.enqueue('{event_type}', '{{}}', key => '{key}', tenant => '{tenant}', kind => '{kind}')"
            ))
            .await;
    }
    scene
        .execute("update oncebox.event set time = '2026-01-01T00:00:00Z'::timestamptz + seq * interval '1 h'")
        .await;
    let ids = scene.texts("select id::text from oncebox.event order by seq").await;
    let two_ids = format!("{},{}", ids[0], ids[3]);
    for (arguments, expected) in [
        (vec![], vec![1, 2, 3, 5]),
        (vec!["--type", "a.two.*"], vec![2, 3, 5]),
        (vec!["--type", "a.one.v1", "--type", "b.*"], vec![1]),
        (vec!["--key", "k1"], vec![1, 3]),
        (vec!["--key", "k1", "--key", "k3", "--tenant", "t2"], vec![3, 5]),
        (vec!["--kind", "command"], vec![2]),
        (vec!["--event-id", two_ids.as_str()], vec![1]),
        (vec!["--from", "2026-01-01T02:00:00Z"], vec![2, 3, 5]),
        (vec!["--to", "2026-01-01T02:00:00Z"], vec![1]),
        (
            vec!["--from", "2026-01-01T03:00:00+01:00", "--to", "2026-01-01T05:00:00Z"],
            vec![2, 3],
        ),
        (vec!["--from-seq", "2", "--to-seq", "3"], vec![2, 3]),
        (vec!["--key", "nobody"], vec![]),
    ] {
        let dry = replay.replay(&file, &arguments).arg("--dry-run").json().await.unwrap();
        assert_eq!(dry["events"], json!(expected.len()), "{arguments:?}: {dry}");
        assert_eq!(
            dry["first_seq"].as_i64(),
            expected.first().copied(),
            "{arguments:?}: {dry}"
        );
        assert_eq!(
            dry["last_seq"].as_i64(),
            expected.last().copied(),
            "{arguments:?}: {dry}"
        );
        let before = replay.taken_ids().len();
        replay.replayed(&file, &arguments).await;
        let taken: HashSet<String> = replay.taken_ids().split_off(before).into_iter().collect();
        let wanted: HashSet<String> = expected
            .iter()
            .map(|seq| ids[usize::try_from(seq - 1).unwrap()].clone())
            .collect();
        assert_eq!(taken, wanted, "{arguments:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_by_a_dry_run_or_without_a_yes() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    scene.database.enqueue_many(None, 3).await.unwrap();
    let dry = replay.replay(&file, &["--dry-run"]).json().await.unwrap();
    assert_eq!(
        dry["types"],
        json!([{ "type": "test.happened.v1", "events": 3, "bytes": 6 }])
    );
    assert_eq!((&dry["dry_run"], &dry["published"]), (&json!(true), &json!(0)));
    assert!(dry["first_time"].is_string() && dry["last_time"].is_string(), "{dry}");
    let text = replay.replay(&file, &["--dry-run"]).done().await.unwrap();
    for word in ["test.happened.v1", "3 events", "positions 1 to 3", "nothing was sent"] {
        assert!(text.contains(word), "nothing about {word}:\n{text}");
    }
    assert_says(&replay.replay(&file, &[]).run().await.unwrap(), 2, &["--yes"]);
    let unknown = replay.command(&file, &["replay", "--sink", "none", "--yes"]);
    assert_says(&unknown.run().await.unwrap(), 2, &["there are: all"]);
    assert_eq!(replay.proxy.sends().len(), 0);
    assert_eq!(queue.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn a_replay_keeps_the_order_of_a_key_whatever_fails() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    for _ in 0..8 {
        for key in ["a", "b", "c"] {
            scene.database.enqueue(Some(key)).await.unwrap();
        }
    }
    let third = |entry: &system_tests::Entry| entry.key.as_deref() == Some("a") && entry.sequence == Some(3);
    replay
        .proxy
        .inject(3, Fault::fail(third), move |request| request.entries.iter().any(third));
    replay
        .proxy
        .inject(2, Fault::Status(500), |request| request.has_key("b"));
    replay.proxy.inject(2, Fault::LoseReply, |request| request.has_key("c"));
    let report = replay.replayed(&file, &[]).await;
    assert_eq!((&report["published"], &report["refused"]), (&json!(24), &json!(0)));
    assert!(report["not_accepted"].as_i64().unwrap() >= 5, "{report}");
    for key in ["a", "b", "c"] {
        let mut first = replay.sequences(key);
        let mut seen = HashSet::new();
        first.retain(|sequence| seen.insert(*sequence));
        assert_eq!(first, [1, 2, 3, 4, 5, 6, 7, 8], "{key}");
    }
    assert_eq!(replay.proxy.overlapping_groups(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_event_is_told_and_holds_back_its_key_and_no_other() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.database.enqueue_many(Some("b"), 2).await.unwrap();
    scene
        .execute("select oncebox.enqueue('test.happened.v1', '{}') from generate_series(1, 2000)")
        .await;
    // One follower waits behind the refused event, the other is read when that is long over.
    scene.database.enqueue(Some("a")).await.unwrap();
    scene
        .execute("update oncebox.event set type = 'Not A Type' where seq = 2")
        .await;
    replay.proxy.inject(usize::MAX, Fault::Swallow, |request| {
        request.operation == "SendMessageBatch"
    });
    let arguments = ["replay", "--sink", SINK, "--rate", "2000/s", "--yes", "--json"];
    let printed = replay.command(&file, &arguments).run().await.unwrap();
    assert_says(&printed, 1, &["1 events were refused", "2 behind them held back"]);
    let report: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(
        (&report["published"], &report["refused"], &report["held_back"]),
        (&json!(2003), &json!(1), &json!(2)),
        "{report}"
    );
    assert_eq!(
        (&report["refusals"][0]["seq"], &report["refusals"][0]["code"]),
        (&json!(2), &json!("InvalidRow")),
        "{report}"
    );
    assert_eq!((replay.sequences("a"), replay.sequences("b")), (vec![1], vec![1, 2]));
    assert_eq!(
        scene.number("select count(*) from oncebox.parked").await,
        0,
        "nothing is parked"
    );
}

#[tokio::test]
async fn a_replay_that_is_interrupted_drains_and_goes_on_where_it_says() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    let ids = scene.database.enqueue_many(Some("k"), 20).await.unwrap();
    let gate = replay.proxy.hold(1, Moment::BeforeReply, |request| {
        request.entries.iter().any(|entry| entry.sequence == Some(7))
    });
    let running = replay.replay(&file, &["--yes", "--json"]).start().unwrap();
    gate.reached(1).await.unwrap();
    running.interrupt().unwrap();
    // What comes after the event that is out is not sent; that one is waited for.
    gate.release();
    let printed = running.ended().await.unwrap();
    let report: Value = serde_json::from_str(&printed.stdout).unwrap();
    let next = report["resume_from_seq"].as_i64().unwrap();
    assert_says(&printed, 1, &[&format!("--from-seq {next} --to-seq 20"), "stopping"]);
    assert_eq!(report["published"].as_i64().unwrap(), next - 1, "{report}");
    let next = next.to_string();
    let report = replay.replayed(&file, &["--from-seq", &next, "--to-seq", "20"]).await;
    assert_eq!(report["resume_from_seq"], Value::Null);
    assert_eq!(replay.taken_ids(), ids, "each once, in order");
}

#[tokio::test]
async fn a_replay_is_of_what_was_committed_when_it_began() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    // Ten thousand events are on their way at most: what lies behind them is read later.
    scene
        .execute("select oncebox.enqueue('test.happened.v1', '{}') from generate_series(1, 12500)")
        .await;
    let mut open = scene.database.connect().await.unwrap();
    let mut open = open.begin().await.unwrap();
    let late = enqueue(&mut open, None).await.unwrap();
    let last = scene.database.enqueue_many(None, 3).await.unwrap();
    let gate = replay.proxy.hold(16, Moment::BeforeApplied, |request| {
        request.operation == "SendMessageBatch"
    });
    replay.proxy.inject(usize::MAX, Fault::Swallow, |request| {
        request.operation == "SendMessageBatch"
    });
    let running = replay.replay(&file, &["--yes", "--json"]).start().unwrap();
    gate.reached(16).await.unwrap();
    open.commit().await.unwrap();
    scene.database.enqueue_many(None, 5).await.unwrap();
    gate.release();
    let printed = running.ended().await.unwrap();
    let report: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(report["published"], json!(12_503), "{report}");
    let taken: HashSet<String> = replay.taken_ids().into_iter().collect();
    assert_eq!(taken.len(), 12_503, "each of them once");
    assert!(last.iter().all(|id| taken.contains(id)) && !taken.contains(&late));
}

#[tokio::test]
async fn a_long_log_passes_page_by_page_and_bounded_by_what_is_on_its_way() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    scene
        .execute(
            "select oncebox.enqueue('test.happened.v1', '{}', key => 'k' || n % 100) from generate_series(1, 15000) n",
        )
        .await;
    // The first key's first event is held: the others go on, as far as ten thousand events reach.
    let gate = replay.proxy.hold(1, Moment::BeforeApplied, |request| {
        request.entries.iter().any(|entry| entry.key.as_deref() == Some("k1"))
    });
    replay.proxy.inject(usize::MAX, Fault::Swallow, |request| {
        request.operation == "SendMessageBatch"
    });
    let running = replay.replay(&file, &["--yes", "--json"]).start().unwrap();
    gate.reached(1).await.unwrap();
    gate.release();
    let printed = running.ended().await.unwrap();
    let report: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(report["published"], json!(15_000), "{report}");
    assert!(
        printed.stderr.contains("published 15000"),
        "the last line of progress: {}",
        printed.stderr
    );
    let taken = replay.proxy.taken();
    assert_eq!(taken.len(), 15_000);
    for key in ["k0", "k1", "k57"] {
        assert_eq!(replay.sequences(key), (1..=150).collect::<Vec<i64>>(), "{key}");
    }
    assert_eq!(replay.proxy.overlapping_groups(), Vec::<String>::new());
}

#[tokio::test]
async fn a_log_of_another_cluster_is_not_replayed() {
    let replay = Configured::new().await;
    let scene = &replay.scene;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let file = replay.file(EVERYTHING, &to_queue(&queue));
    scene.cursors(SINK).await;
    scene.execute("update oncebox.cursor set system_id = 7").await;
    scene.database.enqueue(None).await.unwrap();
    let printed = replay.replay(&file, &["--yes"]).run().await.unwrap();
    assert_says(&printed, 1, &["cursor rebase"]);
    assert_eq!(replay.proxy.sends().len(), 0);
}
