//! The gap guard in mode postgres, over a real server: whoever dies, the numbered events of a key have one effect each, in
//! their order.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use oncebox_consumer::{
    ConsumerBuilder, EventReport, GapGuard, HandlerError, Outcome, PgTransaction, PostgresHandler, Settlement, postgres,
};
use oncebox_envelope::Envelope;
use sqlx::{PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{
    cases::{Chance, run_real_cases},
    mortal::{Course, Death, invoke},
    step::{DoneSteps, Step},
};
use crate::stack::Database;

#[derive(Debug)]
struct Delivery {
    after: Duration,
    steps: Vec<Step>,
    lasts: Duration,
    death: Death,
}

#[derive(Debug)]
struct Schedule {
    lines: usize,
    places: usize,
    payloads: usize,
    deliveries: Vec<Delivery>,
    /// One in so many attempts fails.
    failures: u32,
}

fn draw(chance: &mut Chance) -> Schedule {
    let (lines, places) = (1 + chance.up_to(1), 1 + chance.up_to(3));
    // Most cases have one payload for each event.
    let payloads = 1 + usize::from(chance.one_in(4));
    let step = |chance: &mut Chance| Step {
        line: chance.up_to(lines - 1),
        place: 1 + chance.up_to(places - 1),
        payload: chance.up_to(payloads - 1),
    };
    let deliveries = 2 + chance.up_to(3);
    Schedule {
        lines,
        places,
        payloads,
        deliveries: (0..deliveries)
            .map(|_| Delivery {
                after: chance.millis(15),
                steps: (0..=chance.up_to(5)).map(|_| step(chance)).collect(),
                lasts: Duration::from_millis(200) + chance.millis(1_000),
                death: Death::draw(chance, 30),
            })
            .collect(),
        failures: chance.of(&[3, 10]),
    }
}

/// Takes a step; a row tells of it, and the rows before it are looked at.
#[derive(Clone)]
struct Walk {
    chance: Arc<Mutex<Chance>>,
    failures: u32,
    /// Whose steps these are.
    case: Uuid,
    /// Steps whose handler did not see the one before.
    early: Arc<Mutex<Vec<Step>>>,
}

fn number(number: usize) -> i32 {
    i32::try_from(number).unwrap()
}

impl<'a> PostgresHandler<'a, Step> for Walk {
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Step>, tx: &'a mut PgTransaction<'static>) -> Self::Future {
        let walk = self.clone();
        let course = Course::draw(&mut self.chance.lock().unwrap(), self.failures);
        Box::pin(async move {
            let step = event.data;
            let last = "select coalesce(max(place), 0) from step where run = $1 and line = $2";
            let last = sqlx::query_scalar::<_, i32>(last)
                .bind(walk.case)
                .bind(number(step.line));
            if last.fetch_one(&mut **tx).await? != number(step.place) - 1 {
                walk.early.lock().unwrap().push(step);
            }
            let insert = sqlx::query("insert into step (run, line, place, payload) values ($1, $2, $3, $4)");
            let insert = insert.bind(walk.case).bind(number(step.line)).bind(number(step.place));
            insert.bind(number(step.payload)).execute(&mut **tx).await?;
            course.end(tx).await
        })
    }
}

struct Case<'a> {
    options: &'a PgConnectOptions,
    /// For a look from outside.
    pool: &'a PgPool,
    walk: Walk,
    done: RefCell<DoneSteps>,
}

impl Case<'_> {
    async fn invoke(&self, steps: &[Step], lasts: Duration, session: &str) -> Settlement {
        let messages: Vec<_> = steps.iter().map(|step| step.message()).collect();
        let wire = |builder: ConsumerBuilder| {
            let builder = builder.gap_guard(GapGuard::from_one().park_after(Duration::MAX));
            builder.on::<Step, _>(postgres(self.walk.clone()))
        };
        // Each case has keys of its own by its consumer's name.
        let name = format!("test-{}", self.walk.case);
        let settled = invoke(self.options, session, &name, wire, &messages, lasts).await;
        self.check(steps, &settled.events).await;
        settled
    }

    /// The payloads of a line's steps in the order of their places; each place is there once, and none is left out.
    async fn taken(&self, line: usize) -> Vec<usize> {
        let select = "select place, payload from step where run = $1 and line = $2 order by place";
        let select = sqlx::query_as::<_, (i32, i32)>(select)
            .bind(self.walk.case)
            .bind(number(line));
        let rows = select.fetch_all(self.pool).await.unwrap();
        for ((place, _), expected) in rows.iter().zip(1..) {
            assert_eq!(*place, expected, "line {line}: {rows:?}");
        }
        rows.iter()
            .map(|(_, payload)| usize::try_from(*payload).unwrap())
            .collect()
    }

    async fn check(&self, steps: &[Step], reports: &[EventReport]) {
        assert!(self.walk.early.lock().unwrap().is_empty(), "{:?}", self.walk.early);
        for (step, report) in steps.iter().zip(reports) {
            let taken = self.taken(step.line).await;
            let is_mine = taken.get(step.place - 1) == Some(&step.payload);
            self.done.borrow_mut().check(*step, report, is_mine);
        }
    }

    async fn deliver(&self, delivery: &Delivery) {
        tokio::time::sleep(delivery.after).await;
        let work = |session: String| async move { self.invoke(&delivery.steps, delivery.lasts, &session).await };
        delivery.death.of(self.pool, work).await;
    }

    /// Delivers every event until it is settled, the last ones first, when nobody dies any more.
    async fn settle(&self, schedule: &Schedule) {
        let places = (1..=schedule.places).rev();
        let all = places.flat_map(|place| (0..schedule.lines).map(move |line| (line, place)));
        let all =
            all.flat_map(|(line, place)| (0..schedule.payloads).map(move |payload| Step { line, place, payload }));
        let mut open: Vec<Step> = all.collect();
        for _ in 0..100 {
            let mut left = Vec::new();
            for step in open {
                let settled = self.invoke(&[step], Duration::from_secs(30), "random").await;
                let report = &settled.events[0];
                if report.is_failed && report.outcome != Outcome::Permanent {
                    left.push(step);
                }
            }
            if left.is_empty() {
                return;
            }
            open = left;
        }
        panic!("{open:?} do not settle");
    }
}

#[test]
fn whoever_dies_the_numbered_events_of_a_key_have_one_effect_each_in_postgres_in_their_order() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let database = Database::new().await;
        let create =
            "create table step (run uuid not null, line int not null, place int not null, payload int not null)";
        sqlx::query(create).execute(&database.pool).await.unwrap();
        let options = (*database.pool.connect_options()).clone();
        run_real_cases(draw, async |schedule: &Schedule, mut chance: Chance| {
            let case = Case {
                options: &options,
                pool: &database.pool,
                walk: Walk {
                    chance: Arc::new(Mutex::new(chance.child())),
                    failures: schedule.failures,
                    case: Uuid::new_v4(),
                    early: Arc::default(),
                },
                done: RefCell::default(),
            };
            join_all(schedule.deliveries.iter().map(|delivery| case.deliver(delivery))).await;
            case.settle(schedule).await;
            for line in 0..schedule.lines {
                assert_eq!(case.taken(line).await.len(), schedule.places, "line {line}");
            }
        })
        .await;
    });
}
