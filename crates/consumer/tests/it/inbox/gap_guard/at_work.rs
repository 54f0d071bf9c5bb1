//! Functions that are at work at the same moment.

use std::{sync::Arc, time::Duration};

use oncebox_consumer::{Consumer, GapGuard, Outcome, postgres};
use tokio::sync::Semaphore;

use crate::{
    delivery::{Message, deliver_one, outcomes},
    inbox::InsertWhenTold,
    ping::Ping,
    stack::Database,
};

/// A handler that says when it is at work, and goes on when it is told to.
fn when_told(database: &Database, at_work: &Arc<Semaphore>, go_on: &Arc<Semaphore>) -> Consumer {
    let handler = InsertWhenTold {
        at_work: Arc::clone(at_work),
        go_on: Arc::clone(go_on),
    };
    let builder = database.empty_builder().gap_guard(GapGuard::from_one());
    builder.on::<Ping, _>(postgres(handler)).build().unwrap()
}

/// Waits until so many sessions wait for somebody else's lock.
pub(super) async fn until_waiting(database: &Database, sessions: i64) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let looks = async {
        loop {
            let look = sqlx::query_scalar::<_, i64>(waiting)
                .fetch_one(&database.pool)
                .await
                .unwrap();
            if look >= sessions {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let deadline = Duration::from_secs(15);
    tokio::time::timeout(deadline, looks)
        .await
        .expect("they wait for each other");
}

/// What three functions make of `others` while the first event of the key is at work, and then succeeds or fails.
pub(super) async fn while_the_first_is_at_work(
    first: &Message,
    others: [&Message; 2],
    database: &Database,
) -> Vec<Outcome> {
    let (at_work, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let consumers = [(); 3].map(|()| when_told(database, &at_work, &go_on));
    let work = async {
        let others = async {
            at_work.acquire().await.unwrap().forget();
            tokio::join!(
                deliver_one(&consumers[1], others[0]),
                deliver_one(&consumers[2], others[1])
            )
        };
        tokio::join!(deliver_one(&consumers[0], first), others)
    };
    let told = async {
        until_waiting(database, 2).await;
        go_on.add_permits(3);
    };
    let ((first, (second, third)), ()) = tokio::join!(work, told);
    [first, second, third].iter().flat_map(outcomes).collect()
}
