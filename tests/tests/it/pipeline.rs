//! The relay's loop on a real Postgres, with a target in memory that does as it is told.

mod at_most_once;
mod parking;
mod room;
mod stage;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::ensure;
use outbox_relay::{
    chance::Chance,
    lease::term::{Lease, Terms},
    log::{page::Selection, store::Start},
    publish::{BatchLimits, FailureClass, Message, PublishError, Publisher},
    sink::{Guarantee, MAX_HELD_BYTES, Sink, pipeline},
    telemetry::metrics::Metrics,
};
use system_tests::{Database, Stack, until};
use tokio_util::sync::CancellationToken;

use crate::claims::{claim_all, session};

/// Confirms everything but the messages of one tenant.
#[derive(Debug, Clone, Default)]
struct Target {
    confirmed: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<usize>>,
}

impl Publisher for Target {
    async fn publish(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let answer = |message: &Arc<Message>| {
            if message.tenant == "stuck" {
                *self.refused.lock().unwrap() += 1;
                return Err(PublishError {
                    class: FailureClass::Transient,
                    ..PublishError::unanswered()
                });
            }
            self.confirmed.lock().unwrap().push(message.id.clone());
            Ok(())
        };
        batch.iter().map(answer).collect()
    }
}

#[tokio::test]
async fn a_stuck_event_lets_a_window_of_others_pass_and_no_more() {
    const WINDOW: usize = 250;
    let database = Database::create(&Stack::from_env().await.unwrap()).await.unwrap();
    let mut connection = database.connect().await.unwrap();
    for (tenant, events) in [("others", 40_i64), ("stuck", 1), ("others", 2_000)] {
        sqlx::query("select oncebox.enqueue('thing.happened.v1', '{}', tenant => $1) from generate_series(1, $2)")
            .bind(tenant)
            .bind(events)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let mut session = session(&database).await;
    let claims = claim_all(&mut session, "tap", "me", Start::Beginning).await;
    let target = Target::default();
    let sink = Arc::new(Sink {
        name: "tap".to_owned(),
        selection: Selection::default(),
        publisher: target.clone(),
        keeps_order: false,
        limits: BatchLimits {
            max_entries: 10,
            max_bytes: 1_000_000,
        },
        bundle: None,
        guarantee: Guarantee::AtLeastOnce,
        max_in_flight: 4,
        max_window: WINDOW,
        max_held_bytes: MAX_HELD_BYTES,
        drain_timeout: Duration::from_secs(5),
        chance: Chance::default(),
        metrics: Metrics::new().sink("tap"),
        traces: None,
    });
    let lease = Lease::endless(Terms::of_lease(Duration::from_secs(10)));
    let end = CancellationToken::new();
    let running = tokio::spawn({
        let end = end.clone();
        async move { pipeline::run(sink, claims, session, lease, &end).await }
    });
    let confirmed = || target.confirmed.lock().unwrap().len();
    let passed = 40 + WINDOW - 1;
    until("the window is full", || async {
        let confirmed = confirmed();
        ensure!(confirmed >= passed, "{confirmed} confirmed");
        Ok(())
    })
    .await
    .unwrap();
    // The loop has gone round several times more once the stuck event was tried that often.
    let tries = *target.refused.lock().unwrap() + 3;
    until("the stuck event is tried again", || async {
        let refused = *target.refused.lock().unwrap();
        ensure!(refused >= tries, "{refused} tries");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(confirmed(), passed);
    end.cancel();
    running.await.unwrap().outcome.unwrap();
    let mut connection = database.connect().await.unwrap();
    let position: i64 = sqlx::query_scalar("select max(position) from oncebox.cursor")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(position, 40, "the cursor stands before the stuck event");
}
