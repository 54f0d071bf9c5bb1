//! The postgres mode: one effect per event, all or nothing.

mod gap_guard;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use oncebox_consumer::{Consumer, HandlerError, Invocation, Outcome, PgTransaction, PostgresHandler, Reason, postgres};
use oncebox_envelope::{Envelope, Event};
use serde_json::json;
use sqlx::{
    Connection as _,
    postgres::{PgPoolOptions, PgSslMode},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use uuid::Uuid;

use crate::{
    delivery::{Message, batch, deliver, deliver_one, outcomes, returned},
    ping::{Act, Ping, insert},
    stack::Database,
};

#[tokio::test]
async fn a_message_delivered_three_times_has_one_effect() {
    let database = Database::new().await;
    let message = Message::new(Act::Succeed);
    let consumer = database.consumer();
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Duplicate]);
    let again = deliver(&database.consumer(), &[message.redelivered()]).await;
    assert_eq!((outcomes(&again), returned(&again)), (vec![Outcome::Duplicate], vec![]));
    assert_eq!(database.times(message.id).await, 1);
}

#[tokio::test]
async fn copies_in_one_batch_have_one_effect_and_count_as_duplicates() {
    let database = Database::new().await;
    let message = Message::new(Act::Succeed);
    let settled = deliver(&database.consumer(), &[message.clone(), message.redelivered()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Duplicate]);
    assert_eq!(database.times(message.id).await, 1);
}

/// Inserts, and tells that it is at work; goes on when it is told to.
struct InsertWhenTold {
    at_work: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
}

impl<'a> PostgresHandler<'a, Ping> for InsertWhenTold {
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Ping>, tx: &'a mut PgTransaction<'static>) -> Self::Future {
        let (at_work, go_on) = (Arc::clone(&self.at_work), Arc::clone(&self.go_on));
        Box::pin(async move {
            at_work.add_permits(1);
            go_on.acquire().await.unwrap().forget();
            insert(event, tx).await
        })
    }
}

#[tokio::test]
async fn two_functions_with_the_same_message_at_the_same_moment_have_one_effect() {
    let database = Database::new().await;
    let message = Message::new(Act::Succeed);
    let (at_work, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let consumer = || {
        let handler = InsertWhenTold {
            at_work: Arc::clone(&at_work),
            go_on: Arc::clone(&go_on),
        };
        database
            .empty_builder()
            .on::<Ping, _>(postgres(handler))
            .build()
            .unwrap()
    };
    let (a, b) = (consumer(), consumer());
    // The second one waits in Postgres for the first one's row; only then the first goes on.
    let when_one_waits = async {
        at_work.acquire().await.unwrap().forget();
        wait_for_lock(&database).await;
        go_on.add_permits(2);
    };
    let (a, b, ()) = tokio::join!(deliver_one(&a, &message), deliver_one(&b, &message), when_one_waits);
    let mut both = [outcomes(&a), outcomes(&b)].concat();
    both.sort();
    assert_eq!(both, [Outcome::Done, Outcome::Duplicate]);
    assert_eq!(
        at_work.available_permits(),
        0,
        "the duplicate never came to its handler"
    );
    assert_eq!(database.times(message.id).await, 1);
}

async fn wait_for_lock(database: &Database) {
    let waiting = "select exists (select from pg_locks l join pg_database d on d.oid = l.database or l.database is null \
                   where not l.granted and l.pid in (select pid from pg_stat_activity where datname = current_database()))";
    let poll = async {
        while !sqlx::query_scalar::<_, bool>(waiting)
            .fetch_one(&database.pool)
            .await
            .unwrap()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), poll).await.unwrap();
}

#[tokio::test]
async fn a_handler_that_fails_leaves_no_row_at_all() {
    let database = Database::new().await;
    for act in [Act::Retry, Act::Reject, Act::Panic] {
        let message = Message::new(act);
        deliver_one(&database.consumer(), &message).await;
        assert!(!database.is_recorded(message.id).await, "{act:?}");
        assert_eq!(database.times(message.id).await, 0, "{act:?}");
    }
}

