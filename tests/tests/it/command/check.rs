//! `outbox-relay check`.

mod faults;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use system_tests::{Bucket, Bus, Database, EVERYTHING, Fault, Queue, RelayCommand, RelayConfig, Topic, unique};
use tempfile::NamedTempFile;

use super::{
    configured::{Configured, SINK, written},
    scene::assert_says,
};

/// What a check of this configuration printed.
pub(super) async fn checked(scene: &Configured, file: &NamedTempFile) -> (Option<i32>, Value) {
    let printed = scene.command(file, &["check", "--json"]).run().await.unwrap();
    let report = serde_json::from_str(&printed.stdout).unwrap_or_else(|_| panic!("no JSON: {printed:?}"));
    (printed.code, report)
}

/// The lines of this level about this.
fn said<'a>(report: &'a Value, level: &str, about: &str) -> Vec<&'a str> {
    let checks = report["checks"].as_array().unwrap();
    let of_level = checks
        .iter()
        .filter(|check| check["level"] == level && check["about"] == about);
    of_level.filter_map(|check| check["text"].as_str()).collect()
}

pub(super) fn assert_said(report: &Value, level: &str, about: &str, words: &[&str]) {
    let lines = said(report, level, about);
    let is_there = lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(is_there, "no {level} about {about} with {words:?}: {report:#}");
}

const DATABASE: &str = "database";
pub(super) const TARGET: &str = "target of all";
const CURSORS: &str = "cursors of all";

/// A queue with a dead-letter queue that keeps messages for so long.
async fn with_dead_letters(scene: &Configured, queue: &Queue, dead: &Queue, dead_retention_secs: u32) {
    let sqs = scene.scene.stack.sqs();
    let policy = json!({ "deadLetterTargetArn": dead.arn, "maxReceiveCount": 5 }).to_string();
    let set = sqs.set_queue_attributes().queue_url(&queue.url);
    set.attributes(QueueAttributeName::RedrivePolicy, policy)
        .send()
        .await
        .unwrap();
    let set = sqs.set_queue_attributes().queue_url(&dead.url);
    let set = set.attributes(
        QueueAttributeName::MessageRetentionPeriod,
        dead_retention_secs.to_string(),
    );
    set.send().await.unwrap();
}

#[tokio::test]
async fn a_check_finds_nothing_wrong_where_nothing_is_and_changes_nothing() {
    let scene = Configured::new().await;
    let (queue, dead) = (
        Queue::fifo(&scene.scene.stack).await.unwrap(),
        Queue::fifo(&scene.scene.stack).await.unwrap(),
    );
    with_dead_letters(&scene, &queue, &dead, 1_209_600).await;
    let bucket = Bucket::create(&scene.scene.stack).await.unwrap();
    let lines = format!(
        "sqs = {{ queue = \"{}\" }}\nclaim_check = {{ bucket = \"{}\" }}",
        queue.name, bucket.name
    );
    let file = scene.file(EVERYTHING, &lines);
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(
        (code, &report["faults"], &report["warnings"]),
        (Some(0), &json!(0), &json!(0)),
        "{report:#}"
    );
    assert_said(&report, "ok", DATABASE, &["Postgres"]);
    assert_said(&report, "ok", DATABASE, &["all rights"]);
    assert_said(&report, "ok", CURSORS, &["none yet", "beginning"]);
    assert_said(&report, "ok", TARGET, &["dead-letter queue", &dead.arn]);
    assert_said(&report, "ok", TARGET, &[&bucket.name, "is there"]);
    assert_said(&report, "ok", "log", &["no relay is running"]);
    let text = scene.command(&file, &["check"]).done().await.unwrap();
    assert!(
        text.lines().count() > 10 && text.lines().all(|line| line.starts_with("ok ")),
        "{text}"
    );
    assert_eq!(scene.scene.number("select count(*) from oncebox.cursor").await, 0);
    assert_eq!((queue.depth().await.unwrap(), scene.proxy.sends().len()), (0, 0));
    assert_eq!(bucket.keys().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_configuration_is_one_fault_and_exit_code_2() {
    let scene = Configured::new().await;
    let file = scene.file(EVERYTHING, "sqs = { queue = \"q\" }\nmax_in_flight = 0");
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(2));
    assert_said(&report, "fault", "configuration", &["max_in_flight"]);
    let printed = RelayCommand::new(&["check", "--config", "no-such.toml"])
        .run()
        .await
        .unwrap();
    assert_says(&printed, 2, &["faults: 1"]);
    assert!(printed.stdout.starts_with("fault"), "{printed:?}");
}

#[tokio::test]
async fn a_database_that_is_not_there_or_not_ready_is_exit_code_3() {
    let scene = Configured::new().await;
    let queue = Queue::standard(&scene.scene.stack).await.unwrap();
    let lines = format!("sqs = {{ queue = \"{}\" }}", queue.name);
    let file = scene.file(EVERYTHING, &lines);
    let away = scene.command(&file, &["check", "--json"]);
    let away = away
        .env("DATABASE_URL", "postgres://me@127.0.0.1:1/none")
        .run()
        .await
        .unwrap();
    assert_eq!(away.code, Some(3));
    let report: Value = serde_json::from_str(&away.stdout).unwrap();
    assert_said(&report, "fault", DATABASE, &["cannot be reached"]);
    assert_said(&report, "ok", TARGET, &["exists"]);

    let empty = Database::create_empty(&scene.scene.stack).await.unwrap();
    let bare = scene
        .command(&file, &["check", "--json"])
        .on(&empty)
        .run()
        .await
        .unwrap();
    assert_eq!(bare.code, Some(3));
    let report: Value = serde_json::from_str(&bare.stdout).unwrap();
    assert_said(&report, "fault", DATABASE, &["schema", "migrate"]);

    scene
        .scene
        .execute("delete from oncebox.migration where version > 2")
        .await;
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(3));
    assert_said(&report, "fault", DATABASE, &["migration 2", "migrate"]);
    scene.scene.execute("drop table oncebox.migration").await;
    scene.scene.execute("drop function oncebox.drop_partitions").await;
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(3));
    assert_said(&report, "fault", DATABASE, &["no oncebox.drop_partitions", "migrate"]);
}

