//! What a holder is told when its claim ends, how long it has from then on, and what it can no longer do.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join;
use oncebox_consumer::{
    Consumer, HandlerError, Key, LeaseContext, LeasedHandler, Outcome, Previous, Reason, leased,
    test_kit::{Fault, MemoryQueues, MemoryTables, sleep, without_waiting},
};
use oncebox_envelope::Envelope;

use super::receiver::{Hang, LEASE, Policy, Receiver, Say, builder, consumer, invoke, invoke_for};
use crate::{
    delivery::Message,
    ping::{Act, Ping},
};

/// Works for ever, in steps of a hundredth of its lease, and counts them.
#[derive(Clone, Default)]
struct Steps(Arc<Counted>);

#[derive(Default)]
struct Counted {
    all: AtomicUsize,
    since_told: AtomicUsize,
}

impl Steps {
    /// How many steps there were, and how many of them since it was told to stop.
    fn counted(&self) -> (usize, usize) {
        let Counted { all, since_told } = &*self.0;
        (all.load(Ordering::SeqCst), since_told.load(Ordering::SeqCst))
    }
}

impl<'a> LeasedHandler<'a, Ping> for Steps {
    type Response = ();
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, _: Envelope<Ping>, lease: &'a LeaseContext) -> Self::Future {
        let counted = Arc::clone(&self.0);
        Box::pin(async move {
            loop {
                sleep(LEASE / 100).await;
                counted.all.fetch_add(1, Ordering::SeqCst);
                counted
                    .since_told
                    .fetch_add(usize::from(lease.is_stopping()), Ordering::SeqCst);
            }
        })
    }
}

fn stepping(tables: &MemoryTables, steps: &Steps) -> Consumer {
    let handler = leased(steps.clone()).lease(LEASE).retry_same_key();
    builder(tables).on::<Ping, _>(handler).build().unwrap()
}

fn record_of(message: &Message) -> Key {
    Key::new("pk", format!("test#{}", message.id))
}

#[tokio::test]
async fn who_cannot_renew_has_a_tenth_of_its_lease_to_end_what_it_has_begun_and_is_dropped_when_it_is_over() {
    without_waiting(1, async {
        let (tables, steps) = (MemoryTables::new(), Steps::default());
        tables.faults(|request| (request > 0).then_some(Fault::HangBefore));
        let settled = invoke(&stepping(&tables, &steps), &Message::new(Act::Succeed)).await;
        assert_eq!(settled.events[0].outcome, Outcome::LeaseLost);
        let (all, since_told) = steps.counted();
        assert!(
            (9..=10).contains(&since_told),
            "{since_told} hundredths after it was told"
        );
        assert!((98..=100).contains(&all), "{all} hundredths of its lease");
    })
    .await;
}

