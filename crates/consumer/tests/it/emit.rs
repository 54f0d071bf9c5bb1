//! Events that a handler emits are sent if and only if its effects are committed, under one id.

mod scene;
mod targets;

use std::{collections::HashSet, time::Duration};

use jiff::SignedDuration;
use oncebox_consumer::{
    Consumer, Effects, HandlerError, Key, NewEvent, Outcome, RetryDelay, StartError,
    test_kit::{Fault, MemoryQueues, MemoryTables, SendFault, elapsed, sleep, with_clock_off, without_waiting},
    transactional,
};
use oncebox_envelope::{Envelope, RawEnvelope};

use self::scene::{FIFO, LATER, Pong, STANDARD, World, emit, expected, numbered};
use crate::{
    delivery::{Message, deliver, deliver_one, outcomes},
    ping::Ping,
};

#[tokio::test]
async fn what_is_emitted_carries_its_cause_and_leaves_nothing_behind() {
    let world = World::new();
    let message = numbered("a");
    let settled = deliver_one(&world.consumer(), &message).await;
    assert_eq!(outcomes(&settled), [Outcome::Done]);
    assert_eq!(settled.outbox.unwrap().sent, 3);
    let sent = world.queues.messages(FIFO);
    assert_eq!(world.texts(FIFO), expected(std::slice::from_ref(&message)));
    let envelope = RawEnvelope::from_json(sent[0].body.as_bytes()).unwrap();
    assert_eq!((envelope.source.as_str(), envelope.tenant.as_str()), ("test", "acme"));
    assert_eq!(envelope.causation_id.unwrap().as_str(), message.id.to_string());
    assert_eq!(envelope.correlation_id.unwrap().as_str(), "talk");
    assert_eq!((envelope.id, sent[0].group.as_str()), (sent[0].event_id, "a"));
    assert_eq!(world.queues.messages(STANDARD)[0].group, "acme");
    assert_eq!(world.stored(), 0);
}

#[tokio::test]
async fn an_event_that_fails_emits_nothing() {
    let world = World::new();
    let mut message = numbered("a");
    message.body = message.body.replace("succeed", "reject");
    let settled = deliver_one(&world.consumer(), &message).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent]);
    assert_eq!((world.queues.messages(FIFO).len(), world.stored()), (0, 0));
}

#[tokio::test]
async fn the_emitted_events_of_a_batch_share_its_transactions() {
    let world = World::new();
    world.tables.faults(|_| None);
    let messages: Vec<Message> = (0..20).map(|_| numbered("one")).collect();
    let settled = deliver(&world.consumer(), &messages).await;
    assert_eq!(settled.count(Outcome::Done), 20);
    // One commits all, and two take out what was sent: the ordered parcel and the others.
    assert_eq!(world.tables.requests(), 3);
    assert_eq!((world.texts(FIFO).len(), world.texts(STANDARD).len()), (40, 20));
    assert_eq!(world.stored(), 0);
}

/// Whatever request is lost, or its answer, with a kill or without: all is sent in the end, in order, under one id.
#[test]
fn killed_or_cut_off_at_any_request_all_that_was_committed_is_sent_in_order() {
    for fault in Fault::ALL {
        for at in 0..5 {
            futures::executor::block_on(without_waiting(7, one_fault(fault, at)));
        }
    }
}

async fn one_fault(fault: Fault, at: usize) {
    let world = World::new();
    world.tables.faults(move |number| (number == at).then_some(fault));
    let messages = [numbered("a"), numbered("a"), numbered("a")];
    for (message, n) in messages.iter().zip(1..) {
        // Each is delivered until it is done, by a process that may be new.
        let mut deliveries = 0;
        while deliver_one(&world.consumer(), &message.clone().delivered(n))
            .await
            .events[0]
            .is_failed
        {
            deliveries += 1;
            assert!(deliveries < 20, "{fault:?} at {at}");
        }
    }
    sleep(LATER).await;
    deliver(&world.consumer(), &[]).await;
    assert_eq!(world.first_texts(FIFO), expected(&messages), "{fault:?} at {at}");
    assert_eq!(world.first_texts(STANDARD).len(), 3, "{fault:?} at {at}");
    assert_eq!(world.stored(), 0, "{fault:?} at {at}");
    assert_one_id_each(&world);
}

