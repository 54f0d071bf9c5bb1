//! `oncebox-consumer gap --postgres`.

use std::time::Duration;

use oncebox_consumer::{
    Consumer, GapGuard, HandlerError, Outcome, PgTransaction, RetryDelay,
    operator::{OperatorError, PostgresOperator},
    postgres,
};
use oncebox_envelope::Envelope;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::commit_cutter::{CommitCutter, Later};
use crate::scene::{CONSUMER, Message, Ping, Printed, deliver, run_with, take_moved_at};

/// A database of a test's own, with schema `oncebox`.
struct Database {
    pool: PgPool,
    url: String,
    server: PgConnectOptions,
    name: String,
}

impl Drop for Database {
    /// Drops the database; connections that are left are cut. On a thread of its own, for a test may be in a runtime.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect_with(&server).await?;
                let statement = format!("drop database {name} with (force)");
                sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("database {} is left behind: {error}", self.name),
            Err(_) => eprintln!("database {} is left behind", self.name),
        }
    }
}

async fn note(_: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    sqlx::query("insert into effect values (1)").execute(&mut **tx).await?;
    Ok(())
}

impl Database {
    async fn new() -> Self {
        let admin = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run `make test`");
        let name = format!("cli_test_{}", Uuid::new_v4().simple());
        let options: PgConnectOptions = admin.parse().unwrap();
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let create = AssertSqlSafe(format!("create database {name} encoding 'UTF8' template template0"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        let (server, _) = admin.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}");
        let pool = PgPool::connect_with(options.clone().database(&name)).await.unwrap();
        oncebox_outbox::migrate(&mut pool.acquire().await.unwrap())
            .await
            .unwrap();
        sqlx::query("create table effect (n int)").execute(&pool).await.unwrap();
        Self {
            pool,
            url,
            server: options,
            name,
        }
    }

    fn consumer(&self) -> Consumer {
        let builder = Consumer::builder(CONSUMER)
            .on::<Ping, _>(postgres(note))
            .postgres(self.pool.clone());
        let builder = builder
            .retry_delay(RetryDelay::QueueDefault)
            .gap_guard(GapGuard::from_one());
        builder.build().unwrap()
    }

    async fn effects(&self) -> i64 {
        sqlx::query_scalar("select count(*) from effect")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> Printed {
        run_with(
            &[arguments, &["--postgres"]].concat(),
            &[("DATABASE_URL", self.url.as_str())],
        )
        .await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(printed.code, Some(0), "{arguments:?}: {printed:?}");
        serde_json::from_str(&printed.stdout).unwrap()
    }
}

#[tokio::test]
async fn in_postgres_a_lost_predecessor_is_skipped_by_a_person_and_its_successors_go_on() {
    let database = Database::new().await;
    let consumer = database.consumer();
    let [first, lost, third] = [1, 2, 3].map(|sequence| Message::numbered("order-7", sequence));
    assert_eq!(deliver(&consumer, &first).await, Outcome::Done);
    assert_eq!(deliver(&consumer, &third).await, Outcome::Held);
    let skip = ["gap", "skip", "--key", "order-7", "--sequence", "2"];
    let told = database.json(&[&skip[..], &["--dry-run"]].concat()).await;
    assert_eq!((&told["dry_run"], &told["last"]), (&json!(true), &json!(1)));
    assert_eq!(database.run(&skip).await.code, Some(2), "nobody to ask");
    assert_eq!(deliver(&consumer, &third).await, Outcome::Held);

    let mut skipped = database.json(&[&skip[..], &["--yes"]].concat()).await;
    take_moved_at(&mut skipped);
    let expected = json!({
        "action": "skip", "dry_run": false, "consumer": CONSUMER, "key": "order-7",
        "last": 2, "first": 1, "awaited": 3, "missed": [2], "skipped": 2,
    });
    assert_eq!(skipped, expected);
    assert_eq!(deliver(&consumer, &third).await, Outcome::Done);
    // It was not lost after all.
    assert_eq!(deliver(&consumer, &lost).await, Outcome::Done);
    assert_eq!(deliver(&consumer, &lost).await, Outcome::Duplicate);
    let standing = database.json(&["gap", "show", "--key", "order-7"]).await;
    assert_eq!((&standing["last"], &standing["missed"]), (&json!(3), &json!([])));
    assert_eq!(database.effects().await, 3);
}

#[tokio::test]
async fn in_postgres_of_a_key_that_nobody_has_seen_the_first_can_be_skipped_and_no_other() {
    let database = Database::new().await;
    let consumer = database.consumer();
    let second = Message::numbered("new", 2);
    assert_eq!(deliver(&consumer, &second).await, Outcome::Held);
    let skip = ["gap", "skip", "--key", "new", "--yes", "--sequence"];
    let refused = database.run(&[&skip[..], &["2"]].concat()).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("waits for sequence 1, not for 2"),
        "{refused:?}"
    );
    database.json(&[&skip[..], &["1"]].concat()).await;
    assert_eq!(deliver(&consumer, &second).await, Outcome::Done);
}

#[tokio::test]
async fn in_postgres_what_has_come_since_somebody_looked_is_not_skipped() {
    let database = Database::new().await;
    let consumer = database.consumer();
    let operator = PostgresOperator::new(database.pool.clone(), CONSUMER);
    let nothing = operator.key("k").await.unwrap();
    deliver(&consumer, &Message::numbered("k", 1)).await;
    let skipped = operator.skip("k", nothing.awaited, &nothing).await;
    assert!(matches!(skipped, Err(OperatorError::Moved)), "{skipped:?}");
    let seen = operator.key("k").await.unwrap();
    assert_eq!(deliver(&consumer, &Message::numbered("k", 2)).await, Outcome::Done);
    let skipped = operator.skip("k", seen.awaited, &seen).await;
    assert!(matches!(skipped, Err(OperatorError::Moved)), "{skipped:?}");
    assert!(operator.key("k").await.unwrap().missed.is_empty());
}

#[tokio::test]
async fn in_postgres_a_skip_whose_reply_is_lost_is_looked_up_and_told_as_done() {
    let database = Database::new().await;
    let consumer = database.consumer();
    let second = Message::numbered("k", 2);
    assert_eq!(deliver(&consumer, &second).await, Outcome::Held);
    let options = database.pool.connect_options();
    let proxy = CommitCutter::new(&options, Later::Work).await;
    let seen = PostgresOperator::new(database.pool.clone(), CONSUMER)
        .key("k")
        .await
        .unwrap();
    let operator = PostgresOperator::new(proxy.pool(&options), CONSUMER);
    let standing = operator.skip("k", 1, &seen).await.unwrap();
    assert_eq!((standing.last, standing.missed), (Some(1), vec![1]));
    assert_eq!(deliver(&consumer, &second).await, Outcome::Done);
}

#[tokio::test]
async fn in_postgres_a_skip_of_which_nobody_can_tell_whether_it_was_applied_says_so() {
    let database = Database::new().await;
    let options = database.pool.connect_options();
    let proxy = CommitCutter::new(&options, Later::Closed).await;
    let direct = PostgresOperator::new(database.pool.clone(), CONSUMER);
    let seen = direct.key("k").await.unwrap();
    let operator = PostgresOperator::new(proxy.pool(&options), CONSUMER);
    let skipped = operator.skip("k", 1, &seen).await;
    assert!(matches!(skipped, Err(OperatorError::Unknown { .. })), "{skipped:?}");
    assert_eq!(direct.key("k").await.unwrap().missed, [1], "it was applied");
}

#[tokio::test]
async fn a_database_that_lacks_the_table_or_is_not_named_is_told() {
    let database = Database::new().await;
    sqlx::query("drop table oncebox.watermark")
        .execute(&database.pool)
        .await
        .unwrap();
    let show = ["gap", "show", "--key", "k", "--postgres"];
    let shown = run_with(&show, &[("DATABASE_URL", database.url.as_str())]).await;
    assert_eq!(shown.code, Some(3), "{shown:?}");
    assert!(shown.stderr.contains("have the migrations run?"), "{shown:?}");
    for (url, words) in [
        ("", "`DATABASE_URL` is not set"),
        ("nonsense-secret", "`DATABASE_URL` is not a Postgres URL"),
    ] {
        let shown = tokio::time::timeout(Duration::from_secs(30), run_with(&show, &[("DATABASE_URL", url)])).await;
        let shown = shown.unwrap();
        assert_eq!(shown.code, Some(2), "{shown:?}");
        assert!(
            shown.stderr.contains(words) && !shown.stderr.contains("nonsense"),
            "{shown:?}"
        );
    }
}

#[tokio::test]
async fn in_postgres_what_was_passed_by_is_given_up_by_a_person_and_has_no_effect_any_more() {
    let database = Database::new().await;
    let consumer = database.consumer();
    assert_eq!(deliver(&consumer, &Message::numbered("k", 1)).await, Outcome::Done);
    for lost in ["2", "3"] {
        let skip = ["gap", "skip", "--key", "k", "--yes", "--sequence", lost];
        assert_eq!(database.run(&skip).await.code, Some(0));
    }
    let forget = ["gap", "forget", "--key", "k", "--yes", "--sequence"];
    let refused = database.run(&[&forget[..], &["4"]].concat()).await;
    assert!(
        refused.code == Some(1) && refused.stderr.contains("4 was not passed by"),
        "{refused:?}"
    );
    let done = database.json(&[&forget[..], &["2"]].concat()).await;
    assert_eq!(
        (&done["forgotten"], &done["missed"], &done["last"]),
        (&json!([2]), &json!([3]), &json!(3))
    );
    assert_eq!(deliver(&consumer, &Message::numbered("k", 2)).await, Outcome::Duplicate);
    assert_eq!(deliver(&consumer, &Message::numbered("k", 3)).await, Outcome::Done);
    assert_eq!(deliver(&consumer, &Message::numbered("k", 4)).await, Outcome::Done);
}