#[tokio::test]
async fn the_same_id_with_another_payload_is_no_duplicate() {
    let database = Database::new().await;
    let id = Uuid::now_v7();
    let message = |note| Message::with(id, Ping::TYPE, &json!({ "act": "succeed", "note": note }), &json!({}));
    let settled = deliver(&database.consumer(), &[message(1), message(2)]).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Permanent]);
    assert_eq!(settled.events[1].reason, Some(Reason::PayloadMismatch));
    assert_eq!(database.times(id).await, 1);
}

async fn swallow_an_error(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    insert(event, tx).await?;
    let _ = sqlx::query("select 1 / 0").execute(&mut **tx).await;
    Ok(())
}

#[tokio::test]
async fn an_error_that_the_handler_swallows_is_not_taken_for_a_commit() {
    let database = Database::new().await;
    let consumer = database
        .empty_builder()
        .on::<Ping, _>(postgres(swallow_an_error))
        .build()
        .unwrap();
    let message = Message::new(Act::Succeed);
    let settled = deliver_one(&consumer, &message).await;
    assert_eq!(outcomes(&settled), [Outcome::Retryable]);
    assert_eq!(returned(&settled), [message.message_id]);
}

async fn roll_back(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    insert(event, tx).await?;
    sqlx::raw_sql("rollback").execute(&mut **tx).await?;
    Ok(())
}

async fn begin_after_an_error(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    insert(event, tx).await?;
    let _ = sqlx::query("select 1 / 0").execute(&mut **tx).await;
    // Fails, and sqlx rolls back more than the savepoint.
    let _ = tx.begin().await;
    Ok(())
}

async fn begin_again_after_an_error(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    begin_after_an_error(event.clone(), tx).await?;
    insert(event, tx).await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_ends_the_transaction_is_not_taken_for_a_commit() {
    let database = Database::new().await;
    let consumers = [
        database.empty_builder().on::<Ping, _>(postgres(roll_back)),
        database.empty_builder().on::<Ping, _>(postgres(begin_after_an_error)),
        database
            .empty_builder()
            .on::<Ping, _>(postgres(begin_again_after_an_error)),
    ];
    for consumer in consumers {
        let consumer = consumer.build().unwrap();
        let message = Message::new(Act::Succeed);
        let settled = deliver_one(&consumer, &message).await;
        // Without a dead-letter queue, a permanent failure goes back to the queue too.
        assert_eq!(returned(&settled), std::slice::from_ref(&message.message_id));
        assert_ne!(outcomes(&settled), [Outcome::Done]);
        // The pool's connections are sound: the next consumer has its effect.
        assert_eq!(
            outcomes(&deliver_one(&database.consumer(), &message).await),
            [Outcome::Done]
        );
    }
}

#[tokio::test]
async fn a_commit_is_durable_whatever_the_database_is_set_to() {
    async fn remember(_: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
        let set: String = sqlx::query_scalar("show synchronous_commit")
            .fetch_one(&mut **tx)
            .await?;
        if set == "on" {
            Ok(())
        } else {
            Err(HandlerError::permanent(set))
        }
    }
    let database = Database::new().await;
    let name: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let alter = format!("alter database {name} set synchronous_commit = off");
    sqlx::query(sqlx::AssertSqlSafe(alter))
        .execute(&database.pool)
        .await
        .unwrap();
    // New connections have the setting.
    let pool = sqlx::PgPool::connect_with((*database.pool.connect_options()).clone())
        .await
        .unwrap();
    let consumer = Consumer::builder("durable")
        .on::<Ping, _>(postgres(remember))
        .postgres(pool)
        .build()
        .unwrap();
    assert_eq!(
        outcomes(&deliver_one(&consumer, &Message::new(Act::Succeed)).await),
        [Outcome::Done]
    );
}

async fn lose_the_connection(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    insert(event, tx).await?;
    sqlx::query("select pg_terminate_backend(pg_backend_pid())")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_connection_that_breaks_is_retryable_and_the_next_delivery_succeeds() {
    let database = Database::new().await;
    let consumer = database
        .empty_builder()
        .on::<Ping, _>(postgres(lose_the_connection))
        .build()
        .unwrap();
    let message = Message::new(Act::Succeed);
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Retryable]);
    assert_eq!(
        outcomes(&deliver_one(&database.consumer(), &message).await),
        [Outcome::Done]
    );
    assert_eq!(database.times(message.id).await, 1);
}

