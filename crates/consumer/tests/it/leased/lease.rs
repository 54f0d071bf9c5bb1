//! The lease itself: renewed while its holder works, and worth nothing when it was lost.

use std::time::Duration;

use futures::future::join;
use oncebox_consumer::{
    Outcome, StartError,
    test_kit::{Fault, MemoryTables, sleep, without_waiting},
};

use super::receiver::{
    Hang, LEASE, Policy, Receiver, Say, builder, consumer, deliver_until_settled, invoke, invoke_for, kill_after,
    on_pings,
};
use crate::{
    delivery::Message,
    ping::{Act, Ping},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn while_a_holder_works_for_many_leases_a_second_delivery_goes_back_at_once_with_a_delay() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::forgetful().takes(LEASE * 7);
        let (one, other) = (
            consumer(&tables, &receiver, Policy::Reconcile),
            consumer(&tables, &receiver, Policy::Reconcile),
        );
        let message = Message::new(Act::Succeed);
        let second = async {
            sleep(LEASE * 4).await;
            let settled = invoke(&other, &message).await;
            let event = &settled.events[0];
            assert_eq!((event.outcome, event.is_failed), (Outcome::InProgress, true));
            assert_eq!(event.retry_after, Some(LEASE));
            assert!(event.duration <= LEASE, "it saw a beat after {:?}", event.duration);
        };
        let (first, ()) = join(invoke(&one, &message), second).await;
        assert_eq!(first.events[0].outcome, Outcome::Done);
        assert_eq!((receiver.effects(), receiver.told_to_stop()), (1, 0));
        assert_eq!(invoke(&other, &message).await.events[0].outcome, Outcome::Duplicate);
    })
    .await;
}

