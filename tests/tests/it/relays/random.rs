//! Relays killed, stopped and started at random while many write.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use system_tests::Relay;

use super::Scene;
use crate::relay::delivered::{assert_keys_in_order, ids};

const WRITERS: usize = 6;
const ROUNDS: usize = 8;

#[tokio::test]
async fn relays_that_come_go_and_die_at_random_lose_nothing_and_keep_the_order() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Arc::new(Scene::new().await);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&scene), Arc::clone(&stop), writer)))
        .collect();

    let mut relays: Vec<Relay> = vec![scene.relay().await.quiet()];
    for _ in 0..ROUNDS {
        let before = scene.proxy.taken().len();
        match random.random_range(0..3_u8) {
            0 if relays.len() < 3 => relays.push(scene.relay().await.quiet()),
            1 if relays.len() > 1 => {
                let index = random.random_range(0..relays.len());
                assert_eq!(relays.remove(index).stop().await.unwrap().code, Some(0));
            }
            _ => {
                let index = random.random_range(0..relays.len());
                relays.remove(index).kill().await.unwrap();
                relays.push(scene.relay().await.quiet());
            }
        }
        system_tests::until("something more to be published", async || {
            anyhow::ensure!(scene.proxy.taken().len() > before, "nothing yet");
            Ok(())
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut committed = std::collections::HashSet::new();
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    scene.until_settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed);
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
}

/// Writes events of four keys until told to stop; returns the ids of those that committed.
async fn write(scene: Arc<Scene>, stop: Arc<AtomicBool>, writer: usize) -> Vec<String> {
    let mut committed = Vec::new();
    let mut turn = 0;
    while !stop.load(Ordering::SeqCst) && turn < 2_000 {
        let mut transaction = scene.database.pool.begin().await.unwrap();
        let key = format!("key-{}", (writer + turn) % 9);
        let id = system_tests::enqueue(&mut transaction, Some(&key)).await.unwrap();
        turn += 1;
        if turn % 7 == 0 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            committed.push(id);
        }
    }
    committed
}