#[tokio::test]
async fn who_cannot_renew_at_the_last_delivery_but_one_is_set_aside_and_takes_nobody_along() {
    without_waiting(1, async {
        let (tables, queues) = (MemoryTables::new(), MemoryQueues::default());
        let handler = leased(Steps::default()).lease(LEASE).retry_same_key();
        let letters = "https://sqs.eu-west-1.amazonaws.com/000000000000/dead-letters";
        let consumer = builder(&tables).queues(&queues).dead_letter_queue(letters);
        let consumer = consumer.max_receive_count(5).on::<Ping, _>(handler).build().unwrap();
        for (count, outcome, stored) in [(3, Outcome::LeaseLost, 0), (4, Outcome::Permanent, 1)] {
            tables.faults(|request| (request > 0).then_some(Fault::Throttle));
            let message = Message::new(Act::Succeed).delivered(count);
            let settled = invoke(&consumer, &message).await;
            let event = &settled.events[0];
            assert_eq!(
                (event.outcome, event.is_failed),
                (outcome, outcome == Outcome::LeaseLost)
            );
            let letters = queues.dead_letters(letters);
            assert_eq!(letters.len(), stored);
            for letter in letters {
                assert_eq!(letter.attributes["oncebox-reason"], "attempts_exhausted");
            }
        }
        // Whom another delivery has superseded leaves it to that one.
        tables.faults(|_| None);
        let message = Message::new(Act::Succeed).delivered(4);
        let take_away = async {
            sleep(LEASE / 10).await;
            assert!(tables.remove("dedupe", record_of(&message)));
        };
        let (settled, ()) = join(invoke(&consumer, &message), take_away).await;
        assert_eq!(settled.events[0].outcome, Outcome::LeaseLost);
        assert_eq!(queues.dead_letters(letters).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_lease_counts_from_when_its_renewal_was_sent_and_not_from_when_it_was_confirmed() {
    without_waiting(1, async {
        let (tables, steps) = (MemoryTables::new(), Steps::default());
        // Sent after a third of the lease and confirmed after two; then nothing comes through.
        tables.faults(|request| match request {
            0 => None,
            1 => Some(Fault::Slow(LEASE / 3)),
            _ => Some(Fault::HangBefore),
        });
        let settled = invoke(&stepping(&tables, &steps), &Message::new(Act::Succeed)).await;
        assert_eq!(settled.events[0].outcome, Outcome::LeaseLost);
        let (all, _) = steps.counted();
        assert!((131..=133).contains(&all), "{all} hundredths of its lease");
    })
    .await;
}

#[tokio::test]
async fn whose_record_is_gone_is_told_with_its_next_beat_dropped_a_tenth_of_its_lease_later_and_writes_nothing() {
    without_waiting(1, async {
        let (tables, steps) = (MemoryTables::new(), Steps::default());
        let (function, message) = (stepping(&tables, &steps), Message::new(Act::Succeed));
        let take_away = async {
            sleep(LEASE / 10).await;
            assert!(tables.remove("dedupe", record_of(&message)));
        };
        let (settled, ()) = join(invoke(&function, &message), take_away).await;
        let event = &settled.events[0];
        assert_eq!((event.outcome, event.is_failed), (Outcome::LeaseLost, true));
        let (all, since_told) = steps.counted();
        assert!(
            (9..=10).contains(&since_told),
            "{since_told} hundredths after it was told"
        );
        assert!(
            (42..=44).contains(&all),
            "{all} hundredths: a third of its lease and a tenth"
        );
        assert!(tables.items("dedupe").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_beat_that_comes_late_does_not_turn_it_back() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::forgetful().takes(LEASE * 3);
        // The first renewal seems lost, and comes when two later ones are through.
        tables.faults(|request| (request == 1).then_some(Fault::Late(3)));
        let (function, message) = (consumer(&tables, &receiver, Policy::Park), Message::new(Act::Succeed));
        let watch = async {
            let mut beats: Vec<usize> = Vec::new();
            for _ in 0..80 {
                sleep(LEASE / 30).await;
                beats.push(tables.number("dedupe", record_of(&message), "beat"));
            }
            beats
        };
        let (settled, beats) = join(invoke(&function, &message), watch).await;
        assert_eq!(settled.events[0].outcome, Outcome::Done);
        assert!(beats.is_sorted() && beats.contains(&5), "{beats:?}");
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_was_lost_is_an_unknown_outcome_for_whoever_comes_next() {
    for policy in Policy::ALL {
        without_waiting(1, async {
            let (tables, receiver) = (MemoryTables::new(), Receiver::forgetful());
            receiver.script(&[(Hang::BeforeItsEffect, Say::Ok)]);
            // The first renewal is never answered; what is written after the loss is.
            tables.faults(|request| (request == 1).then_some(Fault::HangBefore));
            let (function, message) = (consumer(&tables, &receiver, policy), Message::new(Act::Succeed));
            let lost = invoke(&function, &message).await;
            let next = invoke(&function, &message).await;
            let outcomes = (lost.events[0].outcome, next.events[0].outcome);
            if policy == Policy::Park {
                assert_eq!(outcomes, (Outcome::Permanent, Outcome::Permanent));
                assert_eq!(lost.events[0].reason, Some(Reason::UnknownOutcome));
                assert_eq!(receiver.fences(), [1], "nobody tries again");
            } else {
                assert_eq!(outcomes, (Outcome::LeaseLost, Outcome::Done), "{policy:?}");
                assert_eq!(receiver.previous(), [Previous::None, Previous::Unknown], "{policy:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_claim_that_was_made_anew_with_the_same_fence_is_another_one_for_its_first_holder_and_its_watchers() {
    for say in [Say::Ok, Say::Retryable, Say::Permanent, Say::Unknown] {
        without_waiting(1, async {
            let tables = MemoryTables::new();
            // It is done before it would find out by a beat.
            let (first, second) = (
                Receiver::idempotent().takes(LEASE / 5),
                Receiver::idempotent().takes(LEASE),
            );
            first.script(&[(Hang::Never, say)]);
            let message = Message::new(Act::Succeed);
            let (one, other) = (
                consumer(&tables, &first, Policy::Reconcile),
                consumer(&tables, &second, Policy::Reconcile),
            );
            let anew = async {
                sleep(LEASE / 10).await;
                assert!(tables.remove("dedupe", record_of(&message)));
                invoke(&other, &message).await
            };
            let (outlived, anew) = join(invoke(&one, &message), anew).await;
            assert_eq!(outlived.events[0].outcome, Outcome::LeaseLost, "{say:?}");
            assert!(outlived.events[0].is_failed, "{say:?}");
            assert_eq!(anew.events[0].outcome, Outcome::Done, "{say:?}");
            assert_eq!((first.fences(), second.fences()), (vec![1], vec![1]), "the same fence");
        })
        .await;
    }
    without_waiting(1, async {
        let (tables, receiver) = (MemoryTables::new(), Receiver::idempotent());
        let message = Message::new(Act::Succeed);
        let function = || consumer(&tables, &receiver, Policy::RetrySameKey);
        receiver.script(&[(Hang::BeforeItsEffect, Say::Ok)]);
        let (killed, watcher, anew) = (function(), function(), function());
        assert!(
            super::receiver::kill_after(LEASE / 30, invoke(&killed, &message))
                .await
                .is_none()
        );
        // It sees nothing while it watches, and takes over when the lease has passed and a twentieth.
        tables.read_faults(|_| Some(Fault::Throttle));
        let watching = invoke_for(&watcher, &message, LEASE * 2);
        let claim = async {
            sleep(LEASE + LEASE / 30).await;
            assert!(tables.remove("dedupe", record_of(&message)));
            let slow = receiver.clone().takes(LEASE);
            let settled = invoke(&anew, &message).await;
            (settled, slow.fences())
        };
        let (watched, (anew, fences)) = join(watching, claim).await;
        assert_eq!(watched.events[0].outcome, Outcome::InProgress);
        assert_eq!(
            (anew.events[0].outcome, fences),
            (Outcome::Done, vec![1, 1]),
            "nobody took it over"
        );
    })
    .await;
}

#[tokio::test]
async fn a_watcher_that_cannot_read_takes_nobody_over_who_beats() {
    without_waiting(1, async {
        let tables = MemoryTables::new();
        let receiver = Receiver::forgetful().takes(LEASE * 4);
        let (holder, watcher) = (
            consumer(&tables, &receiver, Policy::RetrySameKey),
            consumer(&tables, &receiver, Policy::RetrySameKey),
        );
        let message = Message::new(Act::Succeed);
        tables.read_faults(|_| Some(Fault::Throttle));
        let watching = async {
            sleep(Duration::from_millis(100)).await;
            invoke_for(&watcher, &message, LEASE * 3).await
        };
        let (held, watched) = join(invoke(&holder, &message), watching).await;
        assert_eq!(held.events[0].outcome, Outcome::Done);
        assert_eq!(watched.events[0].outcome, Outcome::InProgress);
        assert_eq!((receiver.fences(), receiver.most_at_work()), (vec![1], 1));
    })
    .await;
}

#[tokio::test]
async fn a_watcher_goes_on_as_soon_as_the_claim_is_given_back_and_does_not_wait_for_the_lease() {
    without_waiting(1, async {
        let (tables, receiver) = (MemoryTables::new(), Receiver::forgetful().takes(LEASE / 6));
        receiver.script(&[(Hang::Never, Say::Retryable)]);
        let (one, other) = (
            consumer(&tables, &receiver, Policy::Park),
            consumer(&tables, &receiver, Policy::Park),
        );
        let message = Message::new(Act::Succeed);
        let second = async {
            sleep(LEASE / 30).await;
            invoke(&other, &message).await
        };
        let (first, second) = join(invoke(&one, &message), second).await;
        assert_eq!(first.events[0].outcome, Outcome::Retryable);
        let event = &second.events[0];
        assert_eq!(event.outcome, Outcome::Done);
        assert!(event.duration < LEASE, "{:?}", event.duration);
    })
    .await;
}