#[test]
fn a_target_that_takes_nothing_keeps_no_sweep_from_what_goes_elsewhere() {
    futures::executor::block_on(without_waiting(1, async {
        let world = World::new();
        world.queues.fault_at(FIFO, Some(SendFault::Refuse));
        let consumer = world.consumer();
        // More groups than a page of each shard holds.
        for key in 0..200 {
            deliver_one(&consumer, &numbered(&key.to_string())).await;
        }
        let mails = world.texts(STANDARD).len();
        world.queues.fault_at(STANDARD, Some(SendFault::Hang));
        {
            let consumer = world.consumer();
            let message = numbered("last");
            let work = deliver_one(&consumer, &message);
            tokio::select! { biased; _ = work => panic!("it ends"), () = sleep(Duration::from_secs(1)) => {} }
        }
        world.queues.fault_at(STANDARD, None);
        assert_eq!(world.texts(STANDARD).len(), mails);
        let consumer = world.consumer();
        for invocation in 0.. {
            sleep(LATER).await;
            // It commits nothing that is sent elsewhere.
            let mut rejected = numbered("rejected");
            rejected.body = rejected.body.replace("succeed", "reject");
            deliver_one(&consumer, &rejected).await;
            if world.texts(STANDARD).len() > mails {
                break;
            }
            assert!(invocation < 10, "it is never looked at");
        }
        world.queues.fault_at(FIFO, None);
        deliver(&consumer, &[]).await;
        assert_eq!((world.stored(), world.texts(FIFO).len()), (0, 402));
    }));
}

#[test]
fn a_target_that_does_not_answer_holds_up_one_invocation_and_not_those_after_it() {
    futures::executor::block_on(without_waiting(1, async {
        let world = World::new();
        world.queues.fault_at(FIFO, Some(SendFault::Hang));
        let consumer = world.consumer();
        let mut took = Vec::new();
        for message in ["a", "b", "c"].map(numbered) {
            let began = elapsed();
            assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
            took.push(elapsed() - began);
        }
        assert!(took[0] > Duration::from_secs(1), "{took:?}");
        assert!(took[1..].iter().all(|took| *took < Duration::from_secs(1)), "{took:?}");
        assert_eq!(world.texts(STANDARD).len(), 3);
        world.queues.fault_at(FIFO, None);
        sleep(Duration::from_secs(60)).await;
        deliver(&consumer, &[]).await;
        assert_eq!((world.texts(FIFO).len(), world.stored()), (6, 0));
    }));
}

/// What is sent twice is the same event, to the byte.
fn assert_one_id_each(world: &World) {
    let sent = [world.queues.messages(FIFO), world.queues.messages(STANDARD)].concat();
    let ids: HashSet<_> = sent.iter().map(|message| message.event_id).collect();
    let bodies: HashSet<_> = sent.iter().map(|message| &message.body).collect();
    assert_eq!(ids.len(), bodies.len());
}

#[test]
fn a_crash_between_commit_and_send_is_made_good_by_a_later_invocation_and_by_a_schedule() {
    for is_scheduled in [true, false] {
        futures::executor::block_on(without_waiting(1, async {
            let world = World::new();
            let message = numbered("a");
            world.queues.faults(|_| Some(SendFault::Hang));
            {
                // Killed while nothing is sent yet.
                let consumer = world.consumer();
                let work = deliver_one(&consumer, &message);
                tokio::select! { biased; _ = work => panic!("it ends"), () = sleep(Duration::from_secs(1)) => {} }
            }
            world.queues.faults(|_| Some(SendFault::Refuse));
            assert_eq!((world.texts(FIFO).len(), world.stored()), (0, 2));
            // Not yet: who has stored it may be about to send it.
            let young = deliver(&world.consumer(), &[]).await.outbox.unwrap();
            let swept = young.sweep.unwrap();
            assert_eq!((young.sent, swept.young, swept.left), (0, 2, 0));
            assert!(swept.oldest.is_some() && swept.is_complete);
            sleep(LATER).await;
            let refused = deliver(&world.consumer(), &[]).await.outbox.unwrap();
            let swept = refused.sweep.unwrap();
            assert_eq!((refused.sent, swept.young, swept.left), (0, 0, 2));
            assert!(swept.oldest.is_some() && swept.error.is_some());
            world.queues.faults(|_| None);
            if is_scheduled {
                let swept = deliver(&world.consumer(), &[]).await.outbox.unwrap();
                assert_eq!((swept.sent, swept.sweep.unwrap().oldest), (3, None));
            } else {
                let settled = deliver_one(&world.consumer(), &message.clone().delivered(2)).await;
                assert_eq!(outcomes(&settled), [Outcome::Duplicate]);
            }
            assert_eq!(world.texts(FIFO), expected(&[message]));
            assert_eq!(world.stored(), 0);
        }));
    }
}

