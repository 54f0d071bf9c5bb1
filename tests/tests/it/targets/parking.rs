//! What topics and event buses will never take is parked as for queues, and sent again on command.

use anyhow::ensure;
use system_tests::{Bus, Entry, Fault, Queue, RelayCommand, Request, Topic, until};

use super::scene::{EVERY_EVENT, SINK, Scene};
use crate::relay::delivered::{assert_keys_in_order, duplicates, ids};

/// A parked event: sequence, class, code, attempts.
type Parked = (i64, String, String, i64);

async fn until_parked(scene: &Scene, expected: &[Parked]) {
    until("the events to be parked", async || {
        let parked: Vec<Parked> = sqlx::query_as(
            "select key_seq, class, code, attempts from oncebox.parked where sink = $1 and state = 'parked' order by seq",
        )
        .bind(SINK)
        .fetch_all(&scene.database.pool)
        .await?;
        ensure!(parked == expected, "{parked:?}");
        Ok(())
    })
    .await
    .unwrap();
}

fn is_bad(entry: &Entry) -> bool {
    entry.key.as_deref() == Some("bad") && entry.sequence == Some(2)
}

fn refused(sequence: i64, code: &str, attempts: i64) -> Parked {
    (sequence, "permanent".to_owned(), code.to_owned(), attempts)
}

fn follows(sequence: i64) -> Parked {
    (sequence, "follows".to_owned(), "Follows".to_owned(), 0)
}

/// The second event of key `bad` is refused, twice over; then it is not, and goes.
async fn is_parked_and_sent_again(scene: &Scene, lines: &str, keeps_order: bool, code: &str) {
    let followers = |from: i64, to: i64| {
        let all = if keeps_order { from..to } else { 0..0 };
        all.map(follows)
    };
    scene
        .proxy
        .inject(usize::MAX, Fault::refuse(is_bad), |request: &Request| {
            request.entries.iter().any(is_bad)
        });
    let _relay = scene.relay(lines).await;
    let bad = scene.database.enqueue_many(Some("bad"), 4).await.unwrap();
    let good = scene.database.enqueue_many(Some("good"), 4).await.unwrap();
    scene.taken(&[&bad[..1], &good].concat()).await;
    let mut expected = vec![refused(2, code, 1)];
    expected.extend(followers(3, 5));
    until_parked(scene, &expected).await;
    scene.settled().await;

    let retry = RelayCommand::new(&["parked", "retry", "--sink", SINK, "--key", "bad", "--yes"]).on(&scene.database);
    retry.done().await.unwrap();
    expected[0] = refused(2, code, 2);
    until_parked(scene, &expected).await;
    let later = scene.database.enqueue_many(Some("bad"), 2).await.unwrap();
    expected.extend(followers(5, 7));
    until_parked(scene, &expected).await;

    scene.proxy.heal();
    retry.done().await.unwrap();
    let all = [bad, good, later].concat();
    let taken = scene.taken(&all).await;
    until_parked(scene, &[]).await;
    scene.settled().await;
    assert_eq!(ids(&taken), all.into_iter().collect());
    assert_eq!(duplicates(&scene.proxy.taken()), 0);
    if keeps_order {
        assert_keys_in_order(&taken);
    }
}

#[tokio::test]
async fn what_a_fifo_topic_refuses_is_parked_with_its_followers_and_sent_again_in_order() {
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let lines = format!("sns = {{ topic = \"{}\" }}", topic.name);
    is_parked_and_sent_again(&scene, &lines, true, "InvalidMessageContents").await;
    let messages = queue.take(10).await.unwrap();
    let of_bad = messages
        .iter()
        .filter(|message| message.group.as_deref() == Some("bad"));
    let sequences = of_bad.map(|message| message.envelope().unwrap().sequence.unwrap().get());
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(queue.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_topic_refuses_is_parked_alone_and_sent_again() {
    let scene = Scene::new().await;
    let topic = Topic::standard(&scene.stack).await.unwrap();
    let queue = Queue::standard(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let lines = format!("sns = {{ topic = \"{}\" }}", topic.name);
    is_parked_and_sent_again(&scene, &lines, false, "InvalidMessageContents").await;
    assert_eq!(queue.take(10).await.unwrap().len(), 10);
}

#[tokio::test]
async fn what_a_bus_refuses_is_parked_alone_and_sent_again() {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let bus = Bus::to_queue(&scene.stack, EVERY_EVENT, &queue).await.unwrap();
    let lines = format!("eventbridge = {{ bus = \"{}\" }}", bus.name);
    is_parked_and_sent_again(&scene, &lines, false, "InvalidArgument").await;
    assert_eq!(queue.take(10).await.unwrap().len(), 10);
}