#[tokio::test]
async fn a_missing_right_is_named_as_the_grant_that_gives_it() {
    let scene = Configured::new().await;
    let queue = Queue::standard(&scene.scene.stack).await.unwrap();
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.name));
    let role = unique("r").replace('-', "_");
    let pool = &scene.scene.database.pool;
    let run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    run(format!("create role {role} login")).await;
    let mut url = scene.scene.database.url.clone();
    url.set_username(&role).unwrap();
    let checked = async || {
        let command = scene
            .command(&file, &["check", "--json"])
            .env("DATABASE_URL", url.as_str());
        let printed = command.run().await.unwrap();
        let report: Value = serde_json::from_str(&printed.stdout).unwrap();
        (printed.code, report)
    };
    let (code, report) = checked().await;
    assert_eq!(code, Some(3));
    let faults = said(&report, "fault", DATABASE);
    let (_, grants) = faults[0].split_once(": ").unwrap();
    for grant in [
        format!("grant usage on schema oncebox to {role};"),
        format!("grant select, insert, update on oncebox.cursor to {role};"),
        format!("grant execute on function oncebox.ensure_partitions to {role};"),
    ] {
        assert!(grants.contains(&grant), "no {grant}: {grants}");
    }
    // They are what it says they are: with them nothing is missing.
    run(grants.to_owned()).await;
    let (code, report) = checked().await;
    assert_eq!((code, &report["faults"]), (Some(0), &json!(0)), "{report:#}");
    run(format!("revoke update on oncebox.cursor from {role}")).await;
    let (code, report) = checked().await;
    assert_eq!(code, Some(3));
    assert_said(
        &report,
        "fault",
        DATABASE,
        &[&format!("grant update on oncebox.cursor to {role};")],
    );
    assert_said(&report, "ok", CURSORS, &["none yet"]);
    run(format!("alter role {role} set default_transaction_read_only = on")).await;
    assert_said(
        &checked().await.1,
        "fault",
        DATABASE,
        &["read-only", "default_transaction_read_only"],
    );
    run(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn cursors_parked_events_relays_and_partitions_are_looked_at() {
    let scene = Configured::new().await;
    let queue = Queue::standard(&scene.scene.stack).await.unwrap();
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.name));
    let database = &scene.scene;
    database.cursors(SINK).await;
    database.cursors("renamed").await;
    database.park(SINK, Some("k"), "permanent", "Code").await;
    database
        .execute("insert into oncebox.relay (id, sinks, term_ms, beat_at) values ('old', '{all}', 1000, now() - interval '1 h'), ('new', '{all}', 600000, now())")
        .await;
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "warnings are no faults: {report:#}");
    assert_said(&report, "ok", CURSORS, &["at most 1 events behind"]);
    assert_said(&report, "warning", CURSORS, &["1 events are parked", "parked list"]);
    assert_said(
        &report,
        "warning",
        "cursors of renamed",
        &["cursor delete --sink renamed"],
    );
    assert_said(&report, "ok", "log", &["1 relay is running"]);
    assert_said(&report, "warning", "log", &["relay old", "not been heard of"]);

    database
        .execute("update oncebox.cursor set system_id = 7 where sink = 'all'")
        .await;
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(3));
    assert_said(&report, "fault", CURSORS, &["cursor rebase"]);
    database.execute("update oncebox.cursor set system_id = null").await;
    database.execute("select setval('oncebox.event_seq', 14000000)").await;
    let (_, report) = checked(&scene, &file).await;
    assert_said(&report, "warning", "log", &["2 partitions", "ensure_partitions"]);
    database.execute("select setval('oncebox.event_seq', 16500000)").await;
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(3));
    assert_said(&report, "fault", "log", &["no partition", "ensure_partitions"]);
}

