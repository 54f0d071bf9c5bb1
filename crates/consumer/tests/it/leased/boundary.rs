//! Killed at each boundary, with one to three deliveries afterwards.

use std::time::Duration;

use oncebox_consumer::{
    Outcome, Previous, Reason,
    test_kit::{Fault, MemoryTables, without_waiting},
};

use super::receiver::{Hang, Policy, Receiver, Say, consumer, deliver_until_settled, invoke, kill_after};
use crate::{delivery::Message, ping::Act};

/// Where a function dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundary {
    BeforeTheClaim,
    AfterTheClaim,
    BeforeTheEffect,
    AfterTheEffect,
    BeforeTheCompletion,
    AfterTheCompletion,
}

const ALL: [Boundary; 6] = [
    Boundary::BeforeTheClaim,
    Boundary::AfterTheClaim,
    Boundary::BeforeTheEffect,
    Boundary::AfterTheEffect,
    Boundary::BeforeTheCompletion,
    Boundary::AfterTheCompletion,
];

/// Dies there.
async fn die_at(boundary: Boundary, tables: &MemoryTables, receiver: &Receiver, policy: Policy, message: &Message) {
    let (at, fault) = match boundary {
        Boundary::BeforeTheClaim => (0, Some(Fault::HangBefore)),
        Boundary::AfterTheClaim => (0, Some(Fault::HangAfter)),
        Boundary::BeforeTheCompletion => (1, Some(Fault::HangBefore)),
        Boundary::AfterTheCompletion => (1, Some(Fault::HangAfter)),
        Boundary::BeforeTheEffect | Boundary::AfterTheEffect => (0, None),
    };
    match boundary {
        Boundary::BeforeTheEffect => receiver.script(&[(Hang::BeforeItsEffect, Say::Ok)]),
        Boundary::AfterTheEffect => receiver.script(&[(Hang::AfterItsEffect, Say::Ok)]),
        _ => {}
    }
    tables.faults(move |request| fault.filter(|_| request == at));
    let function = consumer(tables, receiver, policy);
    let settled = kill_after(Duration::from_millis(500), invoke(&function, message)).await;
    assert!(settled.is_none(), "it was to be killed at {boundary:?}: {settled:?}");
    tables.faults(|_| None);
}

#[tokio::test]
async fn killed_at_any_boundary_there_is_one_effect_or_what_the_policy_declares() {
    for policy in Policy::ALL {
        for boundary in ALL {
            for copies in 1..=3 {
                let what = format!("{policy:?} {boundary:?} {copies}");
                without_waiting(1, async {
                    let (tables, receiver) = (MemoryTables::new(), policy.receiver());
                    let message = Message::new(Act::Succeed);
                    die_at(boundary, &tables, &receiver, policy, &message).await;
                    let consumer = || consumer(&tables, &receiver, policy);
                    let outcomes = deliver_until_settled(copies, &message, consumer).await;
                    assert_one_effect_or_the_policys(&what, policy, boundary, &receiver, &outcomes);
                    assert!(receiver.most_at_work() <= 1, "{what}");
                    assert!(
                        receiver.fences().is_sorted_by(|a, b| a < b),
                        "{what}: {:?}",
                        receiver.fences()
                    );
                })
                .await;
            }
        }
    }
}

fn assert_one_effect_or_the_policys(
    what: &str,
    policy: Policy,
    boundary: Boundary,
    receiver: &Receiver,
    outcomes: &[Outcome],
) {
    let is_unknown = !matches!(boundary, Boundary::BeforeTheClaim | Boundary::AfterTheCompletion);
    if policy == Policy::Park && is_unknown {
        let happened = matches!(boundary, Boundary::AfterTheEffect | Boundary::BeforeTheCompletion);
        assert_eq!(receiver.effects(), usize::from(happened), "{what}");
        assert!(
            outcomes.iter().all(|outcome| *outcome == Outcome::Permanent),
            "{what}: {outcomes:?}"
        );
        return;
    }
    assert_eq!(receiver.effects(), 1, "{what}: {outcomes:?}");
    let done = outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count();
    let expected = usize::from(boundary != Boundary::AfterTheCompletion);
    assert_eq!(done, expected, "{what}: {outcomes:?}");
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Done | Outcome::Duplicate)),
        "{what}: {outcomes:?}"
    );
}