#[tokio::test]
async fn who_outlives_its_lease_can_neither_complete_nor_fail_nor_take_its_successors_claim_away() {
    for say in [Say::Ok, Say::Retryable, Say::Permanent, Say::Unknown] {
        without_waiting(1, async {
            let tables = MemoryTables::new();
            // It is frozen in the middle of its work: it answers when its successor is at work.
            let receiver = Receiver::idempotent().takes(SECOND);
            receiver.script(&[(Hang::Never, say)]);
            let outlived = consumer(&tables, &receiver, Policy::RetrySameKey);
            let message = Message::new(Act::Succeed);
            let mut first = Box::pin(invoke(&outlived, &message));
            // It has claimed and begun; from here on nobody polls it.
            assert!(kill_after(SECOND / 10, &mut first).await.is_none());

            let slow = Receiver::idempotent().takes(LEASE * 2);
            let successor = consumer(&tables, &slow, Policy::RetrySameKey);
            let mut second = Box::pin(invoke(&successor, &message));
            assert!(
                kill_after(LEASE * 2, &mut second).await.is_none(),
                "it has taken over and works"
            );
            let claimed = tables.items("dedupe");
            assert_eq!(claimed[0]["fence"].as_n().unwrap(), "2");

            let settled = first.await;
            assert_eq!(settled.events[0].outcome, Outcome::LeaseLost, "{say:?}");
            assert!(settled.events[0].is_failed);
            // A third delivery finds the successor's claim untouched.
            let third = kill_after(SECOND / 100, invoke(&outlived, &message)).await;
            assert!(third.is_none(), "{say:?}: {third:?}");
            assert_eq!(second.await.events[0].outcome, Outcome::Done, "{say:?}");
            assert_eq!(slow.fences(), [2], "{say:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_claim_that_is_confirmed_when_its_lease_is_over_begins_nothing() {
    for policy in Policy::ALL {
        without_waiting(1, async {
            let (tables, receiver) = (MemoryTables::new(), Receiver::forgetful());
            // It is applied after three seconds and confirmed after six; the lease lasts three from its sending on.
            tables.faults(|request| (request == 0).then_some(Fault::Slow(LEASE * 2)));
            let (message, function) = (Message::new(Act::Succeed), consumer(&tables, &receiver, policy));
            let late = invoke(&function, &message).await;
            assert_eq!(
                (late.events[0].outcome, receiver.fences()),
                (Outcome::Retryable, vec![]),
                "{policy:?}"
            );
            // Nothing was begun, so there is nothing that a person would have to decide.
            let next = invoke(&function, &message).await;
            assert_eq!(
                (next.events[0].outcome, receiver.effects()),
                (Outcome::Done, 1),
                "{policy:?}"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn a_claim_that_begins_nothing_leaves_the_doubt_about_the_attempt_before_it() {
    without_waiting(1, async {
        let (tables, receiver) = (MemoryTables::new(), Receiver::forgetful());
        let (message, function) = (
            Message::new(Act::Succeed),
            consumer(&tables, &receiver, Policy::Reconcile),
        );
        // The effect happens, and nobody hears of it.
        receiver.script(&[(Hang::Never, Say::Unknown)]);
        assert_eq!(invoke(&function, &message).await.events[0].outcome, Outcome::Retryable);
        // The first request finds the record, the second claims it: confirmed when its lease is over.
        tables.faults(|request| (request == 1).then_some(Fault::Slow(LEASE * 2)));
        assert_eq!(invoke(&function, &message).await.events[0].outcome, Outcome::Retryable);
        tables.faults(|_| None);
        assert_eq!(invoke(&function, &message).await.events[0].outcome, Outcome::Done);
        assert_eq!(
            (receiver.fences(), receiver.effects()),
            (vec![1], 1),
            "it was asked, not done again"
        );
    })
    .await;
}

#[tokio::test]
async fn who_cannot_renew_is_told_and_then_dropped_before_anybody_may_take_over() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::forgetful().takes(LEASE * 3);
        // From the claim on nothing comes through.
        tables.faults(|request| (request > 0).then_some(Fault::Throttle));
        let message = Message::new(Act::Succeed);
        let function = consumer(&tables, &receiver, Policy::RetrySameKey);
        let settled = invoke_for(&function, &message, SECOND * 8).await;
        let event = &settled.events[0];
        assert_eq!(event.outcome, Outcome::LeaseLost, "{event:?}");
        assert_eq!(
            (receiver.told_to_stop(), receiver.effects()),
            (1, 0),
            "it had half its work before it"
        );
    })
    .await;
}

#[tokio::test]
async fn a_holder_that_lost_the_tables_answers_for_a_while_keeps_its_lease() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::forgetful().takes(LEASE * 4);
        // Every second request is lost, in one way or the other.
        tables.faults(|request| match request % 4 {
            1 => Some(Fault::LoseReply),
            3 => Some(Fault::Late(2)),
            _ => None,
        });
        let message = Message::new(Act::Succeed);
        let settled = invoke(&consumer(&tables, &receiver, Policy::Park), &message).await;
        assert_eq!(settled.events[0].outcome, Outcome::Done);
        assert_eq!(receiver.told_to_stop(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_invocation_that_ends_tells_its_handler_and_the_next_one_asks_the_policy_without_waiting() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::forgetful();
        receiver.script(&[(Hang::AfterItsEffect, Say::Ok)]);
        let function = consumer(&tables, &receiver, Policy::Reconcile);
        let message = Message::new(Act::Succeed);
        let settled = invoke_for(&function, &message, SECOND * 5).await;
        assert_eq!(settled.events[0].outcome, Outcome::Retryable);
        assert_eq!(receiver.told_to_stop(), 1);
        let next = invoke(&function, &message).await;
        assert_eq!(next.events[0].outcome, Outcome::Done);
        assert!(next.events[0].duration < SECOND, "{:?}", next.events[0].duration);
        assert_eq!(receiver.effects(), 1);
    })
    .await;
}

#[tokio::test]
async fn invocations_that_are_shorter_than_the_lease_watch_it_out_together() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::idempotent();
        let message = Message::new(Act::Succeed);
        let long = || on_pings(builder(&tables), &receiver, Policy::RetrySameKey, SECOND * 60);
        receiver.script(&[(Hang::BeforeItsEffect, Say::Ok)]);
        assert!(kill_after(SECOND, invoke(&long(), &message)).await.is_none());
        let mut deliveries = 0;
        let mut last = None;
        while deliveries < 30 && last != Some(Outcome::Done) {
            // Each by an instance that knows nothing of those before.
            let settled = invoke_for(&long(), &message, SECOND * 10).await;
            last = Some(settled.events[0].outcome);
            deliveries += 1;
        }
        assert_eq!(
            (last, receiver.effects()),
            (Some(Outcome::Done), 1),
            "after {deliveries} deliveries"
        );
        // 63 s of standing still, of which each of them sees nine and a half at most.
        assert!((7..=9).contains(&deliveries), "{deliveries}");
    })
    .await;
}

#[tokio::test]
async fn watchers_at_one_time_do_not_count_the_same_time_twice() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        // It beats every 20 s; three watchers of 10 s each would have seen 30 s between them.
        let receiver = Receiver::forgetful().takes(SECOND * 100);
        let lease = SECOND * 25;
        let long = || on_pings(builder(&tables), &receiver, Policy::RetrySameKey, lease);
        let (holder, message) = (long(), Message::new(Act::Succeed));
        let holding = invoke_for(&holder, &message, SECOND * 200);
        let watching = async {
            sleep(SECOND).await;
            for _ in 0..8 {
                let watchers: Vec<_> = (0..4).map(|_| long()).collect();
                let watch = watchers.iter().map(|watcher| invoke_for(watcher, &message, SECOND * 7));
                for settled in futures::future::join_all(watch).await {
                    assert_eq!(settled.events[0].outcome, Outcome::InProgress);
                }
            }
        };
        let (held, ()) = join(holding, watching).await;
        assert_eq!(held.events[0].outcome, Outcome::Done);
        assert_eq!((receiver.fences(), receiver.most_at_work()), (vec![1], 1));
    })
    .await;
}

#[tokio::test]
async fn three_deliveries_of_a_new_event_at_one_moment_have_one_effect() {
    for policy in Policy::ALL {
        without_waiting(1, async {
            let (tables, receiver) = (MemoryTables::new(), Receiver::forgetful());
            let message = Message::new(Act::Succeed);
            let outcomes = deliver_until_settled(3, &message, || consumer(&tables, &receiver, policy)).await;
            let done = outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count();
            assert_eq!((receiver.effects(), done), (1, 1), "{policy:?}: {outcomes:?}");
        })
        .await;
    }
}

#[test]
fn a_lease_that_is_too_short_or_too_long_and_a_missing_table_are_faults_at_start() {
    let tables = MemoryTables::new();
    for lease in [Duration::ZERO, Duration::from_millis(499), Duration::from_secs(901)] {
        let handler = oncebox_consumer::leased(Receiver::forgetful()).lease(lease).park();
        let error = builder(&tables).on::<Ping, _>(handler).build().map(|_| ()).unwrap_err();
        assert!(matches!(error, StartError::InvalidLease { .. }), "{error}");
        assert!(error.to_string().contains("from 500 ms to 15 min"), "{error}");
    }
    let handler = oncebox_consumer::leased(Receiver::forgetful()).park();
    let error = oncebox_consumer::Consumer::builder("a")
        .on::<Ping, _>(handler)
        .build()
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.to_string().contains("`test.ping.v1` is leased; call `.dedupe("),
        "{error}"
    );
}
