//! A sink that sends at most once, and what goes wrong around it.

use outbox_relay::{lease::term::Lease, sink::Guarantee};
use sqlx::Connection as _;

use super::stage::{Fate, Running, SINK, Stage};

async fn stage_with_a_retry(fate: Fate) -> (Stage, Running, String) {
    let stage = Stage::new(true, Guarantee::AtMostOnce).await;
    let id = stage.database.enqueue(Some("k")).await.unwrap();
    stage.target.decide(&id, Fate::Refuse);
    let running = stage.run().await;
    stage.until_parked(&[(&id, "parked", "Told", 1)]).await;
    stage.target.decide(&id, fate);
    stage.retry(&id).await;
    (stage, running, id)
}

#[tokio::test]
async fn a_retried_event_whose_answer_is_lost_is_counted_and_not_sent_again_by_anybody() {
    let (stage, running, id) = stage_with_a_retry(Fate::LoseReply).await;
    stage.target.until_tried(&id, 2).await;
    stage.until_parked(&[]).await;
    assert_eq!(stage.metric("oncebox_sink_dropped_total").unwrap(), 1.0);
    running.stop().await;
    let running = stage.run().await;
    let after = stage.database.enqueue(Some("k")).await.unwrap();
    stage.target.until_taken(&[id.clone(), after.clone()]).await;
    running.stop().await;
    assert_eq!(stage.target.taken(), [id, after]);
}

#[tokio::test]
async fn a_retried_event_that_was_being_sent_when_its_relay_died_waits_for_a_person() {
    let (stage, running, id) = stage_with_a_retry(Fate::Take).await;
    let _gate = stage.target.hold(&id, Fate::Take);
    stage.target.until_tried(&id, 2).await;
    stage.until_parked(&[(&id, "sending", "Told", 1)]).await;
    running.kill().await;
    let running = stage.run().await;
    stage.until_parked(&[(&id, "parked", "Unconfirmed", 2)]).await;
    assert_eq!(stage.target.times_tried(&id), 2);
    stage.target.heal();
    stage.retry(&id).await;
    stage.until_parked(&[]).await;
    running.stop().await;
    assert_eq!(stage.target.taken(), [id]);
}

#[tokio::test]
async fn what_waits_for_a_save_does_not_overtake_a_refused_event_of_its_key() {
    let stage = Stage::new(true, Guarantee::AtMostOnce).await;
    let running = stage.run().await;
    let first = stage.database.enqueue(Some("k")).await.unwrap();
    let gate = stage.target.hold(&first, Fate::Refuse);
    stage.target.until_tried(&first, 1).await;
    // The save that moves over the next one takes its time.
    let mut connection = stage.database.connect().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("select 1 from oncebox.cursor where sink = $1 for update")
        .bind(SINK)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let second = stage.database.enqueue(Some("k")).await.unwrap();
    stage.until_locked_out().await;
    gate.add_permits(1);
    stage
        .until_metric("oncebox_sink_failed_total", |failed| failed == 1.0)
        .await;
    transaction.commit().await.unwrap();
    stage
        .until_parked(&[(&first, "parked", "Told", 1), (&second, "parked", "Follows", 0)])
        .await;
    assert_eq!(stage.target.times_tried(&second), 0);
    running.stop().await;
}

/// Events that the cursor has passed: one on its way, the others behind it.
async fn passed(stage: &Stage) -> (Vec<String>, std::sync::Arc<tokio::sync::Semaphore>) {
    let ids = stage.database.enqueue_many(Some("k"), 5).await.unwrap();
    let gate = stage.target.hold(&ids[0], Fate::Take);
    (ids, gate)
}

#[tokio::test]
async fn what_the_cursor_has_passed_is_sent_though_the_database_is_lost() {
    let stage = Stage::new(true, Guarantee::AtMostOnce).await;
    let (ids, gate) = passed(&stage).await;
    let running = stage.run().await;
    stage.target.until_tried(&ids[0], 1).await;
    stage.until_metric("oncebox_sink_lag_events", |lag| lag == 5.0).await;
    stage.until_metric("oncebox_sink_lag_seconds", |secs| secs > 0.0).await;
    stage.until_metric("oncebox_sink_ready", |ready| ready == 1.0).await;
    stage.database.cut_connections_of_others().await.unwrap();
    // The loop has noticed.
    stage.until_metric("oncebox_sink_ready", |ready| ready == 0.0).await;
    gate.add_permits(1);
    assert!(running.task.await.unwrap().outcome.is_err());
    assert_eq!(stage.target.taken(), ids);
    assert_eq!(stage.metric("oncebox_sink_dropped_total").unwrap(), 0.0);
    stage.target.heal();
    let running = stage.run().await;
    let after = stage.database.enqueue(Some("k")).await.unwrap();
    stage.target.until_taken(std::slice::from_ref(&after)).await;
    running.stop().await;
    assert_eq!(stage.target.taken(), [ids, vec![after]].concat());
}

#[tokio::test]
async fn what_the_cursor_has_passed_and_the_lease_forbids_to_send_is_counted() {
    let stage = Stage::new(true, Guarantee::AtMostOnce).await;
    let (ids, gate) = passed(&stage).await;
    let running = stage.run().await;
    stage.target.until_tried(&ids[0], 1).await;
    stage.until_metric("oncebox_sink_lag_events", |lag| lag == 5.0).await;
    Lease::end(&running.lease);
    stage.database.cut_connections_of_others().await.unwrap();
    gate.add_permits(1);
    assert!(running.task.await.unwrap().outcome.is_err());
    assert_eq!(stage.target.taken(), ids[..1]);
    assert_eq!(stage.metric("oncebox_sink_dropped_total").unwrap(), 4.0);
}