#[tokio::test]
async fn replies_that_are_lost_late_requests_throttles_and_conflicts_cost_time_and_nothing_else() {
    for policy in Policy::ALL {
        for fault in [
            Fault::LoseRequest,
            Fault::LoseReply,
            Fault::Late(1),
            Fault::Late(3),
            Fault::Throttle,
            Fault::Conflict,
        ] {
            for at in 0..2 {
                let what = format!("{policy:?} {fault:?} {at}");
                without_waiting(1, async {
                    let (tables, receiver) = (MemoryTables::new(), policy.receiver());
                    tables.faults(move |request| (request == at).then_some(fault));
                    let (message, function) = (Message::new(Act::Succeed), consumer(&tables, &receiver, policy));
                    assert_eq!(
                        invoke(&function, &message).await.events[0].outcome,
                        Outcome::Done,
                        "{what}"
                    );
                    assert_eq!(
                        invoke(&function, &message).await.events[0].outcome,
                        Outcome::Duplicate,
                        "{what}"
                    );
                    assert_eq!((receiver.effects(), receiver.fences()), (1, vec![1]), "{what}");
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn an_error_means_what_the_handler_says_and_a_panic_that_nobody_knows() {
    for policy in Policy::ALL {
        for say in [Say::Retryable, Say::Permanent, Say::Unknown, Say::Panic] {
            let what = format!("{policy:?} {say:?}");
            without_waiting(1, async {
                let (tables, receiver) = (MemoryTables::new(), policy.receiver());
                // The effect of the first attempt does happen, whatever it says.
                receiver.script(&[(Hang::Never, say)]);
                let (message, function) = (Message::new(Act::Succeed), consumer(&tables, &receiver, policy));
                let first = invoke(&function, &message).await;
                let second = invoke(&function, &message).await;
                let outcomes = (first.events[0].outcome, second.events[0].outcome);
                let is_unknown = matches!(say, Say::Unknown | Say::Panic);
                let parks = policy == Policy::Park && is_unknown;
                let expected = match say {
                    _ if parks => (Outcome::Permanent, Outcome::Permanent),
                    Say::Permanent => (Outcome::Permanent, Outcome::Done),
                    _ => (Outcome::Retryable, Outcome::Done),
                };
                assert_eq!(outcomes, expected, "{what}");
                if parks {
                    assert_eq!(second.events[0].reason, Some(Reason::UnknownOutcome), "{what}");
                    assert_eq!(receiver.fences(), [1], "{what}");
                    return;
                }
                // A reconciliation that finds the effect runs no handler; whoever says "no effect" is believed.
                let previous = match (policy, is_unknown) {
                    (Policy::Reconcile, true) => vec![Previous::None],
                    (_, true) => vec![Previous::None, Previous::Unknown],
                    (_, false) => vec![Previous::None, Previous::Failed],
                };
                assert_eq!(receiver.previous(), previous, "{what}");
                let is_believed = receiver.fences().len() == 2 && policy != Policy::RetrySameKey;
                assert_eq!(receiver.effects(), 1 + usize::from(is_believed), "{what}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn an_attempt_that_fails_does_not_settle_the_doubt_about_the_one_before() {
    without_waiting(1, async {
        let (tables, receiver) = (MemoryTables::new(), Receiver::idempotent());
        receiver.script(&[
            (Hang::Never, Say::Unknown),
            (Hang::Never, Say::Retryable),
            (Hang::Never, Say::Ok),
        ]);
        let function = consumer(&tables, &receiver, Policy::RetrySameKey);
        let message = Message::new(Act::Succeed);
        for _ in 0..3 {
            invoke(&function, &message).await;
        }
        assert_eq!(
            receiver.previous(),
            [Previous::None, Previous::Unknown, Previous::Unknown]
        );
    })
    .await;
}