#[test]
fn the_process_that_could_not_send_tries_again_at_its_next_invocation() {
    futures::executor::block_on(without_waiting(1, async {
        let world = World::new();
        let consumer = world.consumer();
        world.queues.faults(|_| Some(SendFault::Refuse));
        let message = numbered("a");
        assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
        assert_eq!(world.stored(), 2);
        world.queues.faults(|_| None);
        let next = numbered("b");
        deliver_one(&consumer, &next).await;
        assert_eq!(world.stored(), 0);
        assert_eq!(world.texts(FIFO).len(), 4);
    }));
}

#[test]
fn what_follows_a_message_that_is_not_taken_waits_for_it_and_other_groups_do_not() {
    futures::executor::block_on(without_waiting(1, async {
        let world = World::new();
        // The first of each of several sends of group `a` fails, or its answer is lost.
        for fault in [SendFault::Refuse, SendFault::LoseReply] {
            for at in 0..6 {
                world.queues.faults(move |number| (number == at).then_some(fault));
                let (a, b) = (numbered("a"), numbered("b"));
                let before = world.first_texts(FIFO).len();
                deliver(&world.consumer(), &[a.clone(), b.clone()]).await;
                let texts = world.first_texts(FIFO);
                for message in [a, b] {
                    let of = texts[before..]
                        .iter()
                        .filter(|text| text.starts_with(&message.id.to_string()));
                    assert_eq!(
                        of.cloned().collect::<Vec<_>>(),
                        expected(&[message]),
                        "{fault:?} at {at}"
                    );
                }
                assert_eq!(world.stored(), 0);
            }
        }
        assert_one_id_each(&world);
    }));
}

#[test]
fn two_functions_whose_clocks_are_ten_minutes_apart_keep_a_keys_order() {
    futures::executor::block_on(without_waiting(1, async {
        let world = World::new();
        let (first, second) = (numbered("a"), numbered("a"));
        world.queues.faults(|_| Some(SendFault::Refuse));
        let minutes = SignedDuration::from_mins(10);
        let (ahead, behind) = (world.consumer(), world.consumer());
        with_clock_off(minutes, deliver_one(&ahead, &first)).await;
        world.queues.faults(|_| None);
        with_clock_off(-minutes, deliver_one(&behind, &second)).await;
        assert_eq!(world.texts(FIFO), expected(&[first, second]));
    }));
}

#[test]
fn two_overlapping_deliveries_emit_once_and_two_that_send_at_once_never_overtake() {
    futures::executor::block_on(without_waiting(1, async {
        let world = World::new();
        let messages = [numbered("a"), numbered("a"), numbered("a")];
        let consumers = [world.consumer(), world.consumer(), world.consumer()];
        let copies = consumers.iter().map(|consumer| deliver_one(consumer, &messages[0]));
        let settled = futures::future::join_all(copies).await;
        assert_eq!(
            settled
                .iter()
                .map(|settled| settled.count(Outcome::Done))
                .sum::<usize>(),
            1
        );
        let others = consumers.iter().zip(&messages[1..]);
        futures::future::join_all(others.map(|(consumer, message)| deliver_one(consumer, message))).await;
        let texts = world.first_texts(FIFO);
        assert_eq!(texts.len(), 6);
        for message in &messages {
            let of = texts.iter().filter(|text| text.starts_with(&message.id.to_string()));
            assert_eq!(of.cloned().collect::<Vec<_>>(), expected(std::slice::from_ref(message)));
        }
        assert_eq!(world.stored(), 0);
    }));
}

#[test]
fn what_is_added_to_a_parcel_while_another_function_sends_it_is_sent_too() {
    futures::executor::block_on(without_waiting(1, async {
        let world = World::new();
        // Who has added learns it late: meanwhile the other one takes out what it has sent.
        world.tables.faults(|_| Some(Fault::Slow(Duration::from_millis(20))));
        let messages: Vec<Message> = (0..30).map(|_| numbered("a")).collect();
        let consumers: Vec<Consumer> = messages.iter().map(|_| world.consumer()).collect();
        let deliveries = consumers.iter().zip(&messages).zip(0..);
        let deliveries = deliveries.map(|((consumer, message), n)| async move {
            sleep(Duration::from_millis(3 * n)).await;
            deliver_one(consumer, message).await
        });
        for settled in futures::future::join_all(deliveries).await {
            assert_eq!(outcomes(&settled), [Outcome::Done]);
        }
        sleep(LATER).await;
        deliver(&world.consumer(), &[]).await;
        assert_eq!(world.first_texts(FIFO), expected(&messages));
        assert_eq!(world.stored(), 0);
        assert_one_id_each(&world);
    }));
}

