//! What is stuck takes no room from others, and is seen in the lag.

use outbox_relay::sink::Guarantee;
use system_tests::{EVENT_TYPE, until};

use super::stage::{Fate, Stage};

async fn enqueue_large(stage: &Stage, key: Option<&str>, bytes: i32) -> String {
    let event = "select oncebox.enqueue($1, to_jsonb(repeat('x', $2)), $3)::text";
    let id = sqlx::query_scalar(event).bind(EVENT_TYPE).bind(bytes).bind(key);
    id.fetch_one(&stage.database.pool).await.unwrap()
}

#[tokio::test]
async fn large_events_that_are_stuck_hold_up_nobody_else_and_arrive_later() {
    let stage = Stage::new(false, Guarantee::AtLeastOnce).await;
    let mut stuck = Vec::new();
    let mut others = Vec::new();
    for _ in 0..8 {
        let id = enqueue_large(&stage, None, 5_000_000).await;
        stage.target.decide(&id, Fate::Fail);
        stuck.push(id);
        others.extend(stage.database.enqueue_many(None, 2).await.unwrap());
    }
    let running = stage.run().await;
    stage.target.until_taken(&others).await;
    stage.target.heal();
    stage.target.until_taken(&stuck).await;
    assert!(
        stage
            .target
            .bodies()
            .iter()
            .filter(|body| body.len() > 5_000_000)
            .count()
            == 8,
        "whole"
    );
    running.stop().await;
    let all = stage.target.taken().len();
    assert_eq!(all, stuck.len() + others.len(), "once each");
}

#[tokio::test]
async fn what_waits_behind_a_stuck_event_of_its_key_takes_no_room_and_comes_in_order() {
    let stage = Stage::new(true, Guarantee::AtLeastOnce).await;
    let mut key = Vec::new();
    for _ in 0..7 {
        key.push(enqueue_large(&stage, Some("k"), 5_000_000).await);
    }
    let others = stage.database.enqueue_many(Some("other"), 3).await.unwrap();
    stage.target.decide(&key[0], Fate::Fail);
    let running = stage.run().await;
    stage.target.until_taken(&others).await;
    stage.target.heal();
    stage.target.until_taken(&key).await;
    running.stop().await;
    assert_eq!(stage.target.taken(), [others, key].concat());
}

#[tokio::test]
async fn an_event_whose_row_was_deleted_while_it_waited_is_counted_and_holds_up_nobody() {
    let stage = Stage::new(true, Guarantee::AtLeastOnce).await;
    let mut key = Vec::new();
    for _ in 0..7 {
        key.push(enqueue_large(&stage, Some("k"), 5_000_000).await);
    }
    let others = stage.database.enqueue_many(Some("other"), 3).await.unwrap();
    stage.target.decide(&key[0], Fate::Fail);
    let running = stage.run().await;
    // Then those behind the first have given up their payload.
    stage.target.until_taken(&others).await;
    sqlx::query("delete from oncebox.event where id = $1::uuid")
        .bind(&key[3])
        .execute(&stage.database.pool)
        .await
        .unwrap();
    stage.target.heal();
    let left = [&key[..3], &key[4..]].concat();
    stage.target.until_taken(&left).await;
    stage
        .until_metric("oncebox_sink_dropped_total", |dropped| dropped == 1.0)
        .await;
    stage.until_metric("oncebox_sink_lag_events", |lag| lag == 0.0).await;
    running.stop().await;
    assert_eq!(stage.target.taken(), [others, left].concat());
    assert_eq!(stage.parked().await, []);
}

#[tokio::test]
async fn the_lag_of_a_sink_without_room_goes_on_growing() {
    let stage = Stage::new(false, Guarantee::AtLeastOnce).await.with_window(10);
    let stuck = stage.database.enqueue(None).await.unwrap();
    stage.target.decide(&stuck, Fate::Fail);
    let others = stage.database.enqueue_many(None, 20).await.unwrap();
    let running = stage.run().await;
    stage.target.until_taken(&others[..9]).await;
    stage.database.enqueue_many(None, 100).await.unwrap();
    stage.until_metric("oncebox_sink_lag_events", |lag| lag == 121.0).await;
    assert_eq!(stage.target.taken().len(), 9, "the window is full");
    let secs = stage.metric("oncebox_sink_lag_seconds").unwrap();
    until("the lag to grow", async || {
        let now = stage.metric("oncebox_sink_lag_seconds")?;
        anyhow::ensure!(now > secs, "{now}");
        Ok(())
    })
    .await
    .unwrap();
    running.stop().await;
}