/// Forwards until the client says COMMIT; lets the server do it, and cuts before the reply.
async fn cut_after_commit(listener: TcpListener, server: (String, u16)) {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut said, mut replied) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            _ = client.read_buf(&mut said) => {
                server.write_all(&said).await.unwrap();
                if said.windows(6).any(|word| word == b"COMMIT") {
                    server.read_buf(&mut replied).await.unwrap();
                    return;
                }
                said.clear();
            }
            _ = server.read_buf(&mut replied) => {
                client.write_all(&replied).await.unwrap();
                replied.clear();
            }
        }
    }
}

#[tokio::test]
async fn a_reply_lost_after_the_commit_is_one_effect() {
    let database = Database::new().await;
    let direct = database.pool.connect_options();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = cut_after_commit(listener, (direct.get_host().to_owned(), direct.get_port()));
    let through = direct
        .as_ref()
        .clone()
        .host("127.0.0.1")
        .port(port)
        .ssl_mode(PgSslMode::Disable);
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(through);
    let consumer = Consumer::builder("test")
        .on::<Ping, _>(postgres(insert))
        .postgres(pool)
        .build()
        .unwrap();

    let message = Message::new(Act::Succeed);
    let (settled, ()) = tokio::join!(deliver_one(&consumer, &message), proxy);
    assert_eq!(outcomes(&settled), [Outcome::Retryable]);
    let error = settled.events[0].error.as_deref();
    assert_eq!(
        error,
        Some("the outcome of the commit is unknown: the connection to postgres broke")
    );
    assert_eq!(
        outcomes(&deliver_one(&database.consumer(), &message).await),
        [Outcome::Duplicate]
    );
    assert_eq!(database.times(message.id).await, 1);
}

async fn sleep_in_postgres(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    insert(event, tx).await?;
    sqlx::query("select pg_sleep(60)").execute(&mut **tx).await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_is_stuck_ends_within_the_invocation_and_lets_go_of_its_locks() {
    let database = Database::new().await;
    let stuck = database
        .empty_builder()
        .on::<Ping, _>(postgres(sleep_in_postgres))
        .build()
        .unwrap();
    let message = Message::new(Act::Succeed);
    let started = std::time::Instant::now();
    let short = Invocation::new("request", Duration::from_secs(1));
    let settled = stuck
        .settle_batch(batch(std::slice::from_ref(&message)), &short)
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(outcomes(&settled), [Outcome::Retryable]);
    let settled = deliver_one(&database.consumer(), &message).await;
    assert_eq!(outcomes(&settled), [Outcome::Done]);
    assert_eq!(database.times(message.id).await, 1);
}

async fn violate(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    sqlx::query("create unique index one on effect (event_id)")
        .execute(&mut **tx)
        .await?;
    insert(event.clone(), tx).await?;
    insert(event, tx).await
}

#[tokio::test]
async fn a_sql_error_names_the_constraint_and_not_the_value() {
    let database = Database::new().await;
    let consumer = database
        .empty_builder()
        .on::<Ping, _>(postgres(violate))
        .build()
        .unwrap();
    let settled = deliver(&consumer, &[Message::new(Act::Succeed)]).await;
    let error = settled.events[0].error.as_deref();
    assert_eq!(
        error,
        Some("postgres error 23505 (unique violation) on constraint `one`")
    );
}
