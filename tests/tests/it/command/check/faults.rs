//! What a hostile world has in store: rights, roles, clocks and targets that are not there.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use system_tests::{EVERYTHING, Queue, unique};

use super::{Configured, DATABASE, TARGET, assert_said, checked, said, with_dead_letters};

#[tokio::test]
async fn each_right_is_missed_by_itself_and_the_fix_gives_it_back() {
    let scene = Configured::new().await;
    let queue = Queue::standard(&scene.scene.stack).await.unwrap();
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.name));
    let role = unique("r").replace('-', "_");
    let pool = &scene.scene.database.pool;
    let run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    run(format!(
        "create role {role} login; {}",
        oncebox_outbox::relay_grants(&role)
    ))
    .await;
    let mut url = scene.scene.database.url.clone();
    url.set_username(&role).unwrap();
    let checked = async || {
        let command = scene.command(&file, &["check", "--json"]);
        let printed = command.env("DATABASE_URL", url.as_str()).run().await.unwrap();
        let report: Value = serde_json::from_str(&printed.stdout).unwrap();
        (printed.code, report)
    };
    let (code, report) = checked().await;
    assert_eq!((code, &report["faults"]), (Some(0), &json!(0)), "{report:#}");
    for right in [
        "usage on schema oncebox",
        "select on oncebox.event",
        "select on oncebox.event_seq",
        "select on oncebox.cursor",
        "insert on oncebox.cursor",
        "update on oncebox.cursor",
        "select on oncebox.relay",
        "insert on oncebox.relay",
        "update on oncebox.relay",
        "delete on oncebox.relay",
        "select on oncebox.parked",
        "insert on oncebox.parked",
        "update on oncebox.parked",
        "delete on oncebox.parked",
        "execute on function oncebox.ensure_partitions",
        "execute on function oncebox.partition_status",
        "execute on function oncebox.drop_partitions",
    ] {
        run(format!("revoke {right} from {role}")).await;
        let (code, report) = checked().await;
        assert_eq!((code, &report["faults"]), (Some(3), &json!(1)), "{right}: {report:#}");
        let fix = format!("grant {right} to {role};");
        assert_said(&report, "fault", DATABASE, &[&fix]);
        let said = said(&report, "fault", DATABASE);
        assert_eq!(
            said[0].matches("grant ").count(),
            1,
            "{right} and nothing else: {said:?}"
        );
        run(fix).await;
    }
    assert_eq!(checked().await.0, Some(0));
    run(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_wrong_role_or_name_of_the_database_and_clocks_that_differ_are_told_with_the_fix() {
    let scene = Configured::new().await;
    let queue = Queue::standard(&scene.scene.stack).await.unwrap();
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.name));
    let url = &scene.scene.database.url;
    let at = async |url: &str| {
        let command = scene.command(&file, &["check", "--json"]).env("DATABASE_URL", url);
        let printed = command.run().await.unwrap();
        assert!(!printed.stdout.contains("canary"), "a password: {printed:?}");
        let report: Value = serde_json::from_str(&printed.stdout).unwrap();
        (printed.code, report)
    };
    let mut nobody = url.clone();
    nobody.set_username("nobody-of-that-name").unwrap();
    nobody.set_password(Some("canary")).unwrap();
    let (code, report) = at(nobody.as_str()).await;
    assert_eq!(code, Some(3));
    assert_said(
        &report,
        "fault",
        DATABASE,
        &["refuses the role or its password", "pg_hba.conf"],
    );
    let mut nowhere = url.clone();
    nowhere.set_path("/no_such_database");
    let (code, report) = at(nowhere.as_str()).await;
    assert_eq!(code, Some(3));
    assert_said(
        &report,
        "fault",
        DATABASE,
        &["no database of this name", "database.url"],
    );
    let (code, report) = at("postgres://canary@no-such-host.invalid/d?sslmode=disable").await;
    assert!(code.is_some_and(|code| code != 0), "{report:#}");

    let (_, report) = at(url.as_str()).await;
    assert_said(&report, "ok", DATABASE, &["clock", "agree"]);
    // A clock that is an hour ahead, for whoever does not say which one is meant.
    let database = url.path().trim_start_matches('/');
    for sql in [
        "create schema skewed".to_owned(),
        "create function skewed.clock_timestamp() returns timestamptz language sql as \
         $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$"
            .to_owned(),
        format!("alter database \"{database}\" set search_path = skewed, pg_catalog"),
    ] {
        scene.scene.execute(&sql).await;
    }
    let (code, report) = at(url.as_str()).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "warning", DATABASE, &["behind the database's", "NTP"]);
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_gone_and_a_bus_that_never_was_are_named() {
    let scene = Configured::new().await;
    let stack = &scene.scene.stack;
    let (queue, dead) = (
        Queue::standard(stack).await.unwrap(),
        Queue::standard(stack).await.unwrap(),
    );
    with_dead_letters(&scene, &queue, &dead, 1_209_600).await;
    stack.sqs().delete_queue().queue_url(&dead.url).send().await.unwrap();
    let file = scene.file(EVERYTHING, &format!("sqs = {{ queue = \"{}\" }}", queue.name));
    let (code, report) = checked(&scene, &file).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_said(&report, "warning", TARGET, &[&dead.arn, "does not exist; create it"]);
    for (lines, words) in [
        (
            "eventbridge = { bus = \"no-such-bus\" }",
            ["eventbridge.bus", "no-such-bus"],
        ),
        ("sns = { topic = \"no-such-topic\" }", ["sns.topic", "no-such-topic"]),
        ("sqs = { queue = \"no-such.fifo\" }", ["sqs.queue", "no-such.fifo"]),
        ("sqs = { queue = \"a queue\" }", ["sqs.queue", "1 to 80 letters"]),
    ] {
        let (code, report) = checked(&scene, &scene.file(EVERYTHING, lines)).await;
        assert_eq!(code, Some(2), "{report:#}");
        assert_said(&report, "fault", TARGET, &words);
    }
}
