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
    ConsumerBuilder, EventReport, HandlerError, Outcome, PgTransaction, PostgresHandler, Reason, Settlement, postgres,
};
use oncebox_envelope::Envelope;
use sqlx::{PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{
    cases::{Chance, run_real_cases},
    deed::{Deed, message_of},
    mortal::{Course, Death, invoke},
};
use crate::stack::Database;

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
                death: Death::draw(chance, 25),
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
        let course = Course::draw(&mut self.0.lock().unwrap(), self.1);
        Box::pin(async move {
            let insert = sqlx::query("insert into deed (event_id, payload) values ($1, $2)");
            let payload = i32::try_from(event.data.payload).unwrap();
            insert.bind(event.id.as_uuid()).bind(payload).execute(&mut **tx).await?;
            course.end(tx).await
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
        let deed = |(number, payload): &(usize, usize)| message_of(self.ids[*number], *number, *payload);
        let messages: Vec<_> = deeds.iter().map(deed).collect();
        let wire = |builder: ConsumerBuilder| builder.on::<Deed, _>(postgres(self.handler.clone()));
        let settled = invoke(self.options, session, "test", wire, &messages, lasts).await;
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
        let work = |session: String| async move { self.invoke(&delivery.deeds, delivery.lasts, &session).await };
        delivery.death.of(self.pool, work).await;
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