#[tokio::test]
async fn a_queue_is_asked_for_its_dead_letters() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let (queue, dead) = (
        Queue::standard(stack).await.unwrap(),
        Queue::standard(stack).await.unwrap(),
    );
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.url));
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "warning", TARGET, &["no dead-letter queue", "RedrivePolicy"]);
    with_dead_letters(&scene, &queue, &dead, 60).await;
    let (_, report) = checked(&scene, &file).await;
    assert_said(
        &report,
        "warning",
        TARGET,
        &["keeps messages 60 s", "MessageRetentionPeriod"],
    );
    // By URL the queue itself is not looked up, so that this is the one about its dead-letter queue.
    scene
        .proxy
        .inject(1, Fault::AccessDenied, |request| request.operation == "GetQueueUrl");
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "warning", TARGET, &["allow sqs:GetQueueUrl on it"]);
    let missing = scene.file(EVERYTHING, "sqs = { queue = \"no-such-queue\" }");
    let (code, report) = checked(&scene, &missing).await;
    assert_eq!(code, Some(2));
    assert_said(&report, "fault", TARGET, &["no-such-queue", "does not exist"]);
    let set = stack.sqs().set_queue_attributes().queue_url(&queue.url);
    set.attributes(QueueAttributeName::MaximumMessageSize, "65536")
        .send()
        .await
        .unwrap();
    let (_, report) = checked(&scene, &file).await;
    assert_said(&report, "warning", TARGET, &["65536 bytes", "claim_check"]);
}

#[tokio::test]
async fn a_topic_is_asked_for_its_subscriptions_and_a_bus_for_its_rules() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let (queue, other) = (
        Queue::standard(stack).await.unwrap(),
        Queue::standard(stack).await.unwrap(),
    );
    let topic = Topic::standard(stack).await.unwrap();
    let bundled = format!("sns = {{ topic = \"{}\" }}\nbundle = {{ max_events = 10 }}", topic.name);
    let file = scene.file(EVERYTHING, &bundled);
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "warning", TARGET, &["no confirmed subscription"]);
    topic.subscribe(&queue).await.unwrap();
    let subscribe = stack
        .sns()
        .subscribe()
        .topic_arn(&topic.arn)
        .protocol("sqs")
        .endpoint(&other.arn);
    let subscribe = subscribe.attributes("FilterPolicy", "{\"ce-type\": [\"a.v1\"]}");
    subscribe.send().await.unwrap();
    let (_, report) = checked(&scene, &file).await;
    assert_said(&report, "ok", TARGET, &["2 subscriptions"]);
    assert_said(
        &report,
        "ok",
        TARGET,
        &["1 of its queues", "without raw message delivery"],
    );
    assert_said(&report, "warning", TARGET, &["filter policy", "bundles"]);
    let is_list = |request: &system_tests::Request| request.operation == "ListSubscriptionsByTopic";
    scene.proxy.inject(1, Fault::AccessDenied, is_list);
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "warning", TARGET, &["allow sns:ListSubscriptionsByTopic"]);

    let bus = Bus::to_queue(stack, "{\"source\": [{\"prefix\": \"/\"}]}", &queue)
        .await
        .unwrap();
    let file = scene.file(EVERYTHING, &format!("eventbridge = {{ bus = \"{}\" }}", bus.name));
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "ok", TARGET, &["1 rules"]);
    let disable = stack.eventbridge().disable_rule().event_bus_name(&bus.name).name("all");
    disable.send().await.unwrap();
    let (_, report) = checked(&scene, &file).await;
    assert_said(&report, "warning", TARGET, &["no rule that is enabled"]);
}

#[tokio::test]
async fn two_sinks_of_one_target_bundles_on_a_bus_and_a_missing_bucket_are_faults() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let queue = Queue::standard(stack).await.unwrap();
    let config = RelayConfig::new(&scene.scene.database)
        .sink_to("by-name", EVERYTHING, &queue.name)
        .sink_to("by-arn", EVERYTHING, &queue.arn);
    let (code, report) = checked(&scene, &written(&config)).await;
    assert_eq!(code, Some(2));
    assert_said(&report, "fault", "target of by-arn", &["by-name", "its own target"]);

    let bus = Bus::to_queue(stack, "{\"source\": [{\"prefix\": \"/\"}]}", &queue)
        .await
        .unwrap();
    let lines = format!(
        "eventbridge = {{ bus = \"{}\" }}\nbundle = {{ max_events = 10 }}",
        bus.name
    );
    let (code, report) = checked(&scene, &scene.file(EVERYTHING, &lines)).await;
    assert_eq!(code, Some(2));
    assert_said(&report, "fault", TARGET, &["leave `bundle` out"]);

    let lines = format!(
        "sqs = {{ queue = \"{}\" }}\nclaim_check = {{ bucket = \"{}\" }}",
        queue.name,
        unique("bucket")
    );
    let (code, report) = checked(&scene, &scene.file(EVERYTHING, &lines)).await;
    assert_eq!(code, Some(2));
    assert_said(&report, "fault", TARGET, &["bucket", "does not exist"]);
}