#[tokio::test]
async fn an_outbox_that_is_missing_or_full_never_makes_an_event_permanent() {
    let world = World {
        tables: MemoryTables::new().table("effects", &["pk"]),
        queues: MemoryQueues::default(),
    };
    let settled = deliver_one(&world.consumer(), &numbered("a")).await;
    assert_eq!(outcomes(&settled), [Outcome::Retryable]);
    async fn large(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
        let text = "x".repeat(200_000);
        effects
            .emit("invoices", NewEvent::of(&Pong { text })?.key(event.tenant.as_str()))
            .map(drop)
    }
    let world = World::new();
    world.queues.faults(|_| Some(SendFault::Refuse));
    let consumer = || {
        let builder = Consumer::builder("test").dedupe(world.tables.dedupe()).outbox("outbox");
        let builder = builder.target("invoices", FIFO).queues(&world.queues);
        let builder = builder.retry_delay(RetryDelay::QueueDefault);
        builder.on::<Ping, _>(transactional(large)).build().unwrap()
    };
    let messages = [numbered("a"), numbered("a"), numbered("a")];
    assert_eq!(outcomes(&deliver_one(&consumer(), &messages[0]).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&consumer(), &messages[1]).await), [Outcome::Done]);
    assert_eq!(
        outcomes(&deliver_one(&consumer(), &messages[2]).await),
        [Outcome::Retryable]
    );
    world.queues.faults(|_| None);
    deliver_one(&consumer(), &messages[2]).await;
    assert_eq!(outcomes(&deliver_one(&consumer(), &messages[2]).await), [Outcome::Done]);
    assert_eq!(world.queues.messages(FIFO).len(), 3);
}

#[tokio::test]
async fn what_can_never_be_sent_is_told_when_it_is_emitted() {
    async fn wrong(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
        let large = || {
            NewEvent::of(&Pong {
                text: "x".repeat(300_000),
            })
        };
        let small = || NewEvent::of(&Pong { text: String::new() });
        let told = [
            effects.emit("mails", large()?).unwrap_err(),
            effects.emit("mails", small()?.key("")).unwrap_err(),
            effects.emit("mails", small()?.tenant("x".repeat(200))).unwrap_err(),
            effects.emit("nobody", small()?).unwrap_err(),
        ];
        assert_eq!(
            told.each_ref().map(HandlerError::is_permanent),
            [true, true, true, false]
        );
        assert!(told[0].to_string().contains("`test.pong.v1` has 30"), "{}", told[0]);
        assert!(told[1].to_string().starts_with("`partitionkey`"), "{}", told[1]);
        assert!(told[2].to_string().starts_with("`tenant`"), "{}", told[2]);
        assert!(told[3].to_string().contains("no target `nobody`"), "{}", told[3]);
        effects.put("effects", Key::new("pk", event.id.to_string()));
        Ok(())
    }
    let world = World::new();
    let builder = Consumer::builder("test").dedupe(world.tables.dedupe()).outbox("outbox");
    let builder = builder.target("mails", STANDARD).queues(&world.queues);
    let consumer = builder.on::<Ping, _>(transactional(wrong)).build().unwrap();
    assert_eq!(outcomes(&deliver_one(&consumer, &numbered("a")).await), [Outcome::Done]);
    assert_eq!(world.stored(), 0);
    // Without an outbox.
    let builder = Consumer::builder("test").dedupe(world.tables.dedupe());
    let builder = builder.retry_delay(RetryDelay::QueueDefault);
    let consumer = builder.on::<Ping, _>(transactional(emit)).build().unwrap();
    assert_eq!(
        outcomes(&deliver_one(&consumer, &numbered("a")).await),
        [Outcome::Retryable]
    );
}

#[test]
fn a_target_that_nothing_can_be_sent_to_is_a_fault_at_start() {
    let world = World::new();
    let builder = || {
        Consumer::builder("test")
            .on::<Ping, _>(transactional(emit))
            .dedupe(world.tables.dedupe())
    };
    let queue = builder()
        .outbox("outbox")
        .target("t", "arn:aws:sqs:eu-west-1:000000000000:queue")
        .build();
    assert!(matches!(queue.map(drop), Err(StartError::InvalidTarget { .. })));
    assert!(matches!(
        builder().target("t", FIFO).build().map(drop),
        Err(StartError::NoOutbox { .. })
    ));
}
