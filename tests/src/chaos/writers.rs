//! Those who commit.

use std::time::Duration;

use anyhow::Result;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    chaos::{
        Side,
        books::Books,
        now_ns,
        stage::{EVENT, Stage},
        transaction::{Draft, Event, Savepoint},
    },
    ledger::{Attempt, Outcome, PayloadHash},
};

pub(super) const APPLICATION: &str = "chaos-writer";
const WRITERS: u32 = 6;
/// How many events a transaction has, about.
const EVENTS_EACH: f64 = 2.0;
/// A writer that hears nothing gives its connection up.
const LIMIT: Duration = Duration::from_secs(12);
const AFTER_A_FAILURE: Duration = Duration::from_millis(100);

pub(super) struct Writers {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

struct Writer {
    options: PgConnectOptions,
    books: Books,
    consumers: Vec<String>,
    /// Between two transactions, on average.
    pause: Duration,
    random: StdRng,
    stop: CancellationToken,
    number: u64,
}

impl Writers {
    pub(super) fn start(stage: &Stage, books: &Books, rate: f64, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let url = &stage.way_to_postgres(Side::Writers).url;
        let Ok(options) = url.as_str().parse::<PgConnectOptions>() else {
            return Self { tasks, stop };
        };
        for number in 0..WRITERS {
            let writer = Writer {
                options: options.clone().application_name(APPLICATION),
                books: books.clone(),
                consumers: stage.consumers.iter().map(|of| of.name.to_owned()).collect(),
                pause: Duration::from_secs_f64(f64::from(WRITERS) * EVENTS_EACH / rate.max(0.1)),
                random: StdRng::seed_from_u64(random.next_u64()),
                stop: stop.clone(),
                number: u64::from(number) << 32,
            };
            tasks.spawn(writer.write());
        }
        Self { tasks, stop }
    }

    /// Lets each end the transaction that it is in.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Writer {
    async fn write(mut self) {
        let mut connection = None;
        while !self.stop.is_cancelled() {
            let draft = Draft::draw(&mut self.random);
            let pause = self.pause.mul_f64(self.random.random_range(0.0..2.0));
            let stop = self.stop.clone();
            let _ = timeout(pause, stop.cancelled()).await;
            if connection.is_none() {
                let connecting = timeout(LIMIT, PgConnection::connect_with(&self.options)).await;
                connection = connecting.ok().and_then(Result::ok);
            }
            let Some(mut open) = connection.take() else {
                sleep(AFTER_A_FAILURE).await;
                continue;
            };
            self.number += 1;
            if matches!(timeout(LIMIT, self.carry_out(&draft, &mut open)).await, Ok(Ok(()))) {
                connection = Some(open);
            }
        }
    }

    /// What it has not heard stays unknown; the connection is not used again then.
    async fn carry_out(&self, draft: &Draft, connection: &mut PgConnection) -> Result<()> {
        let begun_ns = now_ns();
        let mut transaction = connection.begin().await?;
        if draft.xid_first {
            sqlx::query("select pg_current_xact_id()")
                .execute(&mut *transaction)
                .await?;
        }
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for event in &draft.events {
            self.note(event, begun_ns);
            match event.savepoint {
                Savepoint::No => enqueue(&mut transaction, event).await?,
                Savepoint::Released => {
                    let mut savepoint = transaction.begin().await?;
                    enqueue(&mut savepoint, event).await?;
                    savepoint.commit().await?;
                }
                Savepoint::RolledBack => {
                    let mut savepoint = transaction.begin().await?;
                    enqueue(&mut savepoint, event).await?;
                    savepoint.rollback().await?;
                }
            }
            if event.savepoint == Savepoint::RolledBack {
                dropped.push(event.id);
            } else {
                kept.push(event.id);
            }
        }
        if !draft.open_for.is_zero() {
            let _ = timeout(draft.open_for, self.stop.cancelled()).await;
        }
        if draft.commits {
            transaction.commit().await?;
            self.books.committed(&kept);
        } else {
            transaction.rollback().await?;
            self.books.rolled_back(&kept);
        }
        self.books.rolled_back(&dropped);
        Ok(())
    }

    fn note(&self, event: &Event, begun_ns: u64) {
        let attempt = Attempt {
            key: event.key.clone(),
            wanted_by: self.consumers.clone(),
            payload: PayloadHash::of_json(&event.data),
            transaction: self.number,
            outcome: Outcome::Unknown,
        };
        self.books.attempt(event.id, begun_ns, attempt);
    }
}

async fn enqueue(connection: &mut PgConnection, event: &Event) -> Result<()> {
    let _: Uuid = sqlx::query_scalar("select oncebox.enqueue(type => $1, data => $2::jsonb, key => $3, id => $4)")
        .bind(EVENT)
        .bind(event.data.to_string())
        .bind(event.key.as_deref())
        .bind(event.id)
        .fetch_one(connection)
        .await?;
    Ok(())
}
