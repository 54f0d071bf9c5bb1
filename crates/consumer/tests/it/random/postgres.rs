//! Mode postgres, over a real server: whatever dies, an event has one effect before it is acknowledged.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use oncebox_consumer::{
    Consumer, EventReport, HandlerError, Invocation, Outcome, PgTransaction, PostgresHandler, Reason, RetryDelay,
    Settlement, postgres,
};
use oncebox_envelope::Envelope;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use super::{
    cases::{Chance, run_real_cases},
    deed::{Deed, message_of},
};
use crate::{delivery::batch, stack::Database};

/// How a function dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    No,
    /// It is not polled any more from when on.
    Killed(Duration),
    /// The server ends its sessions.
    Cut(Duration),
}

#[derive(Debug)]
struct Delivery {
    after: Duration,
    /// Events and their payloads.
    deeds: Vec<(usize, usize)>,
    lasts: Duration,
    death: Death,
}

#[derive(Debug)]
struct Schedule {
    deliveries: Vec<Delivery>,
    /// One in so many attempts fails, one in so many takes its time in the server.
    failures: u32,
}

fn draw(chance: &mut Chance) -> Schedule {
    let events = chance.up_to(2);
    let others = usize::from(chance.one_in(4));
    let deliveries = 1 + chance.up_to(3);
    Schedule {
        deliveries: (0..deliveries)
            .map(|_| Delivery {
                after: chance.millis(15),
                deeds: (0..=chance.up_to(3))
                    .map(|_| (chance.up_to(events), chance.up_to(others)))
                    .collect(),
                lasts: Duration::from_millis(200) + chance.millis(1_000),
                death: match chance.up_to(3) {
                    0 | 1 => Death::Killed(chance.millis(25)),
                    2 => Death::Cut(chance.millis(25)),
                    _ => Death::No,
                },
            })
            .collect(),
        failures: chance.of(&[3, 10]),
    }
}

/// Writes a row for each effect.
#[derive(Clone)]
struct Insert(Arc<Mutex<Chance>>, u32);

impl<'a> PostgresHandler<'a, Deed> for Insert {
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Deed>, tx: &'a mut PgTransaction<'static>) -> Self::Future {
        let (takes, fails, way) = {
            let mut chance = self.0.lock().unwrap();
            (chance.millis(8), chance.one_in(self.1), chance.up_to(2))
        };
        Box::pin(async move {
            let insert = sqlx::query("insert into deed (event_id, payload) values ($1, $2)");
            let payload = i32::try_from(event.data.payload).unwrap();
            insert.bind(event.id.as_uuid()).bind(payload).execute(&mut **tx).await?;
            let sleep = sqlx::query("select pg_sleep($1)").bind(takes.as_secs_f64());
            sleep.execute(&mut **tx).await?;
            match (fails, way) {
                (false, _) => Ok(()),
                (true, 0) => Err(HandlerError::retryable("told to retry")),
                // Swallowed, but the transaction is lost.
                (true, 1) => {
                    let _ = sqlx::query("select 1 / 0").execute(&mut **tx).await;
                    Ok(())
                }
                (true, _) => panic!("told to panic"),
            }
        })
    }
}

struct Case<'a> {
    options: &'a PgConnectOptions,
    /// For a look from outside.
    pool: &'a PgPool,
    handler: Insert,
    /// The ids of this case's events.
    ids: Vec<Uuid>,
    done: RefCell<HashMap<usize, usize>>,
}

