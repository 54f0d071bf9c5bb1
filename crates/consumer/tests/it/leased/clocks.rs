//! Clocks that do not agree, and records that should have been swept.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join;
use jiff::SignedDuration;
use oncebox_consumer::{
    Outcome,
    test_kit::{MemoryTables, sleep, with_clock_off, without_waiting},
};

use super::receiver::{Hang, LEASE, Policy, Receiver, Say, builder, consumer, invoke, kill_after, on_pings};
use crate::{delivery::Message, ping::Act};

const OFF: [i64; 3] = [-10, 0, 10];

#[tokio::test]
async fn ten_minutes_between_two_clocks_neither_end_a_lease_early_nor_keep_a_dead_one() {
    for holders in OFF {
        for others in OFF {
            let what = format!("{holders} {others}");
            let (holders, others) = (SignedDuration::from_mins(holders), SignedDuration::from_mins(others));
            without_waiting(1, async {
                let tables = MemoryTables::new();
                let receiver = Receiver::forgetful().takes(LEASE * 5);
                let function = || consumer(&tables, &receiver, Policy::Reconcile);
                let (one, other, message) = (function(), function(), Message::new(Act::Succeed));
                let second = async {
                    sleep(LEASE * 2).await;
                    invoke(&other, &message).await
                };
                let living = with_clock_off(holders, invoke(&one, &message));
                let (first, second) = join(living, with_clock_off(others, second)).await;
                assert_eq!(first.events[0].outcome, Outcome::Done, "{what}");
                assert_eq!(second.events[0].outcome, Outcome::InProgress, "{what}");
                assert_eq!(receiver.most_at_work(), 1, "{what}");

                receiver.script(&[(Hang::BeforeItsEffect, Say::Ok)]);
                let message = Message::new(Act::Succeed);
                let dead = kill_after(LEASE, with_clock_off(holders, invoke(&one, &message))).await;
                assert!(dead.is_none(), "{what}");
                let taken_over = with_clock_off(others, invoke(&other, &message)).await;
                assert_eq!(taken_over.events[0].outcome, Outcome::Done, "{what}");
                assert_eq!(receiver.effects(), 2, "{what}");
                // A twentieth more than the lease, and the work.
                let took = taken_over.events[0].duration;
                assert!((LEASE..LEASE * 7).contains(&took), "{what}: {took:?}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_record_that_should_have_been_swept_does_not_count_but_a_holders_does() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::forgetful();
        let short = |receiver: &Receiver| {
            let builder = builder(&tables).dedupe(tables.dedupe().keep(Duration::from_secs(60)));
            on_pings(builder, receiver, Policy::Reconcile, LEASE)
        };
        let function = short(&receiver);
        let message = Message::new(Act::Succeed);
        assert_eq!(invoke(&function, &message).await.events[0].outcome, Outcome::Done);
        sleep(Duration::from_secs(59)).await;
        assert_eq!(invoke(&function, &message).await.events[0].outcome, Outcome::Duplicate);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(tables.items("dedupe").len(), 1, "it is still there");
        assert_eq!(invoke(&function, &message).await.events[0].outcome, Outcome::Done);
        assert_eq!(receiver.fences(), [1, 2], "and its fence goes on");

        // A clock that is ten minutes ahead takes every claim for one past its time, and waits all the same.
        let slow = Receiver::forgetful().takes(LEASE * 4);
        let (holder, message) = (short(&slow), Message::new(Act::Succeed));
        let ahead = async {
            sleep(LEASE).await;
            let ahead = short(&slow);
            with_clock_off(SignedDuration::from_mins(10), invoke(&ahead, &message)).await
        };
        let (held, ahead) = join(invoke(&holder, &message), ahead).await;
        assert_eq!(held.events[0].outcome, Outcome::Done);
        assert_eq!(ahead.events[0].outcome, Outcome::InProgress);
        assert_eq!(slow.effects(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_record_holds_lengths_of_time_and_no_moment_but_its_ttl() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let message = Message::new(Act::Succeed);
        invoke(&consumer(&tables, &Receiver::forgetful(), Policy::Park), &message).await;
        let mut record = tables.items("dedupe").remove(0);
        let n = |text: &str| Some(AttributeValue::N(text.to_owned()));
        assert_eq!(record.remove("lease"), n("3000"));
        assert_eq!(
            (record.remove("fence"), record.remove("beat"), record.remove("waited")),
            (n("1"), n("0"), n("0"))
        );
        assert_eq!(record.remove("st"), Some(AttributeValue::S("done".to_owned())));
        assert_eq!(
            record.remove("pk"),
            Some(AttributeValue::S(format!("test#{}", message.id)))
        );
        let mut rest: Vec<String> = record.into_keys().collect();
        rest.sort();
        assert_eq!(rest, ["own", "ph", "res", "ttl"]);
    })
    .await;
}
