//! What is refused while something else of its key is under way.

use outbox_relay::{
    log::{
        parked::{Changes, ParkedClass, Refusal},
        store::{self, Start},
    },
    parked::{
        change::{self, Outcome},
        edit::{self, Edit},
        filter::{Filter, State},
    },
    sink::Guarantee,
};
use sqlx::Connection as _;

use super::stage::{Fate, SINK, Stage};
use crate::claims::{claim_all, session};

#[tokio::test]
async fn followers_that_are_being_loaded_do_not_overtake_a_head_that_is_refused_again() {
    let stage = Stage::new(true, Guarantee::AtLeastOnce).await;
    let ids = stage.database.enqueue_many(Some("k"), 3).await.unwrap();
    stage.target.decide(&ids[0], Fate::Refuse);
    let running = stage.run().await;
    stage
        .until_parked(&[
            (&ids[0], "parked", "Told", 1),
            (&ids[1], "parked", "Follows", 0),
            (&ids[2], "parked", "Follows", 0),
        ])
        .await;
    let gate = stage.target.hold(&ids[0], Fate::Refuse);
    stage.retry(&ids[0]).await;
    stage.target.until_tried(&ids[0], 2).await;
    // Now its followers may go too, and the relay is about to read them.
    let mut connection = stage.database.connect().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("lock table oncebox.parked in access exclusive mode")
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query("update oncebox.parked set state = 'retry'")
        .execute(&mut *transaction)
        .await
        .unwrap();
    stage.until_locked_out().await;
    gate.add_permits(1);
    stage
        .until_metric("oncebox_sink_failed_total", |failed| failed == 2.0)
        .await;
    transaction.commit().await.unwrap();
    stage
        .until_parked(&[
            (&ids[0], "parked", "Told", 2),
            (&ids[1], "retry", "Follows", 0),
            (&ids[2], "retry", "Follows", 0),
        ])
        .await;
    stage.target.heal();
    stage.retry(&ids[0]).await;
    stage.until_parked(&[]).await;
    assert_eq!(stage.target.taken(), ids);
    running.stop().await;
}

#[tokio::test]
async fn an_edit_of_an_event_that_is_on_its_way_is_sent_too() {
    let stage = Stage::new(true, Guarantee::AtLeastOnce).await;
    let id = stage.database.enqueue(Some("k")).await.unwrap();
    stage.target.decide(&id, Fate::Refuse);
    let running = stage.run().await;
    stage.until_parked(&[(&id, "parked", "Told", 1)]).await;
    let gate = stage.target.hold(&id, Fate::Take);
    stage.retry(&id).await;
    stage.target.until_tried(&id, 2).await;

    let mut connection = stage.database.connect().await.unwrap();
    let all = Filter::default();
    change::set_state(&mut connection, &all, State::Parked, Outcome::Keep, 10)
        .await
        .unwrap();
    let edited = Edit {
        data: Some("{\"edited\": true}".to_owned()),
        headers: Vec::new(),
    };
    edit::edit(&mut connection, SINK, id.parse().unwrap(), None, &edited, Outcome::Keep)
        .await
        .unwrap();
    change::set_state(&mut connection, &all, State::Retry, Outcome::Keep, 10)
        .await
        .unwrap();
    stage.target.heal();
    gate.add_permits(1);

    stage.target.until_tried(&id, 3).await;
    stage.until_parked(&[]).await;
    let bodies = stage.target.bodies();
    assert_eq!(bodies.len(), 2, "the old data was on its way");
    assert!(!bodies[0].contains("edited") && bodies[1].contains("\"edited\""));
    running.stop().await;
}

#[tokio::test]
async fn a_follower_of_an_event_that_is_refused_again_in_the_same_write_waits_for_a_person() {
    let stage = Stage::new(true, Guarantee::AtLeastOnce).await;
    let ids = stage.database.enqueue_many(Some("k"), 2).await.unwrap();
    let seqs: Vec<i64> = sqlx::query_scalar("select seq from oncebox.event order by seq")
        .fetch_all(&stage.database.pool)
        .await
        .unwrap();
    let mut session = session(&stage.database).await;
    let claims = claim_all(&mut session, SINK, "me", Start::Beginning).await;
    let refusal = Refusal {
        seq: seqs[0],
        class: ParkedClass::Permanent,
        code: "Told".to_owned(),
        reason: "told".to_owned(),
        attempts: 1,
    };
    let refused = Changes {
        refused: vec![refusal.clone()],
        ..Changes::default()
    };
    store::save(&mut session, SINK, &claims, &refused).await.unwrap();
    stage.retry(&ids[0]).await;
    let again = Changes {
        refused_again: vec![(refusal, 0)],
        followers: vec![seqs[1]],
        ..Changes::default()
    };
    store::save(&mut session, SINK, &claims, &again).await.unwrap();
    stage
        .until_parked(&[(&ids[0], "parked", "Told", 2), (&ids[1], "parked", "Follows", 0)])
        .await;
}