impl Case<'_> {
    async fn invoke(&self, deeds: &[(usize, usize)], lasts: Duration, session: &str) -> Settlement {
        let options = self.options.clone().application_name(session);
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
        let builder = Consumer::builder("test").postgres(pool.clone());
        let builder = builder.retry_delay(RetryDelay::QueueDefault);
        let consumer = builder.on::<Deed, _>(postgres(self.handler.clone())).build().unwrap();
        let deed = |(number, payload): &(usize, usize)| message_of(self.ids[*number], *number, *payload);
        let messages: Vec<_> = deeds.iter().map(deed).collect();
        let invocation = Invocation::new("request", lasts);
        let settled = consumer.settle_batch(batch(&messages), &invocation).await.unwrap();
        pool.close().await;
        self.check(deeds, &settled.events).await;
        settled
    }

    /// The payloads of an event's effects.
    async fn effects(&self, number: usize) -> Vec<usize> {
        let select = sqlx::query_scalar("select payload from deed where event_id = $1").bind(self.ids[number]);
        let payloads: Vec<i32> = select.fetch_all(self.pool).await.unwrap();
        payloads
            .into_iter()
            .map(|payload| usize::try_from(payload).unwrap())
            .collect()
    }

    async fn check(&self, deeds: &[(usize, usize)], reports: &[EventReport]) {
        for ((number, payload), report) in deeds.iter().zip(reports) {
            let effects = self.effects(*number).await;
            assert!(effects.len() <= 1, "event {number}: {effects:?}");
            match report.outcome {
                Outcome::Done => {
                    assert!(effects == [*payload] && !report.is_failed, "{report:?} {effects:?}");
                    let mut done = self.done.borrow_mut();
                    let done = done.entry(*number).or_default();
                    *done += 1;
                    assert_eq!(*done, 1, "event {number} was done twice");
                }
                Outcome::Duplicate => assert!(effects == [*payload] && !report.is_failed, "{report:?} {effects:?}"),
                Outcome::Permanent => {
                    assert_eq!(report.reason, Some(Reason::PayloadMismatch), "{report:?}");
                    assert!(report.is_failed && effects == [1 - payload], "{report:?} {effects:?}");
                }
                Outcome::Retryable | Outcome::NotStarted => assert!(report.is_failed),
                other => panic!("{other:?} is nothing that this mode knows"),
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery) {
        tokio::time::sleep(delivery.after).await;
        let session = format!("random-{}", Uuid::new_v4().simple());
        let work = self.invoke(&delivery.deeds, delivery.lasts, &session);
        match delivery.death {
            Death::No => drop(work.await),
            Death::Killed(after) => drop(tokio::time::timeout(after, work).await),
            Death::Cut(after) => {
                let cut = async {
                    tokio::time::sleep(after).await;
                    let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1";
                    sqlx::query(end).bind(&session).execute(self.pool).await.unwrap();
                };
                futures::join!(work, cut);
            }
        }
    }

    /// Delivers each deed until it is settled, when nobody dies any more.
    async fn settle(&self, deeds: &BTreeSet<(usize, usize)>) {
        for &deed in deeds {
            let mut deliveries = 0;
            loop {
                let settled = self.invoke(&[deed], Duration::from_secs(30), "random").await;
                let report = &settled.events[0];
                if !report.is_failed || report.outcome == Outcome::Permanent {
                    break;
                }
                deliveries += 1;
                assert!(deliveries < 100, "{deed:?} does not settle: {report:?}");
            }
        }
    }
}

#[test]
fn whoever_dies_an_event_has_one_effect_in_postgres_before_it_is_acknowledged() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let database = Database::new().await;
        let create = "create table deed (event_id uuid not null, payload int not null)";
        sqlx::query(create).execute(&database.pool).await.unwrap();
        let options = (*database.pool.connect_options()).clone();
        run_real_cases(draw, async |schedule: &Schedule, mut chance: Chance| {
            let case = Case {
                options: &options,
                pool: &database.pool,
                handler: Insert(Arc::new(Mutex::new(chance.child())), schedule.failures),
                ids: (0..3).map(|_| Uuid::now_v7()).collect(),
                done: RefCell::default(),
            };
            join_all(schedule.deliveries.iter().map(|delivery| case.deliver(delivery))).await;
            let deeds = schedule.deliveries.iter().flat_map(|delivery| &delivery.deeds);
            let deeds: BTreeSet<(usize, usize)> = deeds.copied().collect();
            case.settle(&deeds).await;
            for (number, _) in &deeds {
                assert_eq!(case.effects(*number).await.len(), 1, "event {number}");
            }
        })
        .await;
    });
}
